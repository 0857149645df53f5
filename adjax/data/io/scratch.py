"""Pixels in a file, for more pictures than memory should hold.

    with Scratch(directory) as scratch:
        images = scratch.room((100_000, 256, 256, 3))     # uint8, 19.7 GB
        images.write(0, pixels)
        images[0:16]                                      # a slice is read: an array [16, 256, 256, 3]
        images[rows]                                      # row numbers choose: those pictures of the file, not yet read

The file has no name in its folder, so that it is gone when it is closed or the process ends, even by SIGKILL. It is
read, not mapped: mapped pages count as the process's memory.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from adjax.data.split import DataError
from adjax.surface import words

IN_MEMORY_BYTES = 128 * 2**20
"""Pixels up to that are held in memory."""
BLOCK = 64
"""Pictures that are read at once where all are gone through."""


class StoredImages:
    """uint8[N, H, W, C] in a file of `Scratch`, read a slice at a time; made by `Scratch.room`.

    Attributes:
      rows: int64[N], places in the file: 8 bytes of memory a picture.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, file: IO[bytes], lock: threading.Lock, image_shape: tuple[int, ...], rows: np.ndarray) -> None:
        self._file, self._lock, self._image_shape, self.rows = file, lock, image_shape, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, H, W, C]."""
        return (len(self.rows), *self._image_shape)

    @property
    def size(self) -> int:
        """N · H · W · C."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        """Reads one picture or a slice of them; an array of numbers, or of bools, chooses without reading."""
        if isinstance(key, slice):
            return self._read(self.rows[key])
        if np.ndim(key) == 0:
            return self._read(self.rows[[key]])[0]
        return StoredImages(self._file, self._lock, self._image_shape, self.rows[np.asarray(key)])

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Reads all of them into memory."""
        return self._read(self.rows).astype(dtype or np.uint8, copy=False)

    def write(self, row: int, pixels: np.ndarray) -> None:
        """Writes one picture; threads may.

        Args:
          row: in 0 … N−1.
          pixels: uint8[H, W, C].

        Raises:
          OSError: the disk is full.
        """
        data = np.ascontiguousarray(pixels, np.uint8).data.cast("B")
        try:
            with self._lock:
                self._file.seek(int(self.rows[row]) * len(data))
                while len(data):
                    data = data[self._file.write(data) :]
        except OSError as error:
            way = words("name a folder on another disk by --scratch DIR", "take fewer pictures")
            raise OSError(f"the file of pixels can't be written ({error.strerror}): make room, or {way}") from error

    def _read(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *self._image_shape), np.uint8)
        if not len(rows):
            return found
        each = math.prod(self._image_shape)
        ends = np.flatnonzero(np.diff(rows, append=-1) != 1) + 1  # of runs that lie side by side
        with self._lock:
            for start, end in zip((0, *ends[:-1]), ends, strict=True):
                self._file.seek(int(rows[start]) * each)
                into = found[start:end].data.cast("B")
                while len(into):
                    count = self._file.readinto(into)  # type: ignore[attr-defined]  # of a raw file
                    if not count:
                        raise OSError(f"the scratch file ends before picture {rows[start]}: it was never written")
                    into = into[count:]
        return found


Images = Any
"""uint8[N, H, W, C], an array or a `StoredImages`. NumPy's and JAX's types know no union with what is no array."""


def held(images: ArrayLike | StoredImages) -> Images:
    """Images as an array, but those of a file as they are."""
    return images if isinstance(images, StoredImages) else np.asarray(images)


def write(images: Images, row: int, pixels: np.ndarray) -> None:
    """Writes one of them.

    Args:
      images: as `Scratch.room` makes them.
      row: in 0 … N−1.
      pixels: uint8[H, W, C].

    Raises:
      OSError: the disk is full.
    """
    if isinstance(images, StoredImages):
        images.write(row, pixels)
    else:
        images[row] = pixels


def blocks(images: Images, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Reads images a block at a time.

    Args:
      images: N of them.
      size: of a block, ≥ 1.

    Yields:
      Arrays of that many rows, the last one of what is left.
    """
    for start in range(0, len(images), size):
        yield images[start : start + size]


class Scratch:
    """Room for pixels: in memory up to a limit, beyond it in files, which are gone when it is closed."""

    def __init__(
        self,
        directory: Path,
        tell: Callable[[str], None] = lambda line: None,
        in_memory: int | None = None,
    ) -> None:
        """Makes nothing yet.

        Args:
          directory: of the files to come; the nearest folder above it that is there.
          tell: called with a line for people for each file.
          in_memory: bytes that are held in memory; None: `IN_MEMORY_BYTES`.
        """
        there = (folder for folder in (directory, *directory.absolute().parents) if folder.is_dir())
        self.directory, self._tell = next(there), tell
        self._in_memory = IN_MEMORY_BYTES if in_memory is None else in_memory
        self._files: list[IO[bytes]] = []

    def room(self, shape: tuple[int, ...]) -> Images:
        """Makes room for images.

        Args:
          shape: [N, H, W, C].

        Returns:
          An array, or a `StoredImages` where that would be larger than the limit.

        Raises:
          DataError: the disk has too little room; no file can be made there.
        """
        size = math.prod(shape)
        if size <= self._in_memory:
            return np.empty(shape, np.uint8)
        pixels = f"the pixels of {shape[0]:,} pictures of {'×'.join(map(str, shape[1:]))} take {_size(size)}"
        way = words("name a folder on another disk by --scratch DIR, or a smaller --side-px", "take smaller pictures")
        free = shutil.disk_usage(self.directory).free
        if size > free:
            raise DataError(f"{pixels}, and the disk of {self.directory} has {_size(free)} free: make room, or {way}")
        try:
            file = tempfile.TemporaryFile(dir=self.directory, prefix="adjax-", buffering=0)  # noqa: SIM115 (closed by `close`)
        except OSError as error:
            raise DataError(
                f"{pixels}, and no file can be made in {self.directory} ({error.strerror}): {way}"
            ) from error
        self._files.append(file)
        self._tell(f"{pixels}: kept in a file in {self.directory} until the end (--scratch DIR for another place)")
        return StoredImages(file, threading.Lock(), shape[1:], np.arange(shape[0]))

    def close(self) -> None:
        """Removes the files; images in them can't be read any more."""
        while self._files:
            self._files.pop().close()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
