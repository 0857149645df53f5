"""fDBD: mean feature distance to the decision boundaries, divided by the distance to the training mean.

    score(f, z) = −1/(L − 1) Σ_{k ≠ k*} (z_k* − z_k) / ‖w_k* − w_k‖ / ‖f − μ‖        k* the predicted class

Each term is the distance to the boundary where class k is as likely as k*, divided by the distance from the mean of the
training features, with which it grows for all images alike. Liu & Qin, "Fast decision boundary based
out-of-distribution detector" (ICML 2024). W is recovered from features and logits (`adjax.scorers._head`), and μ is the
mean of the same sample. Classes with equal weights have no boundary and count 0.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import place_of_highest
from adjax.scorers import _head
from adjax.scorers._logits import guarded, read
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import length, within
from adjax.types import Outputs, Scorer

_TINY = 1e-30
_LARGEST = 1e30


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], μ.
      gaps: float32[L, L], ‖w_i − w_j‖; NaN if there is no head to be found.
      present: bool[1], whether there was any image.
    """

    origin: jax.Array
    gaps: jax.Array
    present: jax.Array


def fdbd(
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """fDBD on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], L ≥ 2, linear in them.

    Args:
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`. `score` is ≤ 0; `distances` has one column. Numbers that are not finite, and fits to no image, score
      as in `ash`.

    Raises:
      ValueError: `init` for as many features as capacity; in fitting, another number of logits or a kernel of another
        shape.
    """

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> State:
        layer = _head.solve(*_head.rows(stats, logits), kernel)
        weights = layer.kernel.T
        gaps = lax.map(lambda w: length(weights - w[None]), weights)
        return State(layer.origin, jnp.where(jnp.isnan(layer.bias)[None], jnp.nan, gaps), ~jnp.isneginf(layer.bias[:1]))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs, least=2)
        gap = state.gaps[place_of_highest(z)]
        none = gap <= 0  # written so that NaN stays NaN
        boundary = jnp.where(none, 0, (z.max(-1, keepdims=True) - z) / jnp.where(none, 1, gap))
        away = jnp.maximum(length(within(outputs, feature) - state.origin[None]), _TINY)
        value = -jnp.minimum(boundary.sum(-1) / (z.shape[-1] - 1) / away, _LARGEST)
        return guarded(jnp.where(state.present, value, jnp.inf), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
