"""A user's own folder of IDX files, under the standard names of MNIST's."""

from __future__ import annotations

from pathlib import Path

from adjax.data.io.idx import STEMS, find_files, read_idx
from adjax.data.split import DataError, Split, make_split


def load_folder(folder: Path, split: str) -> Split:
    """Loads a user's own folder of IDX files under the standard names; hashes are not checked.

    Args:
      folder: of the files.
      split: "train" or "test".

    Returns:
      The `Split`.

    Raises:
      DataError: a missing or unreadable file, or arrays that `make_split` refuses.
    """
    stems = STEMS[split]
    files = find_files(folder, stems)
    if files is None:
        raise DataError(f"{folder} has no {split} split: put {stems[0]} and {stems[1]} there (.gz or not)")
    images, labels = (read_idx(files[stem]) for stem in stems)
    return make_split(images, labels, folder)


def class_names(folder: Path) -> tuple[str, ...]:
    """IDX files have no names for their classes: "0".."K-1"."""
    found = (find_files(folder, stems) for stems in STEMS.values())
    labels = [read_idx(files[stems[1]]) for files, stems in zip(found, STEMS.values(), strict=True) if files]
    return tuple(str(label) for label in range(1 + max(int(array.max(initial=0)) for array in labels)))
