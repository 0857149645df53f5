"""The tables that `adjax.predict.writers` writes, read again: part by part, as columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from adjax.data.io.arrow import import_arrow
from adjax.data.split import DataError
from adjax.predict.stream import Prediction
from adjax.predict.writers import COLUMNS, Part

_NAMES = [*COLUMNS]
_LINES = 512
"""Read at once: few, so that Python's collector of garbage doesn't go through them again and again."""


def check(path: Path) -> None:
    """Refuses what can't be a table of predictions, before any work is done.

    Raises:
      DataError: another extension than .csv, .jsonl or .parquet; no pyarrow for Parquet.
    """
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path} is no table: name one that predict wrote, which ends in {', '.join(READERS)}")
    if path.suffix.lower() == ".parquet":
        import_arrow()


def parts(path: Path) -> Iterator[Part]:
    """Reads a table in flat memory.

    Args:
      path: of a table that `writers.write` made, .csv, .jsonl or .parquet.

    Yields:
      Rows as columns; of Parquet a row group at a time, so that it is written again as it was. All cells of CSV are
      text, as they stand, "" for unknown.

    Raises:
      DataError: no such file, or another table.
    """
    check(path)
    number = 0
    try:
        for part in READERS[path.suffix.lower()](path):
            yield part
            number += len(part["path"])
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}; name a table of predict") from error
    except (ValueError, TypeError, KeyError, AttributeError, csv.Error) as error:  # pyarrow's are ValueErrors
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is not a table that predict wrote: columns {', '.join(COLUMNS)} are read, and after row "
            f"{number:,} it has others ({error})"
        ) from error


class Table:
    """A table of predictions that is read row by row, as a journal is."""

    def __init__(self, path: Path):
        """Takes the path of the table, as of `parts`."""
        self.path = path

    def rows(self) -> Iterator[Prediction]:
        """Reads all rows. A path is what stands in the table: of bytes that are no UTF-8, their escapes.

        Raises:
          DataError: as of `parts`.
        """
        text = self.path.suffix.lower() == ".csv"
        for part in parts(self.path):
            each = (map(_TYPED[COLUMNS[name]], part[name]) if text else part[name] for name in Prediction._fields)
            for row in zip(*each, strict=True):
                yield Prediction(*row)


def numbers(cells: list[Any]) -> list[float | None]:
    """Numbers of a column; None for unknown.

    Args:
      cells: numbers, or their text; None and "" for unknown.

    Returns:
      A number for each.

    Raises:
      ValueError: another text.
    """
    return [None if cell is None or cell == "" else float(cell) for cell in cells]


def _csv(path: Path) -> Iterator[Part]:
    with open(path, encoding="utf-8-sig", newline="") as file:  # Excel begins with a mark
        reader = csv.reader(file, strict=True)
        _check_names(next(reader, []))
        while taken := list(islice(reader, _LINES)):
            yield dict(zip(COLUMNS, map(list, zip(*taken, strict=True)), strict=True))


def _jsonl(path: Path) -> Iterator[Part]:
    with open(path, encoding="utf-8") as file:
        while taken := [json.loads(line) for line in islice(file, _LINES)]:
            for record in taken:
                _check_names(record)
            yield {name: [record[name] for record in taken] for name in COLUMNS}


def _parquet(path: Path) -> Iterator[Part]:
    with import_arrow().parquet.ParquetFile(path) as file:
        _check_names(file.schema_arrow.names)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group).to_pydict()


def _check_names(found: Any) -> None:
    if [*found] != _NAMES:
        raise ValueError(f"it has {', '.join(map(str, found)) or 'none'}"[:300])


READERS: dict[str, Callable[[Path], Iterator[Part]]] = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
_TYPED: dict[type, Callable[[str], Any]] = {
    str: lambda cell: cell or None,
    bool: lambda cell: cell == "true" if cell else None,
    int: lambda cell: int(cell) if cell else None,
    float: lambda cell: float(cell) if cell else None,
}
