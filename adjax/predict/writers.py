"""Rows to a file that other programs read: CSV, JSON lines or Parquet; atomically, and a part of it in memory."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from adjax import atomic
from adjax.data.io.arrow import import_arrow
from adjax.data.io.probabilities import FORMULA
from adjax.data.io.upload import text
from adjax.data.split import DataError
from adjax.predict.stream import Prediction

COLUMNS = {
    "path": str,
    "status": str,
    "error": str,
    "width": int,
    "height": int,
    "mode": str,
    "score": float,
    "p_value": float,
    "decision": str,
    "nearest_class": str,
    "probability": float,
    "uncertain": bool,
    "unseen": float,
    "boxes": str,
    "threshold": float,
    "detector": str,
}
"""Those of a row, and the two that all rows share."""
ROWS_AT_ONCE = 16_384
_OTHERWISE = ", or name the table .csv or .jsonl"
_BOOLS = {True: "true", False: "false"}
Part = dict[str, list[Any]]
"""Rows as columns: `COLUMNS` → a value for each row."""


def check(path: Path) -> None:
    """Refuses what can't be written, before any work is done.

    Raises:
      DataError: another extension than .csv, .jsonl or .parquet; a folder; no pyarrow for Parquet.
    """
    if path.suffix.lower() not in WRITERS:
        raise DataError(f"{path}: a table is written as {', '.join(WRITERS)}: name it so")
    if path.is_dir():
        raise DataError(f"{path} is a folder: name a file, as {path / f'scores{path.suffix}'}")
    if path.suffix.lower() == ".parquet":
        import_arrow(_OTHERWISE)


def write(path: Path, rows: Iterable[Prediction], shared: Mapping[str, Any]) -> None:
    """Writes a table in flat memory and puts it into place by a rename.

    Args:
      path: by its extension CSV (UTF-8, RFC 4180; empty for unknown), JSON lines (null) or Parquet (null).
      rows: in order.
      shared: `threshold` and `detector`.
    """
    write_parts(path, _parts(iter(rows), shared))


def write_parts(path: Path, parts: Iterable[Part]) -> None:
    """Writes a table, part by part, and puts it into place by a rename.

    Args:
      path: as of `write`.
      parts: rows as columns; each is a row group of Parquet.
    """
    with atomic.replacing(path) as fresh:
        WRITERS[path.suffix.lower()](fresh, parts)


def _parts(rows: Iterator[Prediction], shared: Mapping[str, Any]) -> Iterator[Part]:
    while taken := list(islice(rows, ROWS_AT_ONCE)):
        part = dict(zip(Prediction._fields, map(list, zip(*taken, strict=True)), strict=True))
        part["path"] = [text(path) for path in part["path"]]
        yield part | {name: [value] * len(taken) for name, value in shared.items()}


def _csv(path: Path, parts: Iterable[Part]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for part in parts:
            writer.writerows(zip(*(_cells(name, part[name]) for name in COLUMNS), strict=True))


def _cells(name: str, values: list[Any]) -> list[Any]:
    """A spreadsheet runs a text that begins like a formula; "./=1.png" is the same path as "=1.png"."""
    kind = COLUMNS[name]
    if kind is bool:
        return [_BOOLS.get(value, value) for value in values]
    if kind is not str:
        return values
    before = "./" if name == "path" else "'"
    unsafe = {value: before + value for value in set(values) if value and value[0] in FORMULA}
    return [unsafe.get(value, value) for value in values] if unsafe else values


def _jsonl(path: Path, parts: Iterable[Part]) -> None:
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # one for all: `json.dumps` makes one a call
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for part in parts:
            for row in zip(*(part[name] for name in COLUMNS), strict=True):
                file.write(encode(dict(zip(COLUMNS, row, strict=True))) + "\n")


def _parquet(path: Path, parts: Iterable[Part]) -> None:
    arrow = import_arrow(_OTHERWISE)
    kinds = {str: arrow.string(), int: arrow.int32(), bool: arrow.bool_(), float: arrow.float32()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for part in parts:
            writer.write_table(arrow.Table.from_pydict(part, schema))


WRITERS: dict[str, Callable[[Path, Iterable[Part]], None]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
