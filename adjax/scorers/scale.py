"""SCALE: the energy of activations that are rescaled, all of them.

    score(f, z) = −T log Σ_k exp(z'_k / T)        z' = W exp(r) f + b = b + exp(r) (z − b),  r = s₁ / s₂

with s₁ the sum of all features and s₂ that of the largest 15 %. Xu et al., "Scaling for training time and post-hoc
out-of-distribution detection enhancement" (ICLR 2024): as ASH "s" without its pruning, which does harm. The bias of
the last layer is all that it needs, recovered from features and logits (`adjax.scorers._head`).

It is made for features ≥ 0, for which r lies between 1 and D / kept; others are held to that.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _head, _shaping
from adjax.scorers._logits import energy, guarded, positive, read
from adjax.scorers._order import largest
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import LIMIT, within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      bias: float32[L], b: the logits where all features are 0; NaN if there is no head to be found.
      present: bool[1], whether there was any image.
    """

    bias: jax.Array
    present: jax.Array


def scale(
    pruned: float = 0.85,
    temperature: float = 1.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """SCALE on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      pruned: share of the features that s₂ leaves out, in [0, 1); one always counts.
      temperature: T > 0.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    _shaping.share(pruned)
    positive(temperature)

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> State:
        bias = _head.intercept(_head.solve(*_head.rows(stats, logits), kernel))
        none = jnp.isneginf(bias[:1])
        return State(jnp.where(none, 0, bias), ~none)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, feature)
        count = _shaping.count(x.shape[1], pruned)
        larger = jnp.exp(_shaping.ratio(x, jnp.where(largest(x, count), x, 0), count))
        rest = jnp.clip(larger * (read(outputs) - state.bias[None]), -LIMIT, LIMIT)
        value = energy(state.bias[None] + rest, temperature)
        return guarded(jnp.where(state.present, value, jnp.inf), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
