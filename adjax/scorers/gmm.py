"""Gaussian mixture: negative log-likelihood of an image's features.

    score(f) = −log Σ_k π_k N(f; μ_k, Σ_k)

With one component the fit is in closed form, from the running sums of `adjax.scorers.mahalanobis`: every image counts,
and none is kept. With more, expectation maximisation (Dempster, Laird & Rubin, 1977) runs on the device, on a bounded
sample of the rows (`adjax.scorers._reservoir`), from a k-means start.

Every covariance may be shrunk towards the mean variance v of all features over all images, Σ_k ← (1 − s) Σ_k + s v I,
so that no component can close in on a single image. Float32 carries it as in `adjax.scorers.mahalanobis`: means about
an anchor among the data, differences before squares, and a floor for variances.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax._kmeans import kmeans
from adjax._numerics import EXACT, anchor_of
from adjax.scorers import _reservoir
from adjax.scorers._leave_one_out import own_square, without
from adjax.scorers._reservoir import Sample
from adjax.scorers._whiten import floored, triangular, whitening
from adjax.scorers.mahalanobis import Stats, mahalanobis
from adjax.types import Outputs, PyTree, Scorer

_LIMIT = 1e15
_LARGEST = 1e38


class Sums(NamedTuple):
    """Statistics for one component.

    Attributes:
      counts: float32[K], images of each class.
      all: those of `adjax.scorers.mahalanobis`, all images in one class.
    """

    counts: jax.Array
    all: Stats


class State(NamedTuple):
    """Fitted state, for M components.

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


