"""Gaussian mixtures: their state from moments or by expectation maximisation, and their densities.

Every covariance may be shrunk towards a mean variance v, Σ_k ← (1 − s) Σ_k + s v I, so that no component can close in
on a single image. Float32 carries it as in `adjax.scorers.mahalanobis`: means about an anchor among the data,
differences before squares, and a floor for variances.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from adjax._kmeans import kmeans
from adjax._numerics import EXACT, at_most
from adjax.scorers._whiten import floored, triangular, whitening

_LARGEST = 1e38


class Options(NamedTuple):
    """What a mixture is fitted with, as of `adjax.scorers.gmm`."""

    components: int
    covariance: Literal["full", "tied", "diag"]
    shrinkage: float
    iterations: int
    seed: int


class State(NamedTuple):
    """A fitted mixture of M components.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      means: float32[M, D], less the origin.
      whiten: W with Σ⁻¹ = W Wᵀ: float32[M, D, D], [1, D, D] if tied, or its diagonals [M, D].
      offset: float32[M], log π − ½ (D log 2π + log det Σ); −inf for a component without images.
    """

    origin: jax.Array
    means: jax.Array
    whiten: jax.Array
    offset: jax.Array


def check(options: Options, capacity: int) -> None:
    """Checks options.

    Args:
      options: of a mixture.
      capacity: rows that a fit of several components may keep.

    Raises:
      ValueError: an option outside of its range.
    """
    components, covariance, shrinkage, iterations, _ = options
    if components < 1 or iterations < 1:
        raise ValueError(f"components={components}, iterations={iterations}: must be at least 1 each")
    if covariance not in ("full", "tied", "diag"):
        raise ValueError(f"covariance {covariance!r}: must be 'full', 'tied' or 'diag'")
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage {shrinkage} must lie in [0, 1]")
    if capacity < components:
        raise ValueError(f"capacity {capacity}: {components} components need at least as many rows")


def of_moments(
    options: Options,
    origin: jax.Array,
    share: jax.Array,
    means: jax.Array,
    cov: jax.Array,
    variance: jax.Array,
    last: bool = True,
) -> State:
    """Makes the state of a mixture whose moments are known.

    Args:
      options: its covariance and shrinkage are read.
      origin: float32[D].
      share: float32[M], π; 0 for a component without images.
      means: float32[M, D], less the origin.
      cov: float32[M or 1, D, D], or variances [M, D].
      variance: float32[] or [M or 1], v above.
      last: whitens as exactly as float32 allows; False: fast, for covariances that are soon replaced.

    Returns:
      The `State`.
    """
    dim = origin.size
    variance = jnp.broadcast_to(variance, cov.shape[:1]).reshape(-1, *[1] * (cov.ndim - 1))
    if options.covariance == "diag":
        values = floored((1 - options.shrinkage) * cov + options.shrinkage * variance, origin[None] + means)
        whiten, log_det = lax.rsqrt(values), jnp.log(values).sum(-1)
    else:
        cov = (1 - options.shrinkage) * cov + options.shrinkage * variance * jnp.eye(dim, dtype=jnp.float32)[None]
        whiten, log_det = (whitening if last else triangular)(cov, origin[None] + means)
    return State(origin, means, whiten, jnp.log(share) - 0.5 * (dim * math.log(2 * math.pi) + log_det))


def maximise(options: Options, x: jax.Array, known: jax.Array, origin: jax.Array) -> State:
    """Fits a mixture by expectation maximisation (Dempster, Laird & Rubin, 1977), from a k-means start.

    Args:
      options: as of `Options`; v is the mean variance about the origin.
      x: float32[N, D], rows less the origin; those that don't count are zeros.
      known: bool[N], rows that count.
      origin: float32[D].

    Returns:
      The `State`.
    """
    weight = known.astype(jnp.float32)
    total = jnp.maximum(weight.sum(), 1)
    variance = jnp.square(x).sum() / total / origin.size

    def scatter(of: tuple[jax.Array, jax.Array]) -> jax.Array:
        member, mean = of
        rest = x - mean[None]
        if options.covariance == "diag":
            return (member[:, None] * jnp.square(rest)).sum(0)
        return jnp.matmul((member[:, None] * rest).T, rest, precision=EXACT)

    def maximised(members: jax.Array, last: bool = False) -> State:
        count = members.sum(0)
        means = jnp.matmul(members.T, x, precision=EXACT) / jnp.where(count > 0, count, 1)[:, None]
        cov = lax.map(scatter, (members.T, means))
        if options.covariance == "tied":
            cov = cov.sum(0, keepdims=True) / total
        else:
            cov = cov / jnp.where(count > 0, count, 1).reshape(-1, *[1] * (cov.ndim - 1))
        return of_moments(options, origin, count / total, means, cov, variance, last)

    def members(state: State) -> jax.Array:
        return jnp.where(known[:, None], jax.nn.softmax(log_densities(state, x), -1), 0)

    _, label = kmeans(jax.random.key(options.seed), x, options.components, mask=known)
    start = maximised(jax.nn.one_hot(label, options.components, dtype=jnp.float32) * weight[:, None])
    state = lax.fori_loop(1, options.iterations, lambda _, state: maximised(members(state)), start)
    return maximised(members(state), last=True)


def log_densities(state: State, x: jax.Array) -> jax.Array:
    """Computes the logarithms of all components' densities, shares included.

    Args:
      state: of M components.
      x: float32[N, D], rows less the origin.

    Returns:
      float32[N, M].
    """
    diagonal, tied = state.whiten.ndim == 2, len(state.whiten) < len(state.means)

    def square(of: tuple[jax.Array, ...]) -> jax.Array:
        mean, whiten = (*of, state.whiten[0]) if tied else of
        rest = x - mean[None]
        rest = rest * whiten[None] if diagonal else jnp.matmul(rest, whiten, precision=EXACT)
        return at_most(jnp.square(rest).sum(-1), _LARGEST)

    each = (state.means,) if tied else (state.means, state.whiten)
    return state.offset[None] - 0.5 * lax.map(square, each).T
