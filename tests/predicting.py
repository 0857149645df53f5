"""`python -m adjax predict` in this process, its table, and what it reads, for tests.

A file of tests names the fixtures that it uses: `saved = predicting.saved`.
"""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet
import pytest
import untrained
from picture_files import save

from adjax import __main__

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def detector():
    return untrained.two_classes(SHAPE)


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "detector"
    detector.save(directory)
    return directory


@pytest.fixture
def folder(tmp_path):
    return twenty(tmp_path / "photos")


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
