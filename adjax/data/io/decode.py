"""Many image files to one array: all of one size, or brought to one; decoded by a few threads.

No more memory is taken than the array and one picture a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from adjax.data.io.picture import read_header, read_pixels, read_square
from adjax.data.split import DataError

THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes outside the interpreter's lock
MAX_SIDE = 4096


def read_images(files: Sequence[Path], beside: Sequence[Path] = (), side_px: int | None = None) -> np.ndarray:
    """Decodes files.

    Args:
      files: what to decode, in this order.
      beside: files of the set's other split: they are looked at, so that both get the same channels and must
        have the same size.
      side_px: None: all files must have one size. Else each is resized so that its shorter side has this many
        pixels, and the middle is cut out of it (see `picture.read_square`).

    Returns:
      uint8 [N, H, W, C]. Without `side_px` grey, C = 1, if every file of both is grey; else RGB.

    Raises:
      DataError: several sizes; or a file that can't be read, is transparent or doesn't fit into 8 bits.
    """
    if side_px is not None:
        if not 1 <= side_px <= MAX_SIDE:
            raise DataError(f"side_px is {side_px}, but must be 1 to {MAX_SIDE}")
        height = width = side_px
        channels = 3
    else:
        height, width, channels = _one_shape([*files, *beside])
    images = np.empty((len(files), height, width, channels), np.uint8)

    def fill(row: int) -> None:
        path = files[row]
        images[row] = read_pixels(path, channels) if side_px is None else read_square(path, side_px)

    each(fill, range(len(files)))
    return images


def _one_shape(files: Sequence[Path]) -> tuple[int, int, int]:
    headers = each(read_header, files)
    first = headers[0]
    for file, header in zip(files, headers, strict=True):
        if (header.height, header.width) != (first.height, first.width):
            raise DataError(
                f"{file} is {header.width}×{header.height} pixels, but {files[0]} {first.width}×{first.height}: all "
                "must have one size, so resize or crop them first, or name a size for all: side_px=224"
            )
    return first.height, first.width, max(header.channels for header in headers)


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Calls a function on each item, by a few threads.

    Args:
      function: of one item; the first error ends it, without working through the rest.
      items: to be called on.

    Returns:
      The results in order.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
