"""Relative Mahalanobis distance: that to a class, less that to all images together.

    d_k(f) = (f − μ_k)ᵀ Σ⁻¹ (f − μ_k) − (f − μ)ᵀ Σ_all⁻¹ (f − μ)

Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD detection" (2021). Directions in which classes
don't differ are the same in both terms and cancel; they drown those that matter where an outlier is a near one. Both
Gaussians come out of the statistics of `adjax.scorers.mahalanobis`: what lies between classes is added to what lies
within.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import lowest
from adjax.scorers.mahalanobis import State as One
from adjax.scorers.mahalanobis import Stats, mahalanobis, pooled
from adjax.types import Outputs, PyTree, Scorer


class State(NamedTuple):
    """Fitted state: `adjax.scorers.mahalanobis.State` of the classes, and of all images as one."""

    classes: One
    all: One


def relative_mahalanobis(shrinkage: float = 0.1, feature: str = "features") -> Scorer:
    """Relative Mahalanobis scorer on `outputs[feature]`, float [N, D], for at least two classes.

    Args:
      shrinkage: of both covariances, as in `adjax.scorers.mahalanobis`.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is that of the nearest class, of either sign; an image whose features are NaN scores NaN. Rows
      with a feature that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit.

    Raises:
      ValueError: shrinkage outside of [0, 1]; `init` for one class, which is as far as all images are.
    """
    inner = mahalanobis("tied", shrinkage, feature)

    def init(dim: int, classes: int) -> PyTree:
        if classes < 2:
            raise ValueError(
                f"relative Mahalanobis distances to {classes} class are all 0: it takes at least 2 classes"
            )
        return inner.init(dim, classes)

    def finalize(stats: Stats) -> State:
        return State(inner.finalize(stats), inner.finalize(pooled(stats)))

    def distances(state: State, outputs: Outputs) -> Float[Array, "N K"]:
        own, all_ = inner.distances(state.classes, outputs), inner.distances(state.all, outputs)
        far = jnp.isposinf(own) | jnp.isposinf(all_)  # overflown, or a class without images
        own, all_ = jnp.where(far, 0, own), jnp.where(far, 0, all_)
        return jnp.where(far, jnp.inf, (own - all_) * (own + all_))  # a² − b²

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return lowest(distances(state, outputs))

    return Scorer(init, inner.update, inner.merge, finalize, score, distances)
