"""Distance to the k-th nearest training image.

    score(f) = ‖f/‖f‖ − r_k‖        r_k the k-th nearest of the training images' features, also of length 1

Sun et al., "Out-of-distribution detection with deep nearest neighbors" (ICML 2022). The length of a feature vector says
how sure a classifier is more than what it sees, hence directions; for features that no classifier made, lengths may
count as well. The images remembered are a random sample (`adjax.scorers._reservoir`), and k belongs to its size: the
paper takes 50 for 50,000 images of CIFAR-10, and a k a hundredth as large for a hundredth of the images.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax.scorers import _reservoir
from adjax.scorers._blocks import in_blocks
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import ROWS, directed, direction, length, nearest, within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], one of the images, subtracted first, so that large common offsets cost no digits.
      rows: float32[capacity, D], less the origin.
      known: bool[capacity], which rows are images.
    """

    origin: jax.Array
    rows: jax.Array
    known: jax.Array


def knn(k: int = 10, normalise: bool = True, capacity: int = 10_000, feature: str = "features") -> Scorer:
    """k-th nearest neighbour on `outputs[feature]`, float [N, D].

    Args:
      k: ≥ 1; of fewer images than that, the furthest counts.
      normalise: compare directions, as the paper does; otherwise the features as they are.
      capacity: images remembered, ≥ k. Scoring takes time in it, and so does a saved detector on disk.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is a distance ≥ 0, of directions at most 2; `distances` has one column. An image whose
      features are NaN scores NaN; one with an infinite feature has no direction, and scores +inf. Rows with a feature
      that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit; fitted to no row
      at all, every score is +inf.

    Raises:
      ValueError: k < 1, or more than the capacity.
    """
    if not 1 <= k <= capacity:
        raise ValueError(f"k={k} nearest of at most capacity={capacity} images: must lie between 1 and that")

    def init(dim: int, classes: int) -> Sample:
        return _reservoir.init(capacity, dim, classes)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        return _reservoir.update(stats, outputs[feature], labels, mask)

    def finalize(stats: Sample) -> State:
        known = _reservoir.kept(stats)
        rows = direction(stats.rows) if normalise else stats.rows
        origin = rows[0]  # any of them; a mean, compiled into both its uses, would differ between them by a digit
        return State(origin, jnp.where(known[:, None], rows - origin[None], 0), known)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        raw = within(outputs, feature)
        x = (direction(raw) if normalise else raw) - state.origin[None]
        last = jnp.minimum(state.known.sum(), k) - 1
        place = nearest(x, state.rows, state.known, k)[:, last]
        distance = length(x - state.rows[place])
        if normalise:
            distance = directed(distance, outputs[feature])
        return jnp.where((last < 0) & ~jnp.isnan(distance), jnp.inf, distance)

    def unseen(stats: Sample, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        raw = within(outputs, feature)
        x = (direction(raw) if normalise else raw) - state.origin[None]
        place = nearest(x, state.rows, state.known, min(k + 1, capacity))
        own = _reservoir.holds(stats, outputs[feature]).astype(jnp.int32)
        others = state.known.sum() - own
        last = jnp.minimum(jnp.minimum(others, k) - 1 + own, place.shape[1] - 1)

        def away(nth: jax.Array) -> jax.Array:
            return length(x - state.rows[jnp.take_along_axis(place, jnp.maximum(nth, 0)[:, None], 1)[:, 0]])

        # Itself is among them, mostly the first; where rounding put it last, what lies before it counts.
        return jnp.where(others > 0, jnp.maximum(away(last), away(last - own)), jnp.inf)[:, None]

    return Scorer.single(init, update, _reservoir.merge, finalize, in_blocks(score, ROWS, _held), unseen)


def _held(state: State) -> State:
    """The state; on a TPU the rows are put into its fast memory once, where their squares and all blocks read them."""

    def put(rows: jax.Array, known: jax.Array) -> jax.Array:
        return lax.optimization_barrier(jnp.where(known[:, None], rows, 0))  # as they are: but XLA leaves out a copy

    rows = lax.platform_dependent(state.rows, state.known, tpu=put, default=lambda rows, _: rows)
    return state._replace(rows=rows)
