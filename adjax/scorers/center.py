"""Euclidean distance to the nearest class mean, which center loss makes small.

    d_k(f) = ‖f − μ_k‖

Every direction of feature space counts the same; where they differ, see `adjax.scorers.mahalanobis`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import lowest
from adjax.scorers import _class_means
from adjax.scorers._class_means import Means
from adjax.scorers._vectors import length, within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      means: float32[K, D], class means less the origin.
      present: bool[K], classes that had images; no image is near the others.
    """

    origin: jax.Array
    means: jax.Array
    present: jax.Array


def center(feature: str = "features") -> Scorer:
    """Euclidean distance to class means on `outputs[feature]`, float [N, D].

    Args:
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is the distance to the nearest class, ≥ 0; an image whose features are NaN scores NaN. Rows
      with a feature that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit.
    """

    def update(stats: Means, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Means:
        return _class_means.update(stats, outputs[feature], labels, mask)

    def finalize(stats: Means) -> State:
        return State(stats.anchor, stats.mean, stats.counts > 0)

    def distances(state: State, outputs: Outputs) -> Float[Array, "N K"]:
        x = within(outputs, feature) - state.origin[None]
        return jnp.where(state.present[None], length(x[:, None] - state.means[None]), jnp.inf)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return lowest(distances(state, outputs))

    return Scorer(_class_means.init, update, _class_means.merge, finalize, score, distances)
