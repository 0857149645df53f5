"""ReAct: the energy of activations clipped at a high quantile of the training images'.

    score(f) = −T log Σ_k exp(z_k / T)        z = W min(f, c) + b

with c the 90 % quantile of all features of all training images. Sun, Guo & Li, "ReAct: Out-of-distribution detection
with rectified activations" (NeurIPS 2021): outliers make a few features very large, and so the classifier very sure.
W and b are recovered from features and logits (`adjax.scorers._head`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _head, _order
from adjax.scorers._head import Head
from adjax.scorers._logits import energy, guarded, positive
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state: the last layer, and float32[], c above."""

    head: Head
    limit: jax.Array


def react(
    quantile: float = 0.9,
    temperature: float = 1.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """ReAct on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      quantile: of the training features, in (0, 1]; at 1 hardly anything is cut off.
      temperature: T > 0.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile {quantile} must lie in (0, 1]")
    positive(temperature)

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> State:
        x, z, known = _head.rows(stats, logits)
        limit = _order.quantile(x, known, quantile, (0, 1))
        return State(_head.solve(x, z, known, kernel), jnp.where(known.any(), limit, 0))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        z = _head.apply(state.head, jnp.minimum(within(outputs, feature), state.limit))
        return guarded(energy(z, temperature), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
