"""Normal and anomalous pictures of a user's folder, from its subfolders or a table of labels.

FOLDER/*.png                        all normal
FOLDER/<class>/*.png                normal, of several classes
FOLDER/normal/... (or train/)       normal, as either of the above
FOLDER/anomalous/...                known anomalies: to evaluate on, never trained on
FOLDER/test/<name>/...              to evaluate on: normal if <name> says so or is a class that was trained on, else not

table.csv: file,label               labels that say normal are, 0 of 0 and 1, 1 of 1 and -1; else all are, as classes

The words are those of `adjax.data.words`; docs/layouts.md shows many folders and tables, and what becomes of them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data import labels as meanings
from adjax.data import tree, words
from adjax.data.datasets.table import Table, read_table, test_beside
from adjax.data.io import walk
from adjax.data.split import DataError
from adjax.data.tree import FolderNames, listed, some

ONE_CLASS = ("normal",)
NO_NAMES = FolderNames()


class Layout(NamedTuple):
    """Files by what is known of them.

    Attributes:
      files: normal, to learn from.
      labels: int32[n], their class.
      classes: names; one for a folder without classes.
      test_normal, test_anomalous: to evaluate on.
      about: what was read where, for people.
      passed_over: why → how many files, or rows of a table, are neither trained nor evaluated on.
    """

    files: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    test_normal: list[Path]
    test_anomalous: list[Path]
    about: str
    passed_over: Counter[str]


def of_folder(root: Path, one_class: bool = False, given: FolderNames = NO_NAMES) -> Layout:
    """Reads a folder's layout, opening no picture.

    Args:
      root: as above; hidden files and symbolic links are skipped.
      one_class: ignore classes of normal pictures.
      given: what the user says of the subfolders.

    Returns:
      The `Layout`.

    Raises:
      DataError: not a folder, no normal pictures, or folders whose names don't say whether they are normal.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: name a folder of normal images, or a .csv of labels by --labels")
    found = walk.find(root)
    if not found.names:
        raise DataError(f"{root} has no pictures: put normal ones there ({', '.join(sorted(walk.PICTURES))})")
    pictures = tree.sort(root, found.names, given)
    if not pictures.normal:
        tree.refuse_lone_test(root, found.names, pictures)
        raise DataError(
            f"{root} has no pictures that are normal by name, but {listed(found.names)}: put normal ones into "
            f"{root / 'normal'}, or say by --normal which are"
        )
    if given == NO_NAMES:
        tree.refuse_anomalous_names(root, pictures.normal)
    classes = pictures.classes if pictures.classes and not one_class else ONE_CLASS
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(name, 0) for name in pictures.normal.values()], np.int32)
    about = f"{len(labels):,} pictures in {root} ({listed(pictures.normal)}), taken as normal"
    if len(classes) > 1:
        about += f", of {len(classes)} classes: {some(classes)} (--one-class if they are none; --normal, --anomalous)"
    if pictures.anomalous:
        about += f"; {len(pictures.anomalous):,} in {listed(pictures.anomalous)} taken as anomalies, to evaluate on"
    if pictures.test_normal:
        about += f"; {len(pictures.test_normal):,} in {listed(pictures.test_normal)} as normal beside them"
    return Layout(
        [root / name for name in pictures.normal],
        labels,
        classes,
        [root / name for name in pictures.test_normal],
        [root / name for name in pictures.anomalous],
        about,
        +(found.passed_over + pictures.passed_over + Counter({"folders that can't be listed": len(found.unlisted)})),
    )


