"""Many picture files to arrays: headers and pixels, by a few threads; broken ones are told of, or end it.

No more memory is taken than the array and one picture a thread; the array may lie in a file, see
`adjax.data.io.scratch`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from adjax.data.io import upload
from adjax.data.io.depth import Depths
from adjax.data.io.pixels import Frame
from adjax.data.io.scratch import Images, Scratch, write
from adjax.data.split import DataError

MAX_BYTES = 4 * 2**30
MAX_SIDE = 4096
THREADS = min(8, os.cpu_count() or 1)  # Pillow decodes outside the interpreter's lock
_WAITING = 1024
"""Calls that wait for a thread: each takes 2 KB."""


def headers(
    files: Iterable[Path], page: int | None = None, limits: tuple[float, float] | None = None
) -> list[upload.Header | str]:
    """Reads the header of each file; nothing is decoded.

    Args:
      files: in this order.
      page, limits: as of `upload.read`.

    Returns:
      Of each the header, or the reason why it has none.
    """
    return _each(partial(upload.look, page=page, limits=limits), list(files))


def images(
    files: Sequence[Path],
    shape: tuple[int, int, int],
    depths: Depths | None = None,
    frame: Frame = "middle",
    depth: int = 16,
    page: int | None = None,
    limits: tuple[float, float] | None = None,
    scratch: Scratch | None = None,
) -> tuple[Images, np.ndarray, dict[Path, str]]:
    """Decodes files as `upload.read` does.

    Args:
      files: in this order.
      shape: (height px, width px, channels).
      depths: told of each picture.
      frame, depth, page, limits: as of `upload.read`.
      scratch: where pixels lie that memory has no room for; None: they are refused.

    Returns:
      (uint8 [n, height, width, channels], which files they are int[n], file → reason of the others).

    Raises:
      DataError: without `scratch`, more than `MAX_BYTES` of pixels; with it, more than the disk has room for.
      OSError: the disk is full.
    """
    size = len(files) * int(np.prod(shape))
    if scratch is None and size > MAX_BYTES:
        raise DataError(
            f"{len(files):,} pictures of {'×'.join(map(str, shape))} take {size / 2**30:.1f} GiB, more than "
            f"{MAX_BYTES / 2**30:.0f}: choose a smaller --side-px, or fewer pictures"
        )
    room = None if scratch is None else scratch.room((len(files), *shape))
    return _decoded(files, shape, depths, frame, room=room, depth=depth, page=page, limits=limits)


def one_shape(
    files: Sequence[Path], beside: Sequence[Path] = (), side_px: int | None = None, strict: bool = False
) -> tuple[np.ndarray, np.ndarray, dict[Path, str]]:
    """Decodes files of one size, or brings them to one.

    Args:
      files: what to decode, in this order.
      beside: files of the set's other split: they are looked at, so that both get the same channels and must
        have the same size.
      side_px: None: all files must have one size. Else each is resized so that its shorter side has this many
        pixels, and the middle is cut out of it.
      strict: as of `upload.read`; and the first file that can't be read is an error.

    Returns:
      As `images`. Without `side_px` grey, C = 1, if every file of both is grey; else RGB.

    Raises:
      DataError: several sizes; no file that can be read; with `strict`, a file that can't be.
    """
    if side_px is not None and not 1 <= side_px <= MAX_SIDE:
        raise DataError(f"side_px is {side_px}, but must be 1 to {MAX_SIDE}")
    shape = (side_px, side_px, 3) if side_px is not None else _shape_of([*files, *beside], strict)
    found, rows, errors = _decoded(files, shape, strict=strict)
    assert isinstance(found, np.ndarray)
    if errors and not len(rows):
        file, why = next(iter(errors.items()))
        raise DataError(f"none of {len(files)} pictures can be read; {file}: {why}")
    return found, rows, errors


def _shape_of(files: Sequence[Path], strict: bool) -> tuple[int, int, int]:
    """The size of all files that can be read, and the channels that the richest of them has."""
    read = dict(zip(files, _each(partial(upload.look, strict=strict), files, strict), strict=True))
    heads = {file: header for file, header in read.items() if isinstance(header, upload.Header)}
    if not heads:
        raise DataError(f"none of {len(files)} pictures can be read; {files[0]}: {read[files[0]]}")
    first, header = next(iter(heads.items()))
    for file, other in heads.items():
        if other[:2] != header[:2]:
            raise DataError(
                f"{file} is {other.width}×{other.height} pixels, but {first} {header.width}×{header.height}: all "
                "must have one size, so resize or crop them first, or name a size for all: side_px=224"
            )
    return header.height, header.width, max(header.channels for header in heads.values())


def _decoded(
    files: Sequence[Path],
    shape: tuple[int, int, int],
    depths: Depths | None = None,
    frame: Frame = "middle",
    strict: bool = False,
    room: Images | None = None,
    **reads: Any,
) -> tuple[Images, np.ndarray, dict[Path, str]]:
    found = np.empty((len(files), *shape), np.uint8) if room is None else room

    def fill(file: Path, row: int) -> None:
        picture = upload.read(file, shape, frame, strict, **reads)
        write(found, row, picture.pixels)
        if depths is not None:
            depths.add(picture.peak, picture.header.mode, picture.coloured)

    said = _each(fill, files, strict, range(len(files)))
    errors = {file: why for file, why in zip(files, said, strict=True) if why is not None}
    kept = np.array([row for row, why in enumerate(said) if why is None], int)
    return (found[kept] if errors else found), kept, errors


def _each(function: Callable[..., Any], files: Sequence[Path], strict: bool = False, *others: Iterable) -> list[Any]:
    """`map` by threads; of what fails, the reason stands there, or with `strict` an error names the file."""

    def one(file: Path, *other: Any) -> Any:
        try:
            return function(file, *other)
        except DataError as error:
            if strict:
                raise DataError(f"cannot read {file}: {error}; repair it or take it out") from error
            return upload.reason(error)

    return each(one, files, *others)


def each(function: Callable[..., Any], *items: Iterable) -> list[Any]:
    """`map` by a few threads; the first error ends it, without working through the rest.

    Args:
      function: of one item of each.
      items: to be called on.

    Returns:
      The results in order.
    """
    calls, found = zip(*items, strict=False), list[Any]()
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            while some := list(itertools.islice(calls, _WAITING)):
                found += pool.map(function, *zip(*some, strict=True))
            return found
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
