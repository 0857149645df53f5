"""The table of members, independent runs of one method that one program trains; see `adjax.train`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from adjax.surface import named


class Members(NamedTuple):
    """A table of independent runs, one per row.

    Attributes:
      hparams: name -> float32[M].
      seed: int32[M]; initialisation and data order are functions of it alone, so runs that share it are paired.
      rows: int32[M, n], which rows of the data set the member trains on.
      labels: int32[M, n], the label of each of these rows, for this member.
      count: int32[M], how many of the n are real; the rest is padding and never seen.
    """

    hparams: dict[str, np.ndarray]
    seed: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    count: np.ndarray  # type: ignore[assignment]  # a tuple has a method of that name


def members(hparams: dict[str, Any], seeds: Any, rows: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> Members:
    """Builds the table of members.

    Args:
      hparams: name → a number per member.
      seeds: int32[M].
      rows: `rows[m]`, int[n ≥ 1], the images that member m trains on.
      labels: `labels[m]`, int[n], their labels.

    Returns:
      The `Members`, padded to one length.

    Raises:
      ValueError: columns of different lengths; a member without rows, or with rows and labels of different lengths;
        rows or labels that are not integers ≥ 0; hyper-parameters that are not finite, negative, or rates of 0.
    """
    seeds = np.atleast_1d(np.asarray(seeds, np.int32))
    values = {name: np.atleast_1d(np.asarray(value, np.float32)) for name, value in hparams.items()}
    columns: dict[str, Any] = {"rows": rows, "labels": labels, **values}
    for name, column in columns.items():
        if len(column) != len(seeds):
            raise ValueError(f"a table of {len(seeds)} members needs as many {name}, not {len(column)}")
    if not len(seeds):
        raise ValueError("seeds are empty: give at least one")
    for name, value in values.items():
        rate = name.endswith("learning_rate")
        if not np.all(np.isfinite(value) & ((value > 0) if rate else (value >= 0))):
            which = ", ".join(f"{x:g}" for x in np.unique(value))
            least = "above 0" if rate else "at least 0"
            raise ValueError(f"{named('hparams', f'{name}={which}')}: must be finite and {least}")
    for m, pair in enumerate(zip(rows, labels, strict=True)):
        for name, column in zip(("rows", "labels"), map(np.asarray, pair), strict=True):
            if column.ndim != 1 or not len(column):
                raise ValueError(f"member {m} has {name} of shape {column.shape}: must be [n], n ≥ 1")
            if not np.issubdtype(column.dtype, np.integer):  # a mask would be taken for rows 0 and 1
                raise ValueError(f"member {m} has {name} of dtype {column.dtype}: must be integers")
            if column.min() < 0:
                raise ValueError(f"member {m} has {name} down to {column.min()}: must be ≥ 0")
        if len(pair[0]) != len(pair[1]):
            raise ValueError(f"member {m} has {len(pair[0])} rows but {len(pair[1])} labels: must be as many")
    count = np.array([len(r) for r in rows], np.int32)
    padded = np.zeros((2, len(rows), count.max()), np.int32)
    for m, (r, y) in enumerate(zip(rows, labels, strict=True)):
        padded[:, m, : len(r)] = r, y
    return Members(values, seeds, padded[0], padded[1], count)