def gmm(
    components: int = 1,
    covariance: Literal["full", "tied", "diag"] = "full",
    shrinkage: float = 0.0,
    iterations: int = 50,
    capacity: int = 6000,
    seed: int = 0,
    feature: str = "features",
) -> Scorer:
    """Gaussian mixture on `outputs[feature]`, float [N, D], one for the images of all classes together.

    Args:
      components: M ≥ 1; a fit takes as many different images at least.
      covariance: "full", one per component; "tied", one for all; "diag", variances only.
      shrinkage: s above, in [0, 1].
      iterations: of expectation maximisation, ≥ 1; always that many.
      capacity: rows that a fit of several components may keep.
      seed: of the k-means start.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is a negative log-likelihood, of either sign; `distances` has one column. An image whose
      features are NaN scores NaN. Rows with a feature that is not finite (or beyond 1e15), or with a label outside of
      0 … K−1, are left out of the fit; fitted to no row at all, every score is +inf.

    Raises:
      ValueError: an option outside of its range.
    """
    if components < 1 or iterations < 1:
        raise ValueError(f"components={components}, iterations={iterations}: must be at least 1 each")
    if covariance not in ("full", "tied", "diag"):
        raise ValueError(f"covariance {covariance!r}: must be 'full', 'tied' or 'diag'")
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage {shrinkage} must lie in [0, 1]")
    if capacity < components:
        raise ValueError(f"capacity {capacity}: {components} components need at least as many rows")
    one = mahalanobis("tied", feature=feature)

    def init(dim: int, classes: int) -> Sums | Sample:
        if components > 1:
            return _reservoir.init(capacity, dim, classes)
        return Sums(jnp.zeros(classes, jnp.float32), one.init(dim, 1))

    def update(stats: Sums | Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sums | Sample:
        if isinstance(stats, Sample):
            return _reservoir.update(stats, outputs[feature], labels, mask)
        classes = stats.counts.size
        known = (labels >= 0) & (labels < classes)
        member = jnp.where((mask & known)[:, None], jax.nn.one_hot(labels, classes, dtype=jnp.float32), 0)
        together = one.update(stats.all, outputs, jnp.where(known, 0, -1), mask)
        return Sums(stats.counts + member.sum(0), together)

    def merge(a: PyTree, b: PyTree) -> Sums | Sample:
        if isinstance(a, Sample):
            return _reservoir.merge(a, b)
        return Sums(a.counts + b.counts, one.merge(a.all, b.all))

    def finalize(stats: Sums | Sample) -> State:
        if isinstance(stats, Sample):
            return _maximise(stats)
        anchor, counts, mean, scatter, _ = stats.all
        cov = scatter / jnp.maximum(counts, 1)[:, None, None]
        if covariance == "diag":
            cov = jnp.diagonal(cov, axis1=1, axis2=2)
        present = (counts > 0).astype(jnp.float32)
        variance = jnp.trace(scatter[0]) / jnp.maximum(counts[0], 1) / anchor.size
        return _state(anchor, present, mean, cov, variance)

    def _state(
        origin: jax.Array, share: jax.Array, means: jax.Array, cov: jax.Array, variance: jax.Array, last: bool = True
    ) -> State:
        dim = origin.size
        if covariance == "diag":
            values = floored((1 - shrinkage) * cov + shrinkage * variance, origin[None] + means)
            whiten, log_det = lax.rsqrt(values), jnp.log(values).sum(-1)
        else:
            cov = (1 - shrinkage) * cov + shrinkage * variance * jnp.eye(dim, dtype=jnp.float32)[None]
            whiten, log_det = (whitening if last else triangular)(cov, origin[None] + means)
        offset = jnp.log(share) - 0.5 * (dim * math.log(2 * math.pi) + log_det)
        return State(origin, means, whiten, offset)

    def _maximise(stats: Sample) -> State:
        known = _reservoir.kept(stats)
        weight = known.astype(jnp.float32)
        total = jnp.maximum(weight.sum(), 1)
        anchor = anchor_of(stats.rows, total)
        x = jnp.where(known[:, None], stats.rows - anchor[None], 0)
        variance = jnp.square(x).sum() / total / anchor.size

        def scatter(of: tuple[jax.Array, jax.Array]) -> jax.Array:
            member, mean = of
            rest = x - mean[None]
            if covariance == "diag":
                return (member[:, None] * jnp.square(rest)).sum(0)
            return jnp.matmul((member[:, None] * rest).T, rest, precision=EXACT)

        def maximised(members: jax.Array, last: bool = False) -> State:
            count = members.sum(0)
            means = jnp.matmul(members.T, x, precision=EXACT) / jnp.where(count > 0, count, 1)[:, None]
            cov = lax.map(scatter, (members.T, means))
            if covariance == "tied":
                cov = cov.sum(0, keepdims=True) / total
            else:
                cov = cov / jnp.where(count > 0, count, 1).reshape(-1, *[1] * (cov.ndim - 1))
            return _state(anchor, count / total, means, cov, variance, last)

        def members(state: State) -> jax.Array:
            return jnp.where(known[:, None], jax.nn.softmax(_log_densities(state, x), -1), 0)

        _, label = kmeans(jax.random.key(seed), x, components, mask=known)
        start = maximised(jax.nn.one_hot(label, components, dtype=jnp.float32) * weight[:, None])
        state = lax.fori_loop(1, iterations, lambda _, state: maximised(members(state)), start)
        return maximised(members(state), last=True)

    def _log_densities(state: State, x: jax.Array) -> jax.Array:
        """float32[N, M], of rows less the origin; shares included."""

        def square(of: tuple[jax.Array, ...]) -> jax.Array:
            mean, whiten = of if covariance != "tied" else (*of, state.whiten[0])
            rest = x - mean[None]
            rest = rest * whiten[None] if covariance == "diag" else jnp.matmul(rest, whiten, precision=EXACT)
            return jnp.minimum(jnp.square(rest).sum(-1), _LARGEST)

        each = (state.means,) if covariance == "tied" else (state.means, state.whiten)
        return state.offset[None] - 0.5 * lax.map(square, each).T

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = jnp.clip(outputs[feature].astype(jnp.float32), -_LIMIT, _LIMIT) - state.origin[None]
        return -jax.nn.logsumexp(_log_densities(state, x), -1)

    def unseen(stats: Sums, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        count, whiten = stats.all.counts[0], state.whiten[0]
        r = jnp.clip(outputs[feature].astype(jnp.float32), -_LIMIT, _LIMIT) - state.origin[None] - state.means
        z = jnp.matmul(r, whiten, precision=EXACT)
        gram = jnp.matmul(whiten.T, whiten, precision=EXACT)
        gone = without(r, z, gram, count, jnp.full(len(r), count), shrinkage)
        return (0.5 * (own_square(gone, z) + gone.log_det) - state.offset[0])[:, None]

    closed = components == 1 and covariance != "diag"
    return Scorer.single(init, update, merge, finalize, score, unseen if closed else None, fewest=components)
