"""All images through a function of a batch: padded, in flat memory, one compilation whatever their number.

Example:
  >>> images = np.arange(10, dtype=np.uint8).reshape(5, 2)
  >>> sum(real for _, real in batches(images, 2))
  5
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.typing import ArrayLike

from adjax.data.io.scratch import Images, held
from adjax.types import Outputs, PyTree

BATCH_SIZE, BATCH_PIXELS = 512, 2**20
CPU_PIXELS = 2**17
"""As `BATCH_PIXELS`, on CPU. What a program works in is allocated for each batch. More than 32 MiB are handed back by
glibc at its end, and the kernel zeroes them again for the next: at 224 px and 16 images a third of the CPU seconds."""
FEW = (1, 8, 64)


def batch_size_for(shape: tuple[int, ...]) -> int:
    """Images that a network sees as [height, width, …] a batch: a power of two, at most 512 and about a million pixels,
    on CPU an eighth of that; rows of features count as one pixel."""
    pixels = math.prod(shape[:2]) if len(shape) == 3 else 1
    most = CPU_PIXELS if jax.default_backend() == "cpu" else BATCH_PIXELS
    return min(BATCH_SIZE, 2 ** int(math.log2(max(1, most // pixels))))


def batch_size_of_few(count: int, shape: tuple[int, ...]) -> int:
    """Images a batch, if there may be few: the least of 1, 8, 64 and `batch_size_for` that holds all. So at most
    four programs are compiled, and one image costs what one takes.

    Args:
      count: images at hand.
      shape: of each.

    Returns:
      The batch size.
    """
    most = batch_size_for(shape)
    return next((size for size in FEW if count <= size < most), most)


def batches(images: Images, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Cuts images into batches of exactly `batch_size` rows, with zeros after the last row.

    Args:
      images: [N, ...].
      batch_size: rows per batch, ≥ 1.

    Yields:
      A batch, and how many of its rows are real.
    """
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        real = len(batch)
        if real < batch_size:
            batch = np.concatenate([batch, np.zeros((batch_size - real, *batch.shape[1:]), batch.dtype)])
        yield batch, real


def outputs_in_batches(outputs: Outputs, batch_size: int) -> Iterator[tuple[Outputs, int]]:
    """Cuts a network's outputs into batches, as `batches` does images.

    Args:
      outputs: named arrays of N rows.
      batch_size: rows per batch, ≥ 1.

    Yields:
      The outputs of a batch, and how many of its rows are real.
    """
    for parts in zip(*(batches(np.asarray(x), batch_size) for x in outputs.values()), strict=True):
        yield {name: batch for name, (batch, _) in zip(outputs, parts, strict=True)}, parts[0][1]


def apply(
    function: Callable[[PyTree, ArrayLike], PyTree],
    state: PyTree,
    images: Images,
    batch_size: int | None = None,
) -> PyTree:
    """`function(state, images)` for any number of images, a batch at a time.

    Args:
      function: jitted, `(state, images [B, ...]) -> arrays of B rows`, each a function of its image alone.
      state: its first argument; put on the device once.
      images: [N, ...], N ≥ 0; stays on the host but for the batches in flight.
      batch_size: B ≥ 1; no result depends on it. None: by the size of the images, see `batch_size_for`.

    Returns:
      The arrays, NumPy, N rows each.

    Raises:
      ValueError: batch_size < 1.
    """
    if batch_size is None:
        batch_size = batch_size_for(held(images).shape[1:])
    if batch_size < 1:
        raise ValueError(f"batch size {batch_size}: must be at least 1")
    images, state = held(images), jax.device_put(state)
    results: list[PyTree] = []
    pending: tuple[PyTree, int] | None = None
    for batch, real in batches(images, batch_size):
        started = function(state, batch), real
        if pending is not None:  # fetch one batch late, so that the device is never idle
            results.append(_fetch(*pending))
        pending = started
    if pending is None:
        one_batch = jax.ShapeDtypeStruct((batch_size, *images.shape[1:]), images.dtype)
        shapes = jax.eval_shape(function, state, one_batch)
        return jax.tree.map(lambda s: np.zeros((0, *s.shape[1:]), s.dtype), shapes)
    results.append(_fetch(*pending))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)


def _fetch(arrays: PyTree, real: int) -> PyTree:
    return jax.tree.map(lambda x: np.asarray(x)[:real], arrays)
