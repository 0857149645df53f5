"""Rows to a file that other programs read: CSV, JSON lines or Parquet; atomically."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from adjax import atomic, distribution
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
_ROWS_AT_ONCE = 16_384


def check(path: Path) -> None:
    """Refuses what can't be written, before any work is done.

    Raises:
      DataError: another extension than .csv, .jsonl or .parquet; no pyarrow for Parquet.
    """
    if path.suffix.lower() not in WRITERS:
        raise DataError(f"{path}: a table is written as {', '.join(WRITERS)}: name it so")
    if path.suffix.lower() == ".parquet":
        _pyarrow()


def write(path: Path, rows: Iterable[Prediction], shared: Mapping[str, Any]) -> None:
    """Writes a table in flat memory and puts it into place by a rename.

    Args:
      path: by its extension CSV (UTF-8, RFC 4180; empty for unknown), JSON lines (null) or Parquet (null).
      rows: in order.
      shared: `threshold` and `detector`.
    """
    with atomic.replacing(path) as fresh:
        WRITERS[path.suffix.lower()](fresh, ({**row._asdict(), "path": text(row.path), **shared} for row in rows))


def _csv(path: Path, records: Iterator[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: _harmless(name, value) for name, value in record.items()} for record in records)


def _harmless(name: str, value: Any) -> Any:
    """A spreadsheet runs a cell that begins like a formula; "./=1.png" is the same path as "=1.png"."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or not value.startswith(FORMULA):
        return value
    return f"./{value}" if name == "path" else f"'{value}"


def _jsonl(path: Path, records: Iterator[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)


def _parquet(path: Path, records: Iterator[dict[str, Any]]) -> None:
    arrow = _pyarrow()
    import pyarrow.parquet

    kinds = {str: arrow.string(), int: arrow.int32(), bool: arrow.bool_(), float: arrow.float32()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while part := list(islice(records, _ROWS_AT_ONCE)):
            writer.write_table(arrow.Table.from_pylist(part, schema))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"Parquet needs pyarrow: {distribution.install('parquet')}, or name the table .csv or .jsonl"
        ) from error
    return pyarrow


WRITERS: dict[str, Callable[[Path, Iterator[dict[str, Any]]], None]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
