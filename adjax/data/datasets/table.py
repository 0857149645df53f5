"""A CSV of labels beside a folder of images.

    root/train.csv                   file,label
    root/train/17.png  or            17.png,0
    root/images/17.png  or           18.png,1
    root/17.png

Give the path of the training table as the data set. A table beside it whose name begins with "test" is the test
split, if it has labels; without one, a fifth of the training table is (`splitting.own_split`). A test table
without labels, as competitions hand them out, is read by `read_unlabelled` and answered by
`adjax.data.io.probabilities.write_probabilities`.

A column `split` that says train, test or validation in each row parts one table. A file's extension may be left
out. Files stay inside the table's folder, or FOLDER of `train FOLDER --labels TABLE`, which is looked into last: "..",
and absolute paths and links that lead elsewhere, are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from adjax.data import words
from adjax.data.datasets.folder import warn_of_skipped
from adjax.data.io import cells, gather
from adjax.data.io.cells import FILE_NAMES, LABEL_NAMES, Table
from adjax.data.io.picture import SUFFIXES
from adjax.data.split import DataError, Split, make_split
from adjax.data.splitting import own_split

ENDINGS = ("", ".png", *sorted(SUFFIXES - {".png"}))


def load_table(
    path: Path,
    split: str,
    side_px: int | None = None,
    test: Path | None = None,
    file: str | int | None = None,
    label: str | int | None = None,
    strict: bool = False,
) -> Split:
    """One split of a table.

    Args:
      path: the training table.
      split: "train" or "test".
      side_px: None: all images must have one size; else see `folder.load_folder`.
      test: the test table; None: the one beside `path`, see above.
      file, label: the columns, by name or by number from 0. None: a column called file, image, id, …, and one
        called label, class, target, …; else the first and the second.
      strict: see `folder.load_folder`.

    Returns:
      images uint8 [N, H, W, 1 or 3] in the order of the table; labels int32, numbered in the order of
      `class_names`.

    Raises:
      DataError: a table that can't be read, with the row; images of several sizes; an image that is named twice;
        with `strict`, an image that can't be read.
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
    images, read, errors = gather.one_shape(files, other, side_px, strict)
    warn_of_skipped(path, {}, errors)
    return make_split(images, labels[read], path)


def class_names(
    path: Path, test: Path | None = None, file: str | int | None = None, label: str | int | None = None
) -> tuple[str, ...]:
    """Lists the classes of a table: the labels of its training half in order (numbers as numbers), then any others.

    Args:
      path: of the training table.
      test: of the test table; None: found beside it.
      file, label: names or numbers of the two columns; None: found by their names.

    Returns:
      The names.

    Raises:
      DataError: as of `read_table`.
    """
    return _classes(_tables(path, test, file, label, _without_files))


def read_unlabelled(
    path: Path, side_px: int | None = None, file: str | int | None = None
) -> tuple[list[str], np.ndarray]:
    """Images to be scored.

    Args:
      path: a table; labels in it are ignored.
      side_px, file: as in `load_table`.

    Returns:
      (names as in the table, images uint8 [N, H, W, C]).

    Raises:
      DataError: as `load_table`.
    """
    table = read_table(path, file)
    images, _, errors = gather.one_shape(table.files, (), side_px)
    for name, found in errors.items():
        raise DataError(f"{path}: every row is to be scored, but {name} can't be read: {found}")
    return table.names, images


def read_table(
    path: Path, file: str | int | None = None, label: str | int | None = None, folder: Path | None = None
) -> Table:
    """Reads a table and finds its files, opening none of them.

    Args:
      path: of the table.
      file, label: names or numbers of the two columns; None: found by their names.
      folder: where files lie that are not found beside the table; None: all lie there.

    Returns:
      The `Table`.

    Raises:
      DataError: not UTF-8 or no CSV; a row with another number of cells, without a file, or with one outside
        these folders or named before; the row is named as an editor counts lines.
    """
    lines, table = cells.read(path, file, label)
    others = [] if folder is None else [folder]
    roots = [path.parent / path.stem, path.parent / "images", path.parent, *others]
    inside = {root: root.resolve() for root in (path.parent, *others)}
    before: dict[Path, int] = {}
    for line, name in zip(lines, table.names, strict=True):
        found = _locate(path, line, name, roots, inside)
        if found in before:
            raise DataError(f"{path}, line {line}: {name} stands in line {before[found]} already: keep one")
        before[found] = line
    return table._replace(files=list(before))


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
        raise train.unlabelled(path)
    own_test, train = train.part(words.TEST), train.training(path)
    if test is None and own_test.names:
        return {"train": train, "test": own_test}
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
    return cells.read(path, file, label)[1]


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


def _locate(path: Path, line: int, name: str, roots: Sequence[Path], inside: Mapping[Path, Path]) -> Path:
    """The file of a row, inside the table's folder or another: as they are named → with links followed.

    Raises:
      DataError: no such file, or one outside.
    """
    where, these = f"{path}, line {line}", " or ".join(map(str, inside))
    parts = PureWindowsPath(name).parts  # both kinds of slash part
    absolute = bool(PureWindowsPath(name).anchor) or PurePosixPath(name).is_absolute()

    def lies_inside(file: Path) -> bool:
        return any(file.is_relative_to(folder) for folder in inside.values())

    if not name or "\0" in name or ".." in parts or (absolute and not lies_inside(Path(name).resolve())):
        raise DataError(f"{where}: {name!r} isn't a path inside {these}: write it relative to that, without '..'")
    for stem in [Path(name)] if absolute else [root.joinpath(*parts) for root in roots]:
        for ending in ENDINGS:
            candidate = Path(f"{stem}{ending}")
            if candidate.is_file():
                found = candidate.resolve()
                if not lies_inside(found):
                    raise DataError(f"{where}: {name!r} is a link that leads out of {these}: put the file itself there")
                return found
    raise DataError(
        f"{where}: no file {name!r} in {', '.join(map(str, roots))}; put it there. If the line is a header, call its "
        f"columns {FILE_NAMES[0]} and {LABEL_NAMES[0]}"
    )
