"""Class-wise quantile of each calibration row among the other rows, without a table for each.

A row changes the table of its own class only. There, knots are quantiles of the sorted distances with one place
skipped, so that one sort serves all rows. Stone, "Cross-validatory choice and assessment of statistical predictions"
(1974).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from adjax import thresholds

_LAST = len(thresholds.LEVELS) - 1


@jax.jit
def leave_one_out_quantile(distances: ArrayLike, labels: ArrayLike) -> jax.Array:
    """Computes `thresholds.classwise_quantile` of each row by a calibration on all other rows.

    Args:
      distances: float [N, K], of each row from each class.
      labels: int [N], as of `thresholds.calibrate`.

    Returns:
      float32 [N]; NaN where the distance from a class with rows is, +inf where no class has other rows.
    """
    distances = jnp.asarray(distances, jnp.float32)
    own, count, order = thresholds._sorted(distances, labels, None)
    ends = jnp.cumsum(count)
    number = jnp.searchsorted(ends, jnp.arange(len(own)), side="right")  # the class of each place, K if of none
    level = _levels(own, (ends - count)[number], count[number] - 1)
    value = thresholds.class_quantiles(thresholds.calibrate(distances, labels), distances)
    value = value.at[order, number].set(level, mode="drop")
    return thresholds.lowest(value)


def _levels(own: jax.Array, start: jax.Array, others: jax.Array) -> jax.Array:
    """The level of each place of `own` among the others of its class, which starts at `start`; float32[N]."""
    n, place = len(own), jnp.arange(len(own))
    levels, steps = jnp.asarray(thresholds.LEVELS, jnp.float32), jnp.asarray(thresholds._STEPS, jnp.int32)

    def knot(j: jax.Array) -> jax.Array:
        return thresholds._interpolate(own, start, others, steps[j], skipped=place)

    def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = jnp.minimum((low + high) // 2, _LAST)
        below = (low < high) & (knot(middle) < own)
        return jnp.where(below, middle + 1, low), jnp.where(below, high, jnp.minimum(middle, high))

    whole = jnp.zeros(n, jnp.int32), jnp.full(n, _LAST + 1, jnp.int32)
    piece, _ = lax.fori_loop(0, len(levels).bit_length(), halve, whole)
    after = jnp.clip(piece, 1, _LAST)
    width = jnp.maximum(knot(after) - knot(after - 1), thresholds._TINY)
    scale = thresholds._scale(*(knot(jnp.full(n, j)) for j in (0, thresholds._MEDIAN, _LAST)))
    slope = jnp.where(piece == after, (levels[after] - levels[after - 1]) / width, 1 / scale)
    end = jnp.minimum(piece, _LAST)
    value = jnp.maximum(levels[end] + (own - knot(end)) * slope, thresholds._floors(levels)[piece])
    return jnp.where(others > 0, value, jnp.inf)
