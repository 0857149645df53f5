"""A user's own image folder: one folder per class, images of one size or resized to one.

    root/train/<class>/...  and  root/test/<class>/...    or ImageNet-30's one_class_train and one_class_test
    root/<class>/...                                      split here, by `splitting.own_split`

Folders are read by the grammar that `adjax train` reads them by (`adjax.data.tree`), so whatever it takes is taken
here. But anomalies are classes, too, since the protocol says which classes are normal, and where no folder says test, a
fifth of each class is tested on. Classes are numbered in the order of their names: first those that have training
images, then those that only turn up in testing, such as the defects of an inspection set.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data import tree, words
from adjax.data.io import gather, walk
from adjax.data.io.picture import SUFFIXES
from adjax.data.split import DataError, Split, make_split
from adjax.data.splitting import own_split

HALVES = (words.TRAIN, words.TEST)


class Listing(NamedTuple):
    """The contents of a folder.

    Attributes:
      classes: their names.
      files, labels: of each split.
      passed_over: why → how many pictures are in neither split.
      no_pictures: why → how many other files there are, hidden ones and links.
    """

    classes: tuple[str, ...]
    files: dict[str, list[Path]]
    labels: dict[str, np.ndarray]
    passed_over: Counter[str]
    no_pictures: Counter[str]


def load_folder(
    root: Path,
    split: str,
    side_px: int | None = None,
    classes: Sequence[int] | None = None,
    strict: bool = False,
) -> Split:
    """One split of an image folder.

    Args:
      root: the folder; see above.
      split: "train" or "test".
      side_px: None: all images must have one size. Else bring each to a square of this side, RGB: the shorter side
        is resized to it (bilinear, antialiased), the middle is kept.
      classes: read images of these classes only; they keep their labels. None: all.
      strict: an image that can't be read, or isn't 8-bit grey or RGB, is an error. Else it is read as `adjax train`
        reads it (see `adjax.data.io.upload`), or skipped with a warning.

    Returns:
      images uint8 [N, H, W, 1] if every file of both splits is grey, else [N, H, W, 3]; in the order of
      class, then path.

    Raises:
      DataError: no images, or several sizes; with `strict`, a file that can't be read or doesn't fit into 8 bits; it
        is named.
    """
    listing = list_folder(root)
    files, labels = listing.files[split], listing.labels[split]
    if classes is not None:
        rows = np.flatnonzero(np.isin(labels, classes))
        if not len(rows):
            raise DataError(f"{root} has no {split} images of the classes {list(classes)}")
        files, labels = [files[row] for row in rows], labels[rows]
    beside = [file for half in HALVES for file in listing.files[half] if half != split]
    images, rows, errors = gather.one_shape(files, beside, side_px, strict)
    warn_of_skipped(root, listing.passed_over, errors)
    return make_split(images, labels[rows], root)


def warn_of_skipped(root: Path, passed_over: Mapping[str, int], errors: dict[Path, str]) -> None:
    """Warns of pictures that are left out of a set.

    Args:
      root: of the set.
      passed_over: why → how many; masks are expected.
      errors: file → why it can't be read.
    """
    said = [f"{count:,} {why}" for why, count in passed_over.items() if why != "masks"]
    if errors:
        file, why = next(iter(errors.items()))
        said.append(f"{len(errors):,} that can't be read (the first, {file}: {why})")
    if said:
        warnings.warn(f"{root}: pictures are skipped: {'; '.join(said)}", stacklevel=4)


def list_folder(root: Path) -> Listing:
    """Finds classes and files, opening none of them.

    Raises:
      DataError: no pictures, or none to train on.
    """
    found = walk.find(root)
    pictures = tree.sort(root, found.names, tree.FolderNames(classes=True), mask_class=True)
    named = _class_names(pictures)
    if not named:
        tree.refuse_lone_test(root, found.names, pictures)
        raise DataError(
            f"{root} has no images: put them into {root}/<class>/ as {', '.join(sorted(SUFFIXES))} "
            "(hidden files and symbolic links are skipped)"
        )
    tree.refuse_anomalous_names(root, (name for name in pictures.normal if "/" not in name))
    kept = sorted(named, key=lambda name: (named[name], _in_order(name)))
    splits = {name: pictures.places[name].split for name in kept}
    if any(splits.values()):  # anomalies beside train/ or test/ are to evaluate on
        splits |= {name: words.TEST for name in pictures.anomalous if splits[name] is None}
    halves = {
        words.TRAIN: [name for name in kept if splits[name] != words.TEST],
        words.TEST: [name for name in kept if splits[name] == words.TEST],
    }
    if not halves[words.TRAIN]:
        tree.refuse_lone_test(root, found.names, pictures)
    trained = sorted({named[name] for name in halves[words.TRAIN]})
    classes = (*trained, *sorted({*named.values()} - {*trained}))
    number = {name: label for label, name in enumerate(classes)}
    if all(pictures.places[name].split != words.TEST for name in kept):
        pool = halves[words.TRAIN]
        labels = np.array([number[named[name]] for name in pool], np.int32)
        here = {half: [pool[row] for row in own_split(labels, half)] for half in HALVES}
        halves = {words.TRAIN: here[words.TRAIN], words.TEST: here[words.TEST] + halves[words.TEST]}
    return Listing(
        classes,
        {half: [root / name for name in names] for half, names in halves.items()},
        {half: np.array([number[named[name]] for name in names], np.int32) for half, names in halves.items()},
        pictures.passed_over + Counter({"folders that can't be listed": len(found.unlisted)}),
        found.passed_over,
    )


def _class_names(pictures: tree.Sorted) -> dict[str, str]:
    """Path → class. Normal pictures have the classes that `adjax train` gives them, or one class."""
    own = {_named(pictures.places[name]) for name in pictures.normal}
    only = own.pop() if len(own) == 1 else words.NORMAL
    found = {name: label or only for name, label in pictures.normal.items()}
    trained = {*found.values()}
    for name in pictures.test_normal:
        folders = _own_folders(pictures.places[name])
        one = next(iter(trained)) if len(trained) == 1 else None
        found[name] = next((folder for folder in folders if folder in trained), one or _named(pictures.places[name]))
    return found | {name: _anomaly(pictures.places[name]) for name in pictures.anomalous}


def _own_folders(place: tree.Place) -> list[str]:
    """The folders that say more than a split."""
    return [folder for i, folder in enumerate(place.folders) if i != place.split_at or i == place.at]


def _named(place: tree.Place) -> str:
    return next(iter(_own_folders(place)), words.NORMAL)


def _anomaly(place: tree.Place) -> str:
    """The kind of an anomaly: the folder that says anomalous, or the first below test/."""
    if place.at is not None:
        return place.folders[place.at]
    below = [i for i in place.plain if place.split_at is None or i > place.split_at]
    return place.folders[(below or place.plain)[0]]


def _in_order(name: str) -> list[tuple[bool, str]]:
    """Sorts paths folder by folder, the files of a folder before its folders."""
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]
