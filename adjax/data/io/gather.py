"""Decoding of many files, some of them broken: headers and pixels, by a few threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adjax.data.io import upload
from adjax.data.io.decode import each
from adjax.data.io.depth import Depths
from adjax.data.io.pixels import Frame
from adjax.data.split import DataError

MAX_BYTES = 4 * 2**30


def headers(files: Iterable[Path]) -> list[upload.Header | str]:
    """Reads the header of each file, or the reason why it has none; nothing is decoded."""
    return _each(upload.look, files)


def images(
    files: Sequence[Path], shape: tuple[int, int, int], depths: Depths | None = None, frame: Frame = "middle"
) -> tuple[np.ndarray, np.ndarray, dict[Path, str]]:
    """Decodes files as `upload.read` does.

    Args:
      files: in this order.
      shape: (height px, width px, channels).
      depths: told of each picture.
      frame: as of `upload.read`.

    Returns:
      (uint8 [n, height, width, channels], which files they are int[n], file → reason of the others).

    Raises:
      DataError: more than `MAX_BYTES` of pixels.
    """
    size = len(files) * int(np.prod(shape))
    if size > MAX_BYTES:
        raise DataError(
            f"{len(files):,} pictures of {'×'.join(map(str, shape))} take {size / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES / 2**30:.0f}: choose a smaller --side-px, or fewer pictures"
        )
    found = np.empty((len(files), *shape), np.uint8)

    def fill(row: int) -> None:
        picture = upload.read(files[row], shape, frame)
        found[row] = picture.pixels
        if depths is not None:
            depths.add(picture)

    said = _each(fill, range(len(files)))
    errors = {files[row]: why for row, why in enumerate(said) if why is not None}
    rows = np.array([row for row, why in enumerate(said) if why is None], int)
    return (found if not errors else found[rows]), rows, errors


def _each(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Results in order; of what fails, its reason."""

    def one(item: Any) -> Any:
        try:
            return function(item)
        except DataError as error:
            return upload.reason(error)

    return each(one, items)
