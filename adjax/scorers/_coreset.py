"""Greedy k-center: rows chosen one after another, each the furthest from all chosen before (Gonzalez, 1985).

One pass through all rows per choice is what costs. Here a pass serves many choices, and the choices are the same: the
rows furthest at the start of a round are held together with their distances from each other. Distances only fall, so
as long as the furthest of these rows is no nearer than the furthest outside of them was, it is the furthest of all.
Then the distances of all rows from what the round chose are one matmul.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from adjax._numerics import EXACT
from adjax.types import PyTree

_BLOCK, _CENTRES, _ROWS = 512, 128, 4096
"""Rows held together in a round; choices whose distances are one matmul, and from how many rows at a time."""
_NOISE = 2.0**-20
"""A squared distance below that share of both squared lengths is none: eight units of float32's last digit."""


def furthest(rows: jax.Array, known: jax.Array, count: int, first: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Chooses rows greedily.

    Args:
      rows: float32[N, C].
      known: bool[N], rows that there are.
      count: how many to choose, ≥ 1.
      first: int[], the row chosen first.

    Returns:
      Indices int32[count] in the order of choice, and bool[count], whether each is a row unlike those before: where
      there are fewer different rows than `count`, the last are not.
    """
    n, block = len(rows), min(_BLOCK, len(rows))
    rows = jnp.pad(rows, ((0, -n % _ROWS if n > _ROWS else 0), (0, 0)))
    square = jnp.square(rows).sum(1)
    nothing = jnp.where(jnp.pad(known, (0, len(rows) - n)), jnp.float32(jnp.inf), -1)

    def nearer(distance: jax.Array, chosen: jax.Array, real: jax.Array) -> jax.Array:
        """The least squared distances after choices int32[m], of which those `real` count."""
        return jnp.minimum(distance, _squares(rows, square, chosen, real))

    def one_round(state: PyTree) -> PyTree:
        distance, places, new, done = state
        values, near = lax.top_k(distance, min(block + 1, len(rows)))
        near, limit = near[:block], jnp.where(block < len(rows), values[-1], -1)
        apart = _apart(rows[near], square[near])

        def choose(state: PyTree) -> PyTree:
            left, picks, taken = state
            best = left.argmax()
            return jnp.minimum(left, apart[best]).at[best].set(0), picks.at[taken].set(near[best]), taken + 1

        def more(state: PyTree) -> jax.Array:
            left, _, taken = state
            return (left.max() >= limit) & (left.max() > 0) & (done + taken < count) & (taken < block)

        _, picks, taken = lax.while_loop(more, choose, (values[:block], jnp.zeros(block, jnp.int32), jnp.int32(0)))
        order = jnp.arange(block)
        slots = jnp.where(order < taken, done + order, count)
        places, new = places.at[slots].set(picks, mode="drop"), new.at[slots].set(True, mode="drop")
        width = min(_CENTRES, block)
        picks = jnp.pad(picks, (0, -block % width))

        def part(k: jax.Array, distance: jax.Array) -> jax.Array:
            own = lax.dynamic_slice_in_dim(picks, k * width, width)
            return nearer(distance, own, k * width + jnp.arange(width) < taken)

        distance = lax.fori_loop(0, -(-taken // width), part, distance)
        return distance, places, new, jnp.where(taken > 0, done + taken, count)

    start = nearer(nothing, first[None].astype(jnp.int32), jnp.ones(1, bool))
    places = jnp.zeros(count, jnp.int32).at[0].set(first.astype(jnp.int32))
    new = jnp.zeros(count, bool).at[0].set(known[first])
    return lax.while_loop(lambda state: state[3] < count, one_round, (start, places, new, jnp.int32(1)))[1:3]


def _squares(rows: jax.Array, square: jax.Array, chosen: jax.Array, real: jax.Array) -> jax.Array:
    """float32[N]: the least squared distance of each row from rows `chosen`; +inf if none is `real`."""
    centres, own = rows[chosen], jnp.where(real, square[chosen], jnp.inf)

    def of(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, xx = part
        away = xx[:, None] + own[None] - 2 * jnp.matmul(x, centres.T, precision=EXACT)
        return jnp.where(away > _NOISE * (xx[:, None] + own[None]), away, jnp.where(real[None], 0, jnp.inf)).min(1)

    if len(rows) <= _ROWS:
        return of((rows, square))
    blocks = rows.reshape(-1, _ROWS, rows.shape[1]), square.reshape(-1, _ROWS)
    return lax.map(of, blocks).reshape(-1)


def _apart(rows: jax.Array, square: jax.Array) -> jax.Array:
    """float32[B, B]: squared distances of rows from each other."""
    sums = square[:, None] + square[None]
    away = sums - 2 * jnp.matmul(rows, rows.T, precision=EXACT)
    return jnp.where(away > _NOISE * sums, away, 0)
