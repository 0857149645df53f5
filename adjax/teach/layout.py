"""Who is normal in somebody's folder: read from its subfolders, or from a table of labels.

FOLDER/*.png                        all normal
FOLDER/<class>/*.png                normal, of several classes
FOLDER/normal/... (or train/)       normal, as either of the above
FOLDER/anomalous/...                known anomalies: to judge by, never learned from
FOLDER/test/<name>/...              to judge by: normal, good or a class that was trained on is normal, others not

table.csv: file,label               normal or good is normal if there is such a label, 0 of 0 and 1; else all are,
                                    as classes
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data import walk
from adjax.data.split import DataError
from adjax.data.table import read_table, test_beside

NORMAL_FOLDERS, ANOMALOUS, TEST = ("normal", "train"), "anomalous", "test"
NORMAL_LABELS = ("normal", "good")
ONE_CLASS = ("normal",)


class Layout(NamedTuple):
    """Files by what is known of them.

    Attributes:
      files: normal, to learn from.
      labels: int32[n], their class.
      classes: names; one for a folder without classes.
      test_normal, test_anomalous: to judge by.
      about: what was read where, for people.
    """

    files: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]
    test_normal: list[Path]
    test_anomalous: list[Path]
    about: str


def of_folder(root: Path, one_class: bool = False) -> Layout:
    """Reads a folder's layout, opening no picture.

    Args:
      root: as above; hidden files and symbolic links are passed over.
      one_class: subfolders of normal pictures are no classes.

    Raises:
      DataError: no folder, or no pictures where the normal ones should be.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder: name a folder of normal images, or a .csv of labels by --labels")
    named = next((name for name in NORMAL_FOLDERS if (root / name).is_dir()), None)
    source = root / named if named else root
    names = [name for name in walk.find(source).names if named or name.split("/")[0] not in (ANOMALOUS, TEST)]
    if not names:
        raise DataError(f"{source} has no pictures: put normal ones there ({', '.join(sorted(walk.PICTURES))})")
    found = sorted({name.split("/")[0] for name in names})
    in_folders = all("/" in name for name in names)
    classes = tuple(found) if in_folders and not one_class else ONE_CLASS
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(name.split("/")[0], 0) for name in names], np.int32)
    test_normal, test_anomalous = _tests(root, classes)
    test_anomalous = _under(root / ANOMALOUS) + test_anomalous
    about = f"{len(names):,} pictures in {source}"
    if len(classes) > 1:
        about += f", its {len(classes)} subfolders being classes of normal ones (--one-class if they are not)"
    return Layout([source / name for name in names], labels, classes, test_normal, test_anomalous, about)


def of_table(path: Path, normal: Sequence[str] = ()) -> Layout:
    """Reads a CSV of labels beside its images, see `adjax.data.table`.

    Args:
      path: of the table; one beside it whose name begins with "test" is judged by, if it has labels.
      normal: the labels that are normal; none: by the rule above.

    Raises:
      DataError: as `read_table`; no labels; a label of `normal` that no row has.
    """
    table = read_table(path)
    if table.labels is None:
        raise DataError(f"{path} has no labels: add a column called label")
    known = sorted(set(table.labels))
    if missing := [label for label in normal if label not in known]:
        raise DataError(f"--normal {', '.join(missing)}: the labels of {path} are {', '.join(known[:20])}")
    usual = ("0",) if known == ["0", "1"] else tuple(label for label in known if label.lower() in NORMAL_LABELS)
    classes = tuple(normal) or usual or tuple(known)
    pairs = list(zip(table.files, table.labels, strict=True))
    files = [file for file, label in pairs if label in classes]
    labels = np.array([classes.index(label) for _, label in pairs if label in classes], np.int32)
    others = [file for file, label in pairs if label not in classes]
    test_normal: list[Path] = []
    beside = test_beside(path)
    if beside is not None and (test := read_table(beside)).labels is not None:
        halves: dict[bool, list[Path]] = {True: [], False: []}
        for file, label in zip(test.files, test.labels, strict=True):
            halves[label in classes].append(file)
        test_normal, others = halves[True], halves[False]
    about = f"{len(files):,} pictures labelled {', '.join(classes[:10])} in {path} (--normal LABEL for others)"
    return Layout(files, labels, classes if len(classes) > 1 else ONE_CLASS, test_normal, others, about)


def _tests(root: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[Path]]:
    """(normal, anomalous) pictures of FOLDER/test/<name>/."""
    if not (root / TEST).is_dir():
        return [], []
    normal: list[Path] = []
    anomalous: list[Path] = []
    for folder in sorted(path for path in (root / TEST).iterdir() if path.is_dir() and not path.is_symlink()):
        if folder.name.startswith("."):
            continue
        (normal if folder.name in (*NORMAL_LABELS, *classes) else anomalous).extend(_under(folder))
    return normal, anomalous


def _under(folder: Path) -> list[Path]:
    return [folder / name for name in walk.find(folder).names] if folder.is_dir() else []