def of_table(
    path: Path, given: FolderNames | Sequence[str] = NO_NAMES, one_class: bool = False, root: Path | None = None
) -> Layout:
    """Reads a CSV of labels beside its images, see `adjax.data.datasets.table`.

    Args:
      path: of the table; one beside it whose name begins with "test" is evaluated on, if it has labels.
      given: what the user says of the labels; a sequence: the normal ones.
      one_class: ignore classes of normal pictures.
      root: folder of the pictures, where they don't lie beside the table; those that no line names are counted as
        skipped. None: all lie beside the table, and none are counted.

    Returns:
      The `Layout`.

    Raises:
      DataError: as `read_table` and `labels.understand`; no labels; no such folder.
    """
    given = given if isinstance(given, FolderNames) else FolderNames(tuple(given))
    if root is not None and not root.is_dir():
        raise DataError(f"{root} is not a folder: name that of the pictures which {path} lists")
    table = read_table(path, folder=root)
    passed_over: Counter[str] = Counter()
    passed_over["rows of validation"] += len(table.part(words.VALIDATION).names)
    named = table.files
    table, test = table.training(path), table.part(words.TEST)
    if not test.files and (beside := test_beside(path)) is not None:
        test = read_table(beside, folder=root)
    if table.labels is None:
        raise table.unlabelled(path)
    known = table.labels + (test.labels or [] if given.normal or given.anomalous else [])
    understood = meanings.understand(path, table.column, known, *given)
    meanings.refuse_missing(path, test.column, test.labels or (), given.normal, given.anomalous)
    learned, others, left_out = _halves(table, understood)
    if not learned:
        raise DataError(f"{path} has no rows to train on that are labelled {some(understood.classes)}")
    normal: list[Path] = []
    if test.labels is not None:
        normal_rows, anomalous, also = _halves(test, understood)
        normal, left_out = [file for file, _ in normal_rows], left_out + also
        if anomalous:
            passed_over["anomalous rows of a training table, since a test table has others"], others = (
                len(others),
                anomalous,
            )
    passed_over["in neither --normal nor --anomalous"] += left_out
    if root is not None:
        passed_over += _unnamed(root, {*named, *test.files})
    names = [understood.classes[label] for _, label in learned]
    classes = tuple(name for name in dict.fromkeys(understood.classes.values()) if name in set(names))
    classes = classes if len(classes) > 1 and not one_class else ONE_CLASS
    column = f" in its column {table.column}" if table.column else ""
    about = (
        f"{len(learned):,} pictures labelled {some(dict.fromkeys(label for _, label in learned))}{column} in {path}, "
        "taken as normal (--normal LABEL for others)"
    )
    if others:
        about += f"; {len(others):,} of other labels taken as anomalies, to evaluate on"
    labels = np.array([classes.index(name) if len(classes) > 1 else 0 for name in names], np.int32)
    return Layout([file for file, _ in learned], labels, classes, normal, others, about, +passed_over)


def refuse_lone(found: Layout, readable: Sequence[bool]) -> None:
    """Refuses a class too small to be learned and held out, before anything is decoded.

    Args:
      found: the layout.
      readable: of each file.

    Raises:
      DataError: a class of which fewer than two pictures can be read.
    """
    counts = np.bincount(found.labels[np.asarray(readable, bool)], minlength=len(found.classes))
    if lone := [f"{name!r} has {count}" for name, count in zip(found.classes, counts, strict=True) if count < 2]:
        raise DataError(
            f"a class needs at least 2 readable pictures, but {some(lone)}: give it more, take it out, or "
            "take all classes as one by --one-class"
        )


def _halves(table: Table, understood: meanings.Labels) -> tuple[list[tuple[Path, str]], list[Path], int]:
    """(normal rows: file and label, anomalous files, how many rows are neither)."""
    normal, anomalous, neither = [], [], 0
    verdicts = {label: understood.verdict(label) for label in set(table.labels or ())}
    for file, label in zip(table.files, table.labels or (), strict=True):
        verdict = verdicts[label]
        if verdict == words.NORMAL:
            normal.append((file, label))
        elif verdict == words.ANOMALOUS:
            anomalous.append(file)
        else:
            neither += 1
    return normal, anomalous, neither


def _unnamed(root: Path, named: set[Path]) -> Counter[str]:
    """Pictures of a folder that no line of a table names, masks apart; `named`: resolved."""
    base = root.resolve()
    others = [name for name in walk.find(root).names if base / name not in named]
    beside = words.mask_files([*others, *(file.relative_to(base).as_posix() for file in named if base in file.parents)])
    masks = [
        name
        for name in others
        if name in beside or any(words.read(part).verdict == words.MASK for part in name.split("/")[:-1])
    ]
    return Counter({"masks": len(masks), "pictures that no line of the table names": len(others) - len(masks)})


def chosen_by(chosen: argparse.Namespace) -> Layout:
    """Reads the folder or the table that was chosen.

    Args:
      chosen: what `adjax.cli.parsers.train.parser` made of a command line.

    Raises:
      DataError: as of `of_folder` and `of_table`; options that contradict each other.
    """
    given = FolderNames(tuple(chosen.normal), tuple(chosen.anomalous), chosen.all_classes)
    if given.classes and (given.normal or given.anomalous or chosen.one_class):
        raise DataError("--classes says that all are normal: leave out --normal, --anomalous and --one-class")
    if chosen.labels is None:
        return of_folder(chosen.folder, chosen.one_class, given)
    return of_table(chosen.labels, given, chosen.one_class, chosen.folder)
