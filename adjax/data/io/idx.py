"""IDX, the file format of MNIST and its relatives: four magic bytes, big-endian sizes, then the pixels."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np

from adjax.data.split import DataError

STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""The standard file names: (images, labels) of each split. `.gz` may follow."""

MAX_BYTES = 8 << 30  # A .gz can claim any size: stop unpacking here.


class WrongHash(DataError):
    """A file that is there and whole enough to be read, but isn't the published one."""


def find_files(folder: Path, stems: tuple[str, ...]) -> dict[str, Path] | None:
    """Finds IDX files by their standard names, raw before .gz.

    Args:
      folder: to look in.
      stems: standard names without ending.

    Returns:
      Stem → path; None unless all are there.
    """
    found = {}
    for stem in stems:
        dotted = stem.replace("-idx", ".idx")  # as some unpackers leave it
        names = (stem, f"{stem}.gz", dotted, f"{dotted}.gz")
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        if path is None:
            return None
        found[stem] = path
    return found


def read_idx(path: Path, sha256: str | None = None) -> np.ndarray:
    """Reads one IDX file, raw or .gz.

    Args:
      path: the file; what ends in .gz is decompressed.
      sha256: the hash (hex) that the decompressed bytes must have, if known.

    Returns:
      uint8 array of the shape that the header tells.

    Raises:
      WrongHash: the bytes aren't those of `sha256`.
      DataError: unreadable, not IDX, or another length than the header tells.
    """
    raw = _read(path)
    if sha256 is not None and (actual := hashlib.sha256(raw.data).hexdigest()) != sha256:
        raise WrongHash(f"{path} has SHA-256 {actual} (decompressed), but the published file has {sha256}")
    rank = int(raw[3]) if raw.size > 3 else 0
    start = 4 + 4 * rank
    if raw.size < start or rank == 0 or bytes(raw[:3]) != b"\0\0\x08":
        raise DataError(f"{path} is not an IDX file of bytes: it must begin with 00 00 08 and the number of dimensions")
    shape = tuple(int(size) for size in raw[4:start].view(">u4"))
    if raw.size - start != math.prod(shape):
        raise DataError(
            f"{path} holds {raw.size - start:,} bytes, but its header says {shape}: {math.prod(shape):,}; "
            "it is cut short or damaged: download it again"
        )
    return raw[start:].reshape(shape)


def encode_idx(array: np.ndarray) -> bytes:
    """The IDX file of a uint8 array: what `read_idx` reads back."""
    sizes = np.array(array.shape, ">u4").tobytes()
    return b"\0\0\x08" + bytes([array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _read(path: Path) -> np.ndarray:
    try:
        if path.suffix != ".gz":
            return np.fromfile(path, np.uint8)
        with gzip.open(path) as file:
            content = bytearray()
            while chunk := file.read(1 << 20):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise DataError(
                        f"{path} unpacks to more than {MAX_BYTES >> 30} GiB; unpack it yourself if it's meant"
                    )
            return np.frombuffer(content, np.uint8)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}; download it again") from error
