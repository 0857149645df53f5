"""VRA: the energy of activations of which low ones are removed and high ones clipped.

    score(f) = −T log Σ_k exp(z_k / T)        z = W g(f) + b
    g(f)_d = 0 if f_d < α_d,  f_d + γ if α_d ≤ f_d ≤ β_d,  β_d if f_d > β_d

with α_d and β_d the 60 % and 95 % quantiles of feature d over the training images. Xu et al., "VRA: Variational
rectified activation for out-of-distribution detection" (NeurIPS 2023): the variational optimum suppresses what is
abnormally low or high and, in VRA+, amplifies what is between by γ. W and b are recovered from features and logits
(`adjax.scorers._head`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _head
from adjax.scorers._head import Head
from adjax.scorers._logits import energy, guarded, positive
from adjax.scorers._order import quantile
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state: the last layer; α and β, float32[D] each."""

    head: Head
    low: jax.Array
    high: jax.Array


def vra(
    low: float = 0.6,
    high: float = 0.95,
    gamma: float = 0.0,
    temperature: float = 1.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """VRA on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      low, high: the quantiles, 0 ≤ low ≤ high ≤ 1; the paper's for CIFAR. At 0 hardly anything is removed, at 1 hardly
        anything clipped.
      gamma: γ, finite, in units of the features; 0: VRA, more: VRA+.
      temperature: T > 0.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    if not 0 <= low <= high <= 1:
        raise ValueError(f"low {low} and high {high}: must be quantiles, 0 ≤ low ≤ high ≤ 1")
    if not abs(gamma) < float("inf"):
        raise ValueError(f"gamma {gamma}: must be a finite number")
    positive(temperature)

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> State:
        x, z, known = _head.rows(stats, logits)
        limits = [jnp.where(known.any(), quantile(x, known, level), 0) for level in (low, high)]
        return State(_head.solve(x, z, known, kernel), *limits)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, feature)
        least, most = state.low[None], state.high[None]
        x = jnp.where(x < least, 0, jnp.where(x > most, most, x + gamma))
        return guarded(energy(_head.apply(state.head, x), temperature), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
