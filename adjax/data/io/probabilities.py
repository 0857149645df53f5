"""A CSV of the probability that each image is anomalous."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adjax import atomic
from adjax.data.split import DataError

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a cell that begins so."""


def write_probabilities(
    path: Path,
    names: Iterable[str],
    probabilities: Sequence[float] | np.ndarray,
    columns: tuple[str, str] = ("file", "probability"),
) -> None:
    """Writes a CSV (RFC 4180) of the probability that each image is anomalous, atomically.

    A name that a spreadsheet would run as a formula (it begins with = + - @, tab or return) gets a ' before
    it.

    Args:
      path: where to; an existing file is replaced.
      names: one for each image.
      probabilities: floats [N] from 0 to 1.
      columns: the header.

    Raises:
      DataError: other lengths; a value outside 0..1 or not finite, with its row; or no place to write.
    """
    names, values = [str(name) for name in names], np.asarray(probabilities, np.float64)
    if values.shape != (len(names),):
        raise DataError(f"there are {len(names)} names, but probabilities of shape {values.shape}: one for each name")
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"the probability of {names[row]} (row {row}) is {values[row]:g}, but must lie in 0..1: a score isn't a "
            "probability until it is calibrated"
        )
    text = csv_of(columns, [(name, f"{value:.9g}") for name, value in zip(names, values.tolist(), strict=True)])
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, text)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}; name another place") from error


def csv_of(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Makes CSV (RFC 4180) in which no cell is run as a formula.

    Args:
      columns: the header.
      rows: a value for each column; None for an empty cell.

    Returns:
      The text.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(map(_harmless, columns))
    writer.writerows(map(_harmless, row) for row in rows)
    return text.getvalue()


def _harmless(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell.startswith(FORMULA) else cell
