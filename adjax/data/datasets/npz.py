"""A user's own .npz: arrays x_train, y_train, x_test, y_test; or images, labels, which are split here."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from adjax.data.split import DataError, Split, make_split
from adjax.data.splitting import own_split

HALVES = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


def load_npz(path: Path, split: str) -> Split:
    """Loads one split of an .npz file.

    Args:
      path: the file; see the module's first line. Images uint8 [N, H, W] or [N, H, W, C], labels integers
        [N].
      split: "train" or "test". A file of `images` and `labels` is split by `splitting.own_split`.

    Returns:
      The `Split`.

    Raises:
      DataError: unreadable, other arrays, other dtypes or shapes, or pickled objects, which are never loaded.
    """
    try:
        with open(path, "rb") as file:  # which np.load leaves open where it finds no archive
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path} is a single array: save images and labels together with numpy.savez")
            names = HALVES[split] if HALVES[split][0] in archive else ("images", "labels")
            if any(name not in archive for name in names):
                raise DataError(
                    f"{path} has arrays {', '.join(archive.files) or 'none'}, but needs "
                    "x_train, y_train, x_test, y_test; or images, labels"
                )
            images, labels = (archive[name] for name in names)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"cannot read {path}: {error}; save uint8 images and integer labels with numpy.savez (no objects)"
        ) from error
    whole = make_split(images, labels, path)
    if names != ("images", "labels"):
        return whole
    rows = own_split(whole.labels, split)
    return Split(whole.images[rows], whole.labels[rows])


def class_names(path: Path) -> tuple[str, ...]:
    """An .npz has no names for its classes: "0".."K-1"."""
    labels = [load_npz(path, split).labels for split in HALVES]
    return tuple(str(label) for label in range(1 + max(int(array.max()) for array in labels)))
