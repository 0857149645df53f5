"""The cells of a table of labels: separator, header, and the columns of files and labels."""

from __future__ import annotations

import csv
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from adjax.data import words
from adjax.data.io.picture import SUFFIXES
from adjax.data.split import DataError

FILE_NAMES = (
    *("file", "filename", "file_name", "image", "image_id", "img", "path", "image_path", "img_path", "file_path"),
    *("filepath", "image_name", "img_name", "id", "name"),
)
LABEL_NAMES = ("label", "labels", "class", "target", "y", "category", "anomaly")
SPLIT_NAMES = ("split", "subset", "partition", "phase", "set")
_OF_LABELS = frozenset(("label", "labels", "class", "target", "category"))
_BESIDE_LABELS = frozenset("is has type index idx id flag name kind gt".split()) | words.NOT


class Table(NamedTuple):
    """A read table.

    Attributes:
      names: the first-named column as it stands there, one for each row.
      files: where each lies.
      labels: the other column, text; None if the table has none.
      column: the name of that column; "": none.
      splits: of each row `words.TRAIN`, `TEST` or `VALIDATION`; None: nothing is said.
      header: names of all columns; (): they have none.
    """

    names: list[str]
    files: list[Path]
    labels: list[str] | None
    column: str = ""
    splits: list[str] | None = None
    header: tuple[str, ...] = ()

    def part(self, split: str) -> Table:
        """The rows of one split."""
        rows = [row for row, said in enumerate(self.splits or ()) if said == split]
        return Table(
            [self.names[row] for row in rows],
            [self.files[row] for row in rows if self.files],
            None if self.labels is None else [self.labels[row] for row in rows],
            self.column,
            header=self.header,
        )

    def training(self, path: Path) -> Table:
        """The rows to learn from: all, or those that say train; `path`: of the table.

        Raises:
          DataError: splits are said, and none is train.
        """
        if self.splits is None:
            return self
        if words.TRAIN not in self.splits:
            raise DataError(f"{path}: no line says train in the column that parts training from testing: add some")
        return self.part(words.TRAIN)

    def unlabelled(self, path: Path) -> DataError:
        """The error of a table without labels where they are needed; `path`: of the table."""
        found = f"its columns are {', '.join(self.header)}" if self.header else "its columns have no names"
        return DataError(
            f"{path} has no labels, {found}: call the one that tells normal from anomalous {LABEL_NAMES[0]!r}, or add "
            "one"
        )


def read(path: Path, file: str | int | None = None, label: str | int | None = None) -> tuple[list[int], Table]:
    """Reads a table, looking for none of its files.

    Args:
      path: of the table.
      file, label: the columns, by name or by number from 0; None: by their names, else by what stands in them.

    Returns:
      (of each row its line as an editor counts, the table without `files`).

    Raises:
      DataError: not UTF-8 or no table; no such column; a row with another number of cells, or without a label; a column
        of splits that says something else as well.
    """
    lines = _lines(path)
    header = [cell.strip().lower() for cell in lines[0][1]]
    asked = [column.lower() for column in (file, label) if isinstance(column, str)]
    names = not header[0] or any(cell in (*FILE_NAMES, *LABEL_NAMES, *asked) or _says_labels(cell) for cell in header)
    named = names and not any(_suffix(cell) in SUFFIXES for cell in header)  # "anomaly" is a label, too
    rows = lines[1:] if named else lines
    pictures = [at for at, cell in enumerate(rows[0][1] if rows else ()) if _suffix(cell) in SUFFIXES]
    at = _column(path, header, file, FILE_NAMES if named else ())
    if at is None and file is None:
        at = min((place for place in pictures if place < len(header)), default=0)
    label_at = _column(path, header, label, LABEL_NAMES if named else ())
    if label_at is None and label is None:
        meant = [place for place, cell in enumerate(header) if named and place != at and _means_labels(cell)]
        after = 1 if file is not None or at is None else at + 1
        by_place = [after] if (not named or all(not cell or cell.isdecimal() for cell in header)) else []
        label_at = next((place for place in (*meant, *by_place) if place < len(header)), None)
    if label is None and named:  # a class beside is_anomaly does not tell who is normal
        sure = [place for place in range(len(header)) if place != at and _answers(header[place], rows, place)]
        label_at = sure[0] if len(sure) == 1 else label_at
    for column, where in ((file, at), (label, label_at)):
        if column is not None and where is None:
            raise DataError(f"{path} has no column {column!r}, but {', '.join(header)}")
    assert at is not None  # without a name it is the first
    if at == label_at:
        raise DataError(f"{path}: column {at} can't hold both file and label: name both columns")
    if not rows:
        raise DataError(f"{path} has a header and no rows: add a line for each image")
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {line}, has {len(cells)} cells, but the first line {len(header)}: put what contains a "
                "comma (or what else parts the cells) into double quotes"
            )
        if label_at is not None and not cells[label_at].strip():
            raise DataError(f"{path}, line {line}, has no label: fill it in, or take the line out")
    columns = [[cells[place].strip() for _, cells in rows] for place in range(len(header))]
    labels = None if label_at is None else columns[label_at]
    name = "" if label_at is None or not named else header[label_at]
    split_at = _column(path, header, None, SPLIT_NAMES if named else ())
    splits = None if split_at is None else _splits(f"{path}: the column {header[split_at]!r}", columns[split_at])
    return [line for line, _ in rows], Table(columns[at], [], labels, name, splits, tuple(header) if named else ())


