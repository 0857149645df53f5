"""A user's own image folder: one folder per class, images of one size or resized to one.

    root/train/<class>/...  and  root/test/<class>/...    or ImageNet-30's one_class_train and one_class_test
    root/<class>/...                                      split here, by `stratify.own_split`

Classes are numbered in the order of their names: first those that have training images, then those that only
turn up in testing, such as the defects of an inspection set. Hidden files, symbolic links and masks, by the words of
`adjax.data.words`, are skipped; "Train" and "testing" are read likewise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data import words
from adjax.data.io.decode import read_images
from adjax.data.io.picture import SUFFIXES
from adjax.data.split import DataError, Split, make_split
from adjax.data.splitting import own_split

HALVES = (words.TRAIN, words.TEST)


class Listing(NamedTuple):
    """The contents of a folder: class names, and for each split its files and their labels."""

    classes: tuple[str, ...]
    files: dict[str, list[Path]]
    labels: dict[str, np.ndarray]


def load_folder(root: Path, split: str, side_px: int | None = None, classes: Sequence[int] | None = None) -> Split:
    """One split of an image folder.

    Args:
      root: the folder; see above.
      split: "train" or "test".
      side_px: None: all images must have one size. Else bring each to a square of this side, RGB: the shorter side
        is resized to it (bilinear, antialiased), the middle is kept.
      classes: read images of these classes only; they keep their labels. None: all.

    Returns:
      images uint8 [N, H, W, 1] if every file of both splits is grey, else [N, H, W, 3]; in the order of
      class, then path.

    Raises:
      DataError: no images, several sizes, or a file that can't be read or doesn't fit into 8 bits; it is
        named.
    """
    listing = list_folder(root)
    files, labels = listing.files[split], listing.labels[split]
    if classes is not None:
        rows = np.flatnonzero(np.isin(labels, classes))
        if not len(rows):
            raise DataError(f"{root} has no {split} images of the classes {list(classes)}")
        files, labels = [files[row] for row in rows], labels[rows]
    beside = [file for half in HALVES for file in listing.files[half] if half != split]
    return make_split(read_images(files, beside, side_px), labels, root)


def list_folder(root: Path) -> Listing:
    """Finds classes and files, opening none of them."""
    halves = {split: _half(root, split) for split in HALVES}
    if not any(halves.values()):
        return _split_here(root)
    found = {}
    for split, half in halves.items():
        if half is None:
            raise DataError(f"{root} has no {split} folder beside the other: add {root / split}/<class>/")
        found[split] = _classes_in(half)
    only_test = [name for name in found["test"] if name not in found["train"]]
    classes = (*found["train"], *only_test)
    number = {name: label for label, name in enumerate(classes)}
    trees = {split: [(number[name], file) for name in named for file in named[name]] for split, named in found.items()}
    return Listing(
        classes,
        {split: [file for _, file in tree] for split, tree in trees.items()},
        {split: np.array([label for label, _ in tree], np.int32) for split, tree in trees.items()},
    )


def _half(root: Path, split: str) -> Path | None:
    """The folder of a split; of several the one that is called so and no more."""
    found = [path for path in _folders(root) if words.read(path.name) == words.Meaning(split, None)]
    exact = [path for path in found if path.name == split] or found
    if len(exact) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{root} has {names}: call the one that is the {split} split {split}")
    return exact[0] if exact else None


def _split_here(root: Path) -> Listing:
    named = _classes_in(root)
    files = [file for name in named for file in named[name]]
    labels = np.repeat(np.arange(len(named), dtype=np.int32), [len(named[name]) for name in named])
    rows = {split: own_split(labels, split) for split in HALVES}
    return Listing(
        tuple(named),
        {split: [files[row] for row in rows[split]] for split in HALVES},
        {split: labels[rows[split]] for split in HALVES},
    )


def _classes_in(folder: Path) -> dict[str, list[Path]]:
    """Class name → its image files, both sorted; folders without an image are no classes."""
    named = {child.name: _images_under(child) for child in _folders(folder)}
    named = {name: files for name, files in named.items() if files}
    doubtful = words.doubtful_masks(set(named))  # beside nothing but classes: a class itself
    masks = {name for name in named if words.read(name, set(named)).verdict == words.MASK} - doubtful
    named = {name: files for name, files in named.items() if name not in masks}
    if not named:
        raise DataError(
            f"{folder} has no images: put them into {folder}/<class>/ as {', '.join(sorted(SUFFIXES))} "
            "(hidden files and symbolic links are skipped)"
        )
    return named


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _passed_over(path))


def _images_under(folder: Path) -> list[Path]:
    files = []
    for root, folders, names in os.walk(folder):  # follows no links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(root) / name for name in sorted(names))
        files += [path for path in paths if path.suffix.lower() in SUFFIXES and not _passed_over(path)]
    masks = words.mask_files(file.as_posix() for file in files)
    return [file for file in files if file.as_posix() not in masks]


def _passed_over(path: Path) -> bool:
    return path.name.startswith(".") or path.is_symlink()
