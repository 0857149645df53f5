"""All images through a function of a batch: padded, in flat memory, with one compilation whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from adjax.types import PyTree

BATCH_SIZE = 512


def batches(images: np.ndarray, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Consecutive batches of exactly `batch_size` rows, the last padded with zeros, and how many rows are real."""
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        real = len(batch)
        if real < batch_size:
            batch = np.concatenate([batch, np.zeros((batch_size - real, *batch.shape[1:]), batch.dtype)])
        yield batch, real


def apply(
    function: Callable[[PyTree, jax.Array], PyTree],
    state: PyTree,
    images: np.ndarray,
    batch_size: int = BATCH_SIZE,
) -> PyTree:
    """`function(state, images)` for any number of images, a batch at a time.

    Args:
      function: jitted, `(state, images [B, ...]) -> arrays with B rows`, each row a function of its image alone.
      state: its first argument.
      images: [N, ...], N ≥ 0; stays on the host but for the batches in flight.
      batch_size: B; no result depends on it.

    Returns:
      The arrays, NumPy, N rows each.
    """
    results, pending = [], []
    for batch, real in batches(np.asarray(images), batch_size):
        pending.append((function(state, batch), real))
        if len(pending) > 1:  # fetch one batch late, so that the device is never idle
            results.append(_fetch(*pending.pop(0)))
    results += [_fetch(*p) for p in pending]
    if not results:
        shapes = jax.eval_shape(function, state, jnp.zeros((batch_size, *images.shape[1:]), images.dtype))
        return jax.tree.map(lambda s: np.zeros((0, *s.shape[1:]), s.dtype), shapes)
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def _fetch(arrays: PyTree, real: int) -> PyTree:
    return jax.tree.map(lambda x: np.asarray(x)[:real], arrays)
