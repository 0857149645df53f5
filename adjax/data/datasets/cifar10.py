"""CIFAR-10 (Krizhevsky 2009): 60,000 small photographs, 32×32 RGB, from the publisher's binary files or tfds.

The binary version is six files of 10,000 records each, `data_batch_1.bin` to `data_batch_5.bin` and
`test_batch.bin`; a record is one label byte, then 32×32 bytes of red, of green, of blue. The version for Python
is a pickle, which can run code when it is read: it is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adjax.data.download import cache, tfds
from adjax.data.split import DataError, Split, make_split

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
FOLDERS = ("cifar10", "cifar-10-batches-bin", "cifar-10", "")
SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE
RECORDS = 10_000
ADVICE = (
    "get the *binary version* of CIFAR-10 (cifar-10-binary.tar.gz) from its publisher, unpack it, and name the "
    "folder: --data-dir DIR, or ADJAX_DATA_DIR=DIR"
)


def load_cifar10(split: str, data_dir: Path | None = None, records: int = RECORDS) -> Split:
    """One split, from the folder given, else the cache, else tfds (whose rows come in an order of its own).

    Args:
      split: "train" or "test".
      data_dir: the folder that holds the .bin files, or holds their folder; without one, $ADJAX_DATA_DIR.
      records: images a file, 10,000 as published.

    Returns:
      images uint8 [5 * records or records, 32, 32, 3], labels int32.

    Raises:
      DataError: files of another length or with labels past 9, the pickled version, or nothing anywhere.
    """
    folder = where(data_dir)
    if folder is not None:
        return _read(folder, split, records)
    try:
        prepared = tfds.prepared("cifar10", data_dir) or tfds.prepare("cifar10", data_dir)
    except DataError as error:
        places = ", ".join(map(str, _places(data_dir)))
        raise DataError(f"no CIFAR-10 in {places}, and no tfds:cifar10: {error}; {ADVICE}") from error
    return tfds.read(prepared, split)


def where(data_dir: Path | None = None) -> Path | None:
    """The folder that has all six files, by their names; None if there is none.

    Raises:
      DataError: only some of the files are there, or only the pickled version.
    """
    names = [name for of_split in FILES.values() for name in of_split]
    for folder in _places(data_dir):
        missing = [name for name in names if not (folder / name).is_file()]
        if not missing:
            return folder
        if len(missing) < len(names):
            raise DataError(f"{folder} lacks {', '.join(missing)}: put all six files there, or none; {ADVICE}")
    pickles = (place / part for place in _places(data_dir) for part in ("", "cifar-10-batches-py"))
    for folder in pickles:
        if (folder / "data_batch_1").is_file():
            raise DataError(f"{folder} is the Python version, pickles that could run code when read: {ADVICE}")
    return None


def _places(data_dir: Path | None) -> list[Path]:
    given = cache.given_dir(data_dir)
    roots = [given, cache.cache_dir()] if given is not None else [cache.cache_dir()]
    return [root / name for root in roots for name in FOLDERS if name or root == given]


def _read(folder: Path, split: str, records: int) -> Split:
    rows = np.concatenate([_records(folder / name, records) for name in FILES[split]])
    images = rows[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return make_split(np.ascontiguousarray(images), rows[:, 0], folder)


def _records(path: Path, records: int) -> np.ndarray:
    size = path.stat().st_size
    if size != records * RECORD_BYTES:
        raise DataError(
            f"{path} has {size:,} bytes, but {records:,} records of {RECORD_BYTES:,} are {records * RECORD_BYTES:,}: "
            "it is cut short or another file: download it again"
        )
    rows = np.fromfile(path, np.uint8).reshape(records, RECORD_BYTES)
    wrong = np.flatnonzero(rows[:, 0] >= len(CLASSES))
    if len(wrong):
        raise DataError(
            f"{path}: record {wrong[0]} has label {rows[wrong[0], 0]}, but must have 0 to {len(CLASSES) - 1}: the file "
            "is damaged or another one: download it again"
        )
    return rows
