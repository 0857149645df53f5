"""The largest of each row, and quantiles, without sorting: the range that holds the limit is halved, a pass each time.

A CPU sorts number by number: of 10,000 rows of 512, `top_k` takes the 50 largest in 70 ms, and this in 10 to 20; a
quantile of all of these takes a second, and here a tenth. Halved is the range of the bits, which are in the order of
the numbers: 32 passes are enough for any float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from adjax.scorers._blocks import by_blocks

Search = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""Passes done, the ends of the ranges, and which of them are still open."""

_BITS = 32
_ROWS = 2048
"""That many at a time stay in a CPU's cache through all passes; of fewer, more time goes into starting threads."""


def largest(x: jax.Array, count: int | jax.Array) -> jax.Array:
    """Marks the largest of each row.

    Args:
      x: float32[N, D], finite; no gradient passes. A device may take what is below 1.2e-38 for 0.
      count: how many, in 1 … D; of each row, int32[N], if they differ.

    Returns:
      bool[N, D], of each row that many true: of equal ones the first. A row with a NaN has any.
    """
    x, each = lax.stop_gradient(x), jnp.broadcast_to(jnp.asarray(count, jnp.float32), x.shape[:1])
    limits = by_blocks(lambda rows: jnp.stack(_limits(*rows), -1), (x, each), _ROWS)
    least, equal = limits[:, :1], limits[:, 1:].astype(jnp.int32)
    return (x > least) | ((x == least) & (_columns(x) < equal))


def _limits(x: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The number from which on all are among the largest, and the column before which those that equal it are, too."""

    def many(marked: jax.Array) -> jax.Array:
        return jnp.where(marked, 1.0, 0.0).sum(-1)

    least = _number(_halved(lambda key: many(x >= _number(key)[:, None]) - count, _key(x.min(-1)), _key(x.max(-1)) + 1))
    wanted, row = count - many(x > least[:, None]), jnp.zeros(len(x), jnp.int32)

    def first(before: jax.Array) -> jax.Array:
        return many((x == least[:, None]) & (_columns(x) < -before[:, None])) - wanted

    return least, (-_halved(first, row - x.shape[1], row + 1)).astype(jnp.float32)


def _columns(x: jax.Array) -> jax.Array:
    return jnp.arange(x.shape[1], dtype=jnp.int32)[None]


def quantile(x: jax.Array, known: jax.Array, level: float, axis: int | tuple[int, ...] = 0) -> jax.Array:
    """Computes a quantile of each column or of all numbers, linear between two of them.

    Args:
      x: float32[M, D], finite.
      known: bool[M], rows that count.
      level: in [0, 1].
      axis: 0, or (0, 1) for all.

    Returns:
      float32[D], or float32[]; NaN if no row counts.
    """
    rows, across = known[:, None], dict[str, Any](axis=axis, keepdims=True)
    least, most = jnp.where(rows, x, jnp.inf).min(**across), jnp.where(rows, x, -jnp.inf).max(**across)
    x, each = jnp.where(rows, x, jnp.inf), 1 if axis == 0 else x.shape[1]
    total = known.sum(dtype=jnp.int32) * each
    place = level * jnp.maximum(total - 1, 0).astype(jnp.float32)
    rank = jnp.floor(place).astype(jnp.int32)

    def excess(key: jax.Array) -> jax.Array:
        return rank - jnp.where(x < _number(key), 1, 0).sum(**across)

    limit = _number(_halved(excess, _key(least), _key(most) + 1))
    low = jnp.where(x >= limit, x, jnp.inf).min(**across)
    following = jnp.where(x > low, x, jnp.inf).min(**across)
    high = jnp.where(jnp.where(x <= low, 1, 0).sum(**across) > rank + 1, low, following)
    share = place - rank.astype(jnp.float32)
    found = jnp.where(share > 0, low + share * (high - low), low)
    return jnp.where(total > 0, found, jnp.nan).squeeze(axis)


def _halved(excess: Callable[[jax.Array], jax.Array], low: jax.Array, high: jax.Array) -> jax.Array:
    """The highest key of the range at which `excess` isn't negative, or one at which it is 0.

    Args:
      excess: falls as the key rises; not negative at `low`, negative at `high`.
      low, high: int32[...], ends of the ranges.

    Returns:
      int32[...].
    """

    def on(search: Search) -> jax.Array:
        return search[3].any() & (search[0] < _BITS)  # what a NaN begins has no end

    def half(search: Search) -> Search:
        step, low, high, open_ = search
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        more = excess(middle)
        low, high = jnp.where(open_ & (more >= 0), middle, low), jnp.where(open_ & (more < 0), middle, high)
        return step + 1, low, high, open_ & (more != 0) & (high - low != 1)

    start = jnp.int32(0), low, high, (excess(low) != 0) & (high - low != 1)
    return lax.while_loop(on, half, start)[1]


def _key(x: jax.Array) -> jax.Array:
    """int32 in the order of finite float32."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    return jnp.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _number(key: jax.Array) -> jax.Array:
    """Of a `_key`."""
    return lax.bitcast_convert_type(jnp.where(key < 0, key ^ 0x7FFFFFFF, key), jnp.float32)
