"""Mahalanobis distance to class means in feature space, one covariance a class or one for all.

    d_i(f) = sqrt((f − μ_i)ᵀ Σ_i⁻¹ (f − μ_i))

with Σ_i class i's own covariance ("Anomaly Detection in Image Datasets Using CNN, Center Loss, and Mahalanobis
Distance", section II) or the tied one, pooled within classes (Lee et al., "A simple unified framework for detecting
out-of-distribution samples", NeurIPS 2018). The covariance may be shrunk towards its mean variance, Σ ← (1 − s) Σ +
s · tr(Σ)/D · I: directions in which training features hardly vary then no longer drown all others.

Fitting is one pass of mergeable sums: counts, means and scatter about the means (Chan, Golub, LeVeque 1979), never
Σ f fᵀ − n μ μᵀ, which float32 can't carry. Scoring whitens once: Σ⁻¹ = W Wᵀ makes the distance a Euclidean one after
one matmul with W. Eigenvalues are floored where float32 can't tell them from zero, so a singular covariance (duplicate
or dead features, fewer images than features) gives large finite distances and never a NaN.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from adjax.types import Outputs, Scorer

_EXACT = lax.Precision.HIGHEST  # accelerators round matmul inputs otherwise
_EPS = 2.0**-23


class Stats(NamedTuple):
    """Running sums. `count` float32[K]; `mean` float32[K, D]; `scatter` float32[K or 1, D, D], about the means."""

    count: jax.Array
    mean: jax.Array
    scatter: jax.Array


class State(NamedTuple):
    """What scoring needs.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      whiten: float32[K or 1, D, D], W with Σ⁻¹ = W Wᵀ.
      means: float32[K, D], class means, whitened.
      present: bool[K], classes that had images; no image is near the others.
    """

    origin: jax.Array
    whiten: jax.Array
    means: jax.Array
    present: jax.Array


def mahalanobis(
    covariance: Literal["tied", "class"] = "tied", shrinkage: float = 0.1, feature: str = "features"
) -> Scorer:
    """Mahalanobis scorer on `outputs[feature]`, float [N, D].

    Args:
      covariance: "tied", pooled within classes, or "class", each class its own (the paper).
      shrinkage: s above, in [0, 1]; 0 is the plain covariance, 1 a scaled Euclidean distance.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is the distance to the nearest class, ≥ 0, in standard deviations; training rows that are not
      finite are left out of the fit; an image whose features are NaN scores NaN.

    Raises:
      ValueError: unknown covariance, or shrinkage outside of [0, 1].
    """
    if covariance not in ("tied", "class"):
        raise ValueError(f"covariance {covariance!r}: must be 'tied' or 'class'")
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage {shrinkage} must lie in [0, 1]")
    tied = covariance == "tied"

    def init(dim: int, classes: int) -> Stats:
        return Stats(
            jnp.zeros(classes), jnp.zeros((classes, dim)), jnp.zeros((1 if tied else classes, dim, dim))
        )

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        x = outputs[feature].astype(jnp.float32)
        mask = mask & jnp.isfinite(x).all(-1)
        x = jnp.where(mask[:, None], x, 0)
        member = jax.nn.one_hot(labels, stats.count.size) * mask[:, None]
        count = member.sum(0)
        shift = x.sum(0) / jnp.maximum(count.sum(), 1)
        x = jnp.where(mask[:, None], x - shift, 0)
        mean = jnp.matmul(member.T, x, precision=_EXACT) / jnp.maximum(count, 1)[:, None]
        rest = jnp.where(mask[:, None], x - mean[labels], 0)
        if tied:
            scatter = jnp.matmul(rest.T, rest, precision=_EXACT)[None]
        else:
            scatter = jnp.einsum("nk,nd,ne->kde", member, rest, rest, precision=_EXACT)
        return merge(stats, Stats(count, shift + mean, scatter))

    def merge(a: Stats, b: Stats) -> Stats:
        count = a.count + b.count
        share = b.count / jnp.maximum(count, 1)
        step = b.mean - a.mean
        between = jnp.einsum("k,kd,ke->kde", a.count * share, step, step, precision=_EXACT)
        if tied:
            between = between.sum(0, keepdims=True)
        return Stats(count, a.mean + share[:, None] * step, a.scatter + b.scatter + between)

    def finalize(stats: Stats) -> State:
        count = stats.count.sum(keepdims=True) if tied else stats.count
        cov = stats.scatter / jnp.maximum(count, 1)[:, None, None]
        dim = cov.shape[-1]
        variance = jnp.trace(cov, axis1=1, axis2=2) / dim
        cov = (1 - shrinkage) * cov + shrinkage * variance[:, None, None] * jnp.eye(dim)
        values, vectors = jnp.linalg.eigh(cov)
        # What float32 features of this size can't distinguish from no variance at all.
        rounding = jnp.square(_EPS * jnp.abs(stats.mean).max()) + 1e-20
        floor = jnp.maximum(dim * _EPS * values.max(-1), rounding)
        whiten = vectors / jnp.sqrt(jnp.maximum(values, floor[:, None]))[:, None, :]
        weight = stats.count / jnp.maximum(stats.count.sum(), 1)
        origin = weight @ stats.mean
        means = jnp.einsum("kd,kde->ke", stats.mean - origin, _each(whiten, stats), precision=_EXACT)
        return State(origin, whiten, means, stats.count > 0)

    def distances(state: State, outputs: Outputs) -> jax.Array:
        x = outputs[feature].astype(jnp.float32) - state.origin
        classes, dim = state.means.shape
        if tied:
            z = jnp.matmul(x, state.whiten[0], precision=_EXACT)
            cross = jnp.matmul(z, state.means.T, precision=_EXACT)
            square = jnp.square(z).sum(-1, keepdims=True) - 2 * cross + jnp.square(state.means).sum(-1)
        else:
            flat = state.whiten.transpose(1, 0, 2).reshape(dim, classes * dim)
            z = jnp.matmul(x, flat, precision=_EXACT).reshape(-1, classes, dim)
            square = jnp.square(z - state.means).sum(-1)
        # sqrt with a finite gradient at zero; comparisons written so that NaN stays NaN
        zero = square <= 0
        distance = jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, square)))
        return jnp.where(state.present, distance, jnp.inf)

    def score(state: State, outputs: Outputs) -> jax.Array:
        return distances(state, outputs).min(-1)

    return Scorer(init, update, merge, finalize, score, distances)


def _each(whiten: jax.Array, stats: Stats) -> jax.Array:
    """One whitening matrix a class, the same for all if tied."""
    return jnp.broadcast_to(whiten, (stats.count.size, *whiten.shape[1:]))
