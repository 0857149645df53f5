"""NNGuide: the classifier's energy, weighted by similarity to training images of high energy.

    score(f, z) = −E(z) · 1/k Σ_{i among the k largest} E(z_i) cos(f, f_i)        E(z) = log Σ_k exp z_k

over a bank of training images i. Park, Jung & Teoh, "Nearest neighbor guidance for out-of-distribution detection" (ICCV
2023). The bank is a random sample (`adjax.scorers._reservoir`): the paper takes 1 % of ImageNet, about 13,000 images.
Both factors are meant to be positive: the energy of a trained classifier is, where it recognises anything.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import EXACT
from adjax.scorers import _reservoir
from adjax.scorers._logits import energy, guarded, read
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import direction, within
from adjax.types import Outputs, Scorer

_ROWS = 256
"""Images whose likeness to the whole bank is in memory at a time."""


class State(NamedTuple):
    """Fitted state.

    Attributes:
      bank: float32[capacity, D], directions times energies.
      known: bool[capacity], which rows are images.
    """

    bank: jax.Array
    known: jax.Array


def nnguide(k: int = 10, capacity: int = 10_000, feature: str = "features") -> Scorer:
    """NNGuide on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L].

    Args:
      k: ≥ 1; of fewer images than that, all count.
      capacity: images remembered, ≥ k. Scoring takes time in it, and so does a saved detector on disk.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` has either sign; `distances` has one column. A NaN among features or logits is one; an
      infinite feature or a logit of +inf scores +inf. Rows with a feature or an energy that is not finite (or beyond
      1e15), or with a label outside of 0 … K−1, are left out of the fit; fitted to no row at all, every score is +inf.

    Raises:
      ValueError: k < 1, or more than the capacity.
    """
    if not 1 <= k <= capacity:
        raise ValueError(f"k={k} nearest of at most capacity={capacity} images: must lie between 1 and that")

    def init(dim: int, classes: int) -> Sample:
        return _reservoir.init(capacity, dim + 1, classes)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        sure = guarded(energy(read(outputs)), outputs, "logits")
        rows = jnp.concatenate([outputs[feature].astype(jnp.float32), sure[:, None]], -1)
        return _reservoir.update(stats, rows, labels, mask)

    def finalize(stats: Sample) -> State:
        return State(direction(stats.rows[:, :-1]) * -stats.rows[:, -1:], _reservoir.kept(stats))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        counted = jnp.minimum(state.known.sum(), k)
        first = jnp.arange(k) < counted

        def guidance(x: jax.Array) -> jax.Array:
            alike = jnp.where(state.known, jnp.matmul(state.bank, x, precision=EXACT), -jnp.inf)
            return jnp.where(first, lax.top_k(alike, k)[0], 0).sum()

        near = lax.map(guidance, direction(within(outputs, feature)), batch_size=_ROWS)
        value = energy(read(outputs)) * near / jnp.maximum(counted, 1).astype(jnp.float32)
        return guarded(jnp.where(counted > 0, value, jnp.inf), outputs, feature, "logits")

    return Scorer.single(init, update, _reservoir.merge, finalize, score)
