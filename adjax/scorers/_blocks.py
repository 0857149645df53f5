"""Many rows in blocks, so that what lies between input and score takes memory that is flat in their number.

On a TPU a block's temporaries stay in the chip's fast memory; written out, they would cost more than the rows do.

Rows are cut into 8 equal groups, or fewer, and a block has a part of each. So devices that share the rows, a whole
number of groups each, have an equal part of every block, and none is sent. Groups begin where tiles do (a TPU keeps
images in 128 lanes and rows of features in groups of 8), and so do blocks: rows are read where they lie and never
copied. The last block begins early enough to be as long as the others, and what it computes again is left out. Where
devices share rows that can't be cut that way, `adjax.sharding.on_own_rows` has each see its own alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from adjax.types import Outputs, PyTree, Scorer

_GROUPS, _TILES = (8, 4, 2), (128, 8)
_AGAIN = 1 / 64
"""Share of the rows that blocks of whole tiles of 128 may compute twice; those of 8 have few to."""
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
    groups = next((g for g in _GROUPS if n % (g * min(_TILES)) == 0), 1)
    own = n // groups
    blocks, step, length = divided(own, max(size // groups, 1))
    starts = np.minimum(step * np.arange(blocks), own - length)
    rows = jax.tree.map(lambda x: x.reshape(groups, own, *x.shape[1:]), rows)

    def block(start: jax.Array) -> jax.Array:
        def cut(x: jax.Array) -> jax.Array:
            return lax.dynamic_slice_in_dim(x, start, length, 1).reshape(-1, *x.shape[2:])

        return function(jax.tree.map(cut, rows))

    y = lax.map(block, jnp.asarray(starts, jnp.int32))
    y = jnp.moveaxis(y.reshape(blocks, groups, length, *y.shape[2:]), 0, 1)
    before, last = y[:, :-1, :step], y[:, -1, step * (blocks - 1) - starts[-1] :]
    y = jnp.concatenate([before.reshape(groups, -1, *y.shape[3:]), last], 1)
    return y.reshape(n, *y.shape[2:])


def divided(rows: int, most: int) -> tuple[int, int, int]:
    """How rows are divided into blocks of one length, which begin where tiles do.

    Args:
      rows: more than `most`.
      most: rows in a block, ≥ 1.

    Returns:
      Number of blocks; rows from one's beginning to the next's; and length, as much or a part of a tile more. The last
      one begins at rows − length.
    """
    for tile in _TILES:
        rest = rows % tile
        whole = (most - rest) // tile
        if whole > 0:
            step = tile * -(-(rows // tile) // -(-(rows // tile) // whole))
            blocks = -(-(rows - rest) // step)
            if tile == min(_TILES) or blocks * (step + rest) <= (1 + _AGAIN) * rows:
                return blocks, step, step + rest
    blocks = -(-rows // most)
    step = -(-rows // blocks)
    return -(-rows // step), step, step


def in_blocks(
    function: Callable[[PyTree, Outputs], jax.Array],
    most: int | None = None,
    prepared: Callable[[PyTree], PyTree] = lambda state: state,
) -> Callable[[PyTree, Outputs], jax.Array]:
    """Makes a scorer's function take many rows in blocks.

    Args:
      function: `(state, outputs) -> float32[N, ...]`, each row by itself.
      most: rows in a block; None: by their size.
      prepared: `(state) -> state`, what all blocks share and is done once.

    Returns:
      The same function; its attribute `in_blocks` is true.
    """

    @wraps(function)
    def wrapped(state: PyTree, outputs: Outputs) -> jax.Array:
        state = prepared(state)
        rows = outputs if isinstance(outputs, dict) else dict(outputs)
        return by_blocks(lambda rows: function(state, rows), rows, most)

    wrapped.in_blocks = True  # type: ignore[attr-defined]
    return wrapped


def blocked(scorer: Scorer) -> Scorer:
    """The scorer, whose `score`, `distances` and `maps` take many rows in blocks: in its own, if it has any."""
    if hasattr(scorer.score, "in_blocks"):
        return scorer
    maps = None if scorer.maps is None else in_blocks(scorer.maps)
    return scorer._replace(score=in_blocks(scorer.score), distances=in_blocks(scorer.distances), maps=maps)
