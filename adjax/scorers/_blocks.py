"""Many rows in blocks, so that what lies between input and score takes memory that is flat in their number.

On a TPU a block's temporaries stay in the chip's fast memory; written out, they would cost more than the rows do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
from jax import lax

from adjax.types import Outputs, PyTree, Scorer

_BYTES, _LEAST, _MOST = 2**24, 256, 8192
"""Of the largest output in a block, and rows. A CPU took least with 8192 of 1024 to 16,384 at 100,000 × 512."""


def by_blocks(function: Callable[[PyTree], jax.Array], rows: PyTree) -> jax.Array:
    """Applies a function that treats each row by itself.

    Args:
      function: `(rows) -> float32[n, ...]`.
      rows: arrays of N rows each.

    Returns:
      float32[N, ...].
    """
    arrays = jax.tree.leaves(rows)
    n = arrays[0].shape[0]
    if not isinstance(n, int):  # a number that is not known yet (`jax.export`) is taken for small
        return function(rows)
    each = max(x.size // max(n, 1) for x in arrays) * 4
    size = min(max(_BYTES // max(each, 1), _LEAST), _MOST)
    if n <= size:
        return function(rows)

    whole = n - n % size

    def block(first: jax.Array) -> jax.Array:
        return function(jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), rows))

    y = lax.map(block, jnp.arange(0, whole, size))
    y = y.reshape(whole, *y.shape[2:])
    return jnp.concatenate([y, function(jax.tree.map(lambda x: x[whole:], rows))]) if whole < n else y


def blocked(scorer: Scorer) -> Scorer:
    """The scorer, whose `score`, `distances` and `maps` take many rows in blocks."""

    def wrapped(function: Callable[[PyTree, Outputs], jax.Array]) -> Callable[[PyTree, Outputs], jax.Array]:
        @wraps(function)
        def in_blocks(state: PyTree, outputs: Outputs) -> jax.Array:
            return by_blocks(lambda rows: function(state, rows), dict(outputs))

        return in_blocks

    maps = None if scorer.maps is None else wrapped(scorer.maps)
    return scorer._replace(score=wrapped(scorer.score), distances=wrapped(scorer.distances), maps=maps)
