"""A CSV of labels beside a folder of images.

    root/train.csv                   file,label
    root/train/17.png  or            17.png,0
    root/images/17.png  or           18.png,1
    root/17.png

Give the path of the training table as the data set. A table beside it whose name begins with "test" is the test
split, if it has labels; without one, a fifth of the training table is (`stratify.own_split`). A test table
without labels, as competitions hand them out, is read by `read_unlabelled` and answered by
`adjax.data.probabilities.write_probabilities`.

A file's extension may be left out. Files stay inside the table's folder: absolute paths, "..", and symbolic
links that lead elsewhere are refused.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from adjax.data.decode import read_images
from adjax.data.picture import SUFFIXES
from adjax.data.split import DataError, Split, make_split
from adjax.data.stratify import own_split

FILE_NAMES = ("file", "filename", "file_name", "image", "image_id", "img", "path", "id", "name")
LABEL_NAMES = ("label", "labels", "class", "target", "y", "category", "anomaly")
ENDINGS = ("", ".png", *sorted(SUFFIXES - {".png"}))


class Table(NamedTuple):
    """A read table.

    Attributes:
      names: the first-named column as it stands there, one for each row.
      files: where each lies.
      labels: the other column, text; None if the table has none.
    """

    names: list[str]
    files: list[Path]
    labels: list[str] | None


def load_table(
    path: Path,
    split: str,
    side_px: int | None = None,
    test: Path | None = None,
    file: str | int | None = None,
    label: str | int | None = None,
) -> Split:
    """One split of a table.

    Args:
      path: the training table.
      split: "train" or "test".
      side_px: None: all images must have one size; else see `folder.load_folder`.
      test: the test table; None: the one beside `path`, see above.
      file, label: the columns, by name or by number from 0. None: a column called file, image, id, …, and one
        called label, class, target, …; else the first and the second.

    Returns:
      images uint8 [N, H, W, 1 or 3] in the order of the table; labels int32, numbered in the order of
      `class_names`.

    Raises:
      DataError: a table or an image that can't be read, with the row; images of several sizes; an image that
        is named twice.
    """
    tables = _tables(path, test, file, label)
    classes = _classes(tables)
    halves = {half: _numbered(table, classes) for half, table in tables.items()}
    if "test" not in halves:
        files, labels = halves["train"]
        rows = {half: own_split(labels, half) for half in ("train", "test")}
        halves = {half: ([files[row] for row in kept], labels[kept]) for half, kept in rows.items()}
    files, labels = halves[split]
    other = halves["test" if split == "train" else "train"][0]
    return make_split(read_images(files, other, side_px), labels, path)


def class_names(
    path: Path, test: Path | None = None, file: str | int | None = None, label: str | int | None = None
) -> tuple[str, ...]:
    """The classes of a table: the labels of its training half in order (numbers as numbers), then any others."""
    return _classes(_tables(path, test, file, label, _without_files))


def read_unlabelled(
    path: Path, side_px: int | None = None, file: str | int | None = None
) -> tuple[list[str], np.ndarray]:
    """Images to be scored.

    Args:
      path: a table; labels in it are passed over.
      side_px, file: as in `load_table`.

    Returns:
      (names as in the table, images uint8 [N, H, W, C]).

    Raises:
      DataError: as `load_table`.
    """
    table = read_table(path, file)
    return table.names, read_images(table.files, (), side_px)


def read_table(path: Path, file: str | int | None = None, label: str | int | None = None) -> Table:
    """Reads a table and finds its files, opening none of them.

    Raises:
      DataError: not UTF-8 or no CSV; a row with another number of cells, without a file, or with one outside
        the folder or named before; the row is named as an editor counts lines.
    """
    lines, names, labels = _cells(path, file, label)
    roots = [path.parent / path.stem, path.parent / "images", path.parent]
    inside = path.parent.resolve()
    before: dict[Path, int] = {}
    for line, name in zip(lines, names, strict=True):
        found = _locate(path, line, name, roots, inside)
        if found in before:
            raise DataError(f"{path}, line {line}: {name} stands in line {before[found]} already: keep one")
        before[found] = line
    return Table(names, list(before), labels)


def _tables(
    path: Path,
    test: Path | None,
    file: str | int | None,
    label: str | int | None,
    read: Callable[..., Table] = read_table,
) -> dict[str, Table]:
    """The labelled tables: "train", and "test" if there is one."""
    train = read(path, file, label)
    if train.labels is None:
        raise DataError(f"{path} has no labels: add a column called {LABEL_NAMES[0]}, or name the one that has them")
    tables = {"train": train}
    beside = test or test_beside(path)
    if beside is None:
        return tables
    table = read(beside, file, label)
    if table.labels is not None:
        tables["test"] = table
        if both := set(train.files) & set(table.files):
            raise DataError(f"{min(both)} stands in {path} and in {beside}: what is tested on must not be trained on")
    elif test is not None:
        raise DataError(f"{test} has no labels to test by: read it by read_unlabelled")
    return tables


def _without_files(path: Path, file: str | int | None, label: str | int | None) -> Table:
    """The table alone: for the names of its classes no file need be found."""
    _, names, labels = _cells(path, file, label)
    return Table(names, [], labels)


def test_beside(path: Path) -> Path | None:
    found = [other for other in sorted(path.parent.glob("test*.csv")) if other.name != path.name]
    if len(found) > 1:
        exact = [other for other in found if other.stem == "test"]
        if not exact:
            raise DataError(
                f"{path.parent} has {', '.join(other.name for other in found)}: call the test table test.csv, or move "
                "the others away"
            )
        found = exact
    return found[0] if found else None


def _classes(tables: dict[str, Table]) -> tuple[str, ...]:
    classes: list[str] = []
    for half in ("train", "test"):
        if half in tables:
            new = set(tables[half].labels or ()) - set(classes)
            numbers = all(label.isascii() and label.isdecimal() and len(label) < 10 for label in new)
            classes += sorted(new, key=int) if numbers else sorted(new)
    return tuple(classes)


def _numbered(table: Table, classes: tuple[str, ...]) -> tuple[list[Path], np.ndarray]:
    number = {name: label for label, name in enumerate(classes)}
    return table.files, np.array([number[label] for label in table.labels or ()], np.int32)


def _cells(
    path: Path, file: str | int | None, label: str | int | None
) -> tuple[list[int], list[str], list[str] | None]:
    """Of each row its line, its name and its label; None for all labels if there is no such column."""
    lines = _lines(path)
    header = [cell.strip().lower() for cell in lines[0][1]]
    asked = [column.lower() for column in (file, label) if isinstance(column, str)]
    named = any(cell in (*FILE_NAMES, *LABEL_NAMES, *asked) for cell in header)
    at = _column(path, header, named, file, FILE_NAMES, 0)
    label_at = _column(path, header, named, label, LABEL_NAMES, 1)
    for column, where in ((file, at), (label, label_at)):
        if column is not None and where is None:
            raise DataError(f"{path} has no column {column!r}, but {', '.join(header)}")
    assert at is not None  # without a name it is the first
    if at == label_at:
        raise DataError(f"{path}: column {at} can't hold both file and label: name both columns")
    rows = lines[1:] if named else lines
    if not rows:
        raise DataError(f"{path} has a header and no rows: add a line for each image")
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}, has {len(cells)} cells, but the first line {len(header)}: put what contains a "
                "comma into double quotes"
            )
        if label_at is not None and not cells[label_at].strip():
            raise DataError(f"{path}, line {line}, has no label: fill it in, or take the line out")
    names = [cells[at].strip() for _, cells in rows]
    labels = None if label_at is None else [cells[label_at].strip() for _, cells in rows]
    return [line for line, _ in rows], names, labels


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """(number of the line, its cells), without empty lines."""
    line = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = []
            for cells in reader:
                line = reader.line_num
                if cells:
                    lines.append((line, cells))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read {path} after line {line}: {error}; save it as CSV, UTF-8, cells parted by commas"
        ) from error
    if not lines:
        raise DataError(f"{path} is empty: write a line for each image, file,label")
    if len(lines[0][1]) == 1 and ";" in lines[0][1][0]:
        raise DataError(f"{path} parts its cells by semicolons: save it with commas")
    return lines


def _column(
    path: Path, header: list[str], named: bool, wanted: str | int | None, usual: tuple[str, ...], place: int
) -> int | None:
    """The number of a column; None if there is none."""
    if isinstance(wanted, int):
        if not 0 <= wanted < len(header):
            raise DataError(f"{path} has {len(header)} columns, so there is no column {wanted}")
        return wanted
    if wanted is not None:
        return header.index(wanted.lower()) if wanted.lower() in header else None
    if named:
        by_name = next((header.index(name) for name in usual if name in header), None)
        return 0 if by_name is None and place == 0 else by_name
    return place if place < len(header) else None


def _locate(path: Path, line: int, name: str, roots: Sequence[Path], inside: Path) -> Path:
    """The file of a row, inside the table's folder.

    Raises:
      DataError: no such file, or one outside.
    """
    where = f"{path}, line {line}"
    parts = PureWindowsPath(name).parts  # both kinds of slash part
    if not name or "\0" in name or PureWindowsPath(name).anchor or PurePosixPath(name).is_absolute() or ".." in parts:
        raise DataError(f"{where}: {name!r} isn't a path inside {path.parent}: write it relative to that, without '..'")
    for root in roots:
        for ending in ENDINGS:
            candidate = root.joinpath(*parts[:-1], parts[-1] + ending)
            if candidate.is_file():
                found = candidate.resolve()
                if not found.is_relative_to(inside):
                    raise DataError(
                        f"{where}: {name!r} is a link that leads out of {path.parent}: put the file itself there"
                    )
                return found
    raise DataError(
        f"{where}: no file {name!r} in {', '.join(map(str, roots))}; put it there. If the line is a header, call its "
        f"columns {FILE_NAMES[0]} and {LABEL_NAMES[0]}"
    )
