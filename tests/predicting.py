"""`python -m adjax predict` in this process, and its table, for tests."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet
from picture_files import save

from adjax import __main__

SHAPE = (8, 8, 1)


def twenty(root):
    """A folder of twenty pictures, grey, of the detector's size."""
    rng = np.random.default_rng(1)
    for i in range(20):
        save(root / f"{'ab'[i % 2]}" / f"{i:02}.png", rng.integers(0, 80, (8, 8), np.uint8) + np.uint8(100 * (i % 2)))
    return root


def run(*arguments) -> int:
    return __main__.main(["predict", *map(str, arguments)])


def table(path) -> list[dict]:
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()
