"""Cosine distance to the nearest class mean.

    d_k(f) = 1 − cos(f, μ_k) = ½ ‖f/‖f‖ − μ_k/‖μ_k‖‖²

the second form because 1 less a cosine near 1 leaves no digits. As in Tack et al., "CSI: Novelty detection via
contrastive learning on distributionally shifted instances" (NeurIPS 2020), with class means for training images.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import held, lowest
from adjax.scorers import _class_means
from adjax.scorers._class_means import Means
from adjax.scorers._vectors import LIMIT, direction
from adjax.types import Outputs, Scorer

_INFINITE = 2 * LIMIT
"""What stands for an infinite feature, so that rows are read once."""


class State(NamedTuple):
    """Fitted state.

    Attributes:
      means: float32[K, D], of length 1, or 0.
      present: bool[K], classes that had images; no image is near the others.
    """

    means: jax.Array
    present: jax.Array


def cosine(feature: str = "features") -> Scorer:
    """Cosine distance to class means on `outputs[feature]`, float [N, D].

    Args:
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is the distance to the nearest class, 0 (same direction) to 2 (opposite); features or means
      that are all 0 are at right angles to everything. An image whose features are NaN scores NaN; one with an infinite
      feature has no direction and scores +inf. Rows with a feature that is not finite (or beyond 1e15), or with a label
      outside of 0 … K−1, are left out of the fit.
    """

    def update(stats: Means, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Means:
        return _class_means.update(stats, outputs[feature], labels, mask)

    def finalize(stats: Means) -> State:
        return State(direction(stats.anchor[None] + stats.mean), stats.counts > 0)

    def distances(state: State, outputs: Outputs) -> Float[Array, "N K"]:
        raw = outputs[feature].astype(jnp.float32)
        rows = held(jnp.where(jnp.isinf(raw), jnp.sign(raw) * _INFINITE, jnp.clip(raw, -LIMIT, LIMIT)))
        x = direction(rows)
        half = 0.5 * jnp.square(x[:, None] - state.means[None]).sum(-1)
        nowhere = (x == 0).all(-1)[:, None].astype(jnp.float32) + (state.means == 0).all(-1)[None].astype(jnp.float32)
        value = half + 0.5 * nowhere
        infinite = (jnp.abs(rows).max(-1) > LIMIT)[:, None]
        value = jnp.where(infinite & ~jnp.isnan(value), jnp.inf, value)
        return jnp.where(state.present[None], value, jnp.inf)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return lowest(distances(state, outputs))

    return Scorer(_class_means.init, update, _class_means.merge, finalize, score, distances)