def _splits(about: str, column: list[str]) -> list[str] | None:
    """What each cell of a column of splits says; None if none says train or test.

    Raises:
      DataError: some do, and others say neither.
    """
    said = {cell: words.read(cell, {*column, words.TRAIN}).split for cell in dict.fromkeys(column)}
    if {words.TRAIN, words.TEST}.isdisjoint(said.values()):
        return None
    if unknown := [repr(cell) for cell, split in said.items() if split is None]:
        raise DataError(
            f"{about} parts training from testing, and holds {', '.join(unknown[:5])}, too: write train, test or val "
            "in each line, or give the column another name"
        )
    return [split for cell in column if (split := said[cell]) is not None]


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """(number of the line, its cells), without empty lines; cells are separated by commas, tabs or semicolons."""
    lines = _parted(path, _separator(path))
    first = lines[0][1]
    parts = first[0].split()
    names = {cell.lower() for cell in parts}
    if (
        len(first) == 1
        and len(parts) > 1
        and ((names & {*FILE_NAMES} and names & {*LABEL_NAMES}) or _suffix(parts[0]) in SUFFIXES)
    ):
        raise DataError(f"{path} parts its cells by blanks, which names of files may hold: save it with commas")
    return lines


def _separator(path: Path) -> str:
    """What parts the cells of the first line that is not empty."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            first = next((line for line in file if line.strip()), "")
    except OSError:  # told by who reads it all
        first = ""
    return "\t" if "\t" in first else ";" if ";" in first and "," not in first else ","


def _parted(path: Path, delimiter: str) -> list[tuple[int, list[str]]]:
    line = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            lines = []
            for cells in reader:
                line = reader.line_num
                if cells:
                    lines.append((line, cells))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read {path} after line {line}: {error}; save it as CSV, UTF-8, cells separated by commas"
        ) from error
    if not lines:
        raise DataError(f"{path} is empty: write a line for each image, file,label")
    return lines


def _column(path: Path, header: list[str], wanted: str | int | None, usual: tuple[str, ...]) -> int | None:
    """The number of a column that is asked for, or has a usual name; None if there is none."""
    if isinstance(wanted, int):
        if not 0 <= wanted < len(header):
            raise DataError(f"{path} has {len(header)} columns, so there is no column {wanted}")
        return wanted
    names = usual if wanted is None else (wanted.lower(),)
    return next((header.index(name) for name in names if name in header), None)


def _answers(name: str, rows: list[tuple[int, list[str]]], place: int) -> bool:
    """Whether a column asks if a picture is normal, or anomalous, and each of its cells answers."""
    cells = {cells[place].strip().lower() for _, cells in rows if place < len(cells)}
    answers = {"0", "1", "-1", "0.0", "1.0", "-1.0", "true", "false", "yes", "no"}
    return (
        words.verdict(words.tokens(name)) is not None
        and _means_labels(name)
        and bool(cells & answers)
        and cells - words.MISSING <= answers
    )


def _means_labels(name: str) -> bool:
    """Whether a column's name speaks of labels: defect, is_ok, label_index; but not anomaly_score."""
    said = words.tokens(name)
    verdicts = words.WORDS[words.NORMAL] | words.WORDS[words.ANOMALOUS]
    return not (verdicts | _OF_LABELS).isdisjoint(said) and (verdicts | _OF_LABELS | _BESIDE_LABELS).issuperset(said)


def _says_labels(name: str) -> bool:
    """Whether a cell can be nothing but the name of a column of labels: is_ok, anomaly_label."""
    return _means_labels(name) and not (_OF_LABELS | {"is", "has"}).isdisjoint(words.tokens(name)) and "_" in name


def _suffix(name: str) -> str:
    return PureWindowsPath(name.strip()).suffix.lower()
