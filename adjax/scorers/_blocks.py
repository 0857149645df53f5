"""Many rows in blocks, so that what lies between input and score takes memory that is flat in their number.

On a TPU a block's temporaries stay in the chip's fast memory; written out, they would cost more than the rows do.

Rows are dealt in turn, chunk by chunk, to B blocks: so each has an equal share of what every device holds, and rows
that are shared among devices stay where they are. Chunks are of 128 or 8 rows where up to eight devices would hold
whole ones, since a TPU keeps images in 128 lanes and rows of features in groups of 8; otherwise of a single row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
from jax import lax

from adjax.types import Outputs, PyTree, Scorer

_CHUNKS, _DEVICES = (128, 8), 8
"""Rows dealt together, and how many devices may share them so that each has whole chunks."""
_BYTES, _LEAST, _MOST = 2**24, 256, 8192
"""Of the largest output in a block, and rows. A CPU took least with 8192 of 1024 to 16,384 at 100,000 × 512."""


def by_blocks(function: Callable[[PyTree], jax.Array], rows: PyTree, most: int | None = None) -> jax.Array:
    """Applies a function that treats each row by itself.

    Args:
      function: `(rows) -> float32[n, ...]`.
      rows: arrays of N rows each.
      most: rows in a block; None: by their size.

    Returns:
      float32[N, ...].
    """
    arrays = jax.tree.leaves(rows)
    n = arrays[0].shape[0]
    if not isinstance(n, int):  # a number that is not known yet (`jax.export`) is taken for small
        return function(rows)
    each = max(x.size // max(n, 1) for x in arrays) * 4
    size = min(max(_BYTES // max(each, 1), _LEAST), _MOST) if most is None else most
    if n <= size:
        return function(rows)
    blocks = count(n, size)
    missing = -n % blocks
    chunk = next((c for c in _CHUNKS if n % (blocks * c * _DEVICES) == 0), 1)

    def dealt(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)) if missing else x
        return x.reshape(-1, blocks, chunk, *x.shape[1:])

    def block(b: jax.Array) -> jax.Array:
        def own(x: jax.Array) -> jax.Array:
            x = lax.dynamic_index_in_dim(x, b, 1, keepdims=False)
            return x.reshape(-1, *x.shape[2:])

        return function(jax.tree.map(own, rows))

    rows = jax.tree.map(dealt, rows)
    y = lax.map(block, jnp.arange(blocks))
    y = jnp.moveaxis(y.reshape(blocks, -1, chunk, *y.shape[2:]), 0, 1)
    return y.reshape(-1, *y.shape[3:])[:n]


def count(rows: int, size: int) -> int:
    """How many blocks rows are dealt to: without padding if it can be.

    A multiple of 8 comes first, since a TPU copies all rows to deal them to others: 100,000 in 20 blocks took 245 MB
    beside them, and in 16 none. Then come numbers that let 8, 4 or 2 devices share each block evenly; otherwise they
    gather it.

    Args:
      rows: N, more than `size`.
      size: the most rows of a block, about.

    Returns:
      From N / `size`, rounded up, to less than twice that.
    """
    least = -(-rows // size)
    ways = ((tile, shared) for tile in (8, 1) for shared in (8, 4, 2, 1))
    found = (b for tile, shared in ways for b in range(least, 2 * least) if b % tile == 0 == rows % (b * shared))
    return next(found, least)


def in_blocks(
    function: Callable[[PyTree, Outputs], jax.Array], most: int | None = None
) -> Callable[[PyTree, Outputs], jax.Array]:
    """Makes a scorer's function take many rows in blocks.

    Args:
      function: `(state, outputs) -> float32[N, ...]`, each row by itself.
      most: rows in a block; None: by their size.

    Returns:
      The same function; its attribute `in_blocks` is true.
    """

    @wraps(function)
    def wrapped(state: PyTree, outputs: Outputs) -> jax.Array:
        return by_blocks(lambda rows: function(state, rows), dict(outputs), most)

    wrapped.in_blocks = True  # type: ignore[attr-defined]
    return wrapped


def blocked(scorer: Scorer) -> Scorer:
    """The scorer, whose `score`, `distances` and `maps` take many rows in blocks: in its own, if it has any."""
    if hasattr(scorer.score, "in_blocks"):
        return scorer
    maps = None if scorer.maps is None else in_blocks(scorer.maps)
    return scorer._replace(score=in_blocks(scorer.score), distances=in_blocks(scorer.distances), maps=maps)
