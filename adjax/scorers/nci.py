"""NCI: alignment of the centred features with the weights of the predicted class, and the features' size.

    score(f) = −w_k* · (f − μ) / ‖f − μ‖ − α ‖f‖₁        k* the predicted class

with μ the mean of the training features. Liu & Qin, "Detecting out-of-distribution through the lens of neural collapse"
(CVPR 2025): features of training images gather about their class's weights, others lie nearer to the origin. W is
recovered from features and logits (`adjax.scorers._head`), and μ is the mean of the same sample.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import place_of_highest
from adjax.scorers import _head
from adjax.scorers._logits import guarded, read
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import direction, within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], μ.
      weights: float32[L, D]; NaN if there is no head to be found.
      present: bool[1], whether there was any image.
    """

    origin: jax.Array
    weights: jax.Array
    present: jax.Array


def nci(
    alpha: float = 0.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """NCI on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      alpha: α ≥ 0, in logits per unit of the features' sum; to be chosen on validation images. At 0 the alignment
        alone counts.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: alpha negative or not finite; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    if not 0 <= alpha < float("inf"):
        raise ValueError(f"alpha {alpha}: must be at least 0, and finite")

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> State:
        layer = _head.solve(*_head.rows(stats, logits), kernel)
        weights = jnp.where(jnp.isnan(layer.bias)[:, None], jnp.nan, layer.kernel.T)
        return State(layer.origin, weights, ~jnp.isneginf(layer.bias[:1]))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, feature)
        weights = state.weights[place_of_highest(read(outputs))]
        value = -(direction(x - state.origin[None]) * weights).sum(-1) - alpha * jnp.abs(x).sum(-1)
        return guarded(jnp.where(state.present, value, jnp.inf), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
