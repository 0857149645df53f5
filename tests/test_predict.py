"""`python -m adjax predict`: every file a row, the same pixels as in training, one program, resumable."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import adjax
from adjax import __main__, augment
from adjax.data import DataError, upload, walk
from adjax.data.folder import load_folder
from adjax.data.picture import read_pixels, read_square
from adjax.detector import Spec, fit
from adjax.predict import stream, tables
from adjax.predict.journal import Journal
from adjax.predict.judge import judge
from adjax.predict.stream import Row
from adjax.spec import parts

SHAPE = (8, 8, 1)


def tiny(classes="ab", shape=SHAPE, model="lenet5", method="centerloss", scorer="mahalanobis", held_out=40):
    """A detector that knows dark and bright images apart, untrained, in a second."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 80, (120, *shape), np.uint8)
    labels = np.arange(120) % len(classes)
    images[labels == 1] += 100
    spec = Spec(method, model, scorer, shape, tuple(classes))
    network = parts(spec).method
    params = jax.jit(network.init)(jax.random.key(0), {k: np.float32(v) for k, v in network.hparams.items()})["params"]
    normalise = augment.normalise_of(images)
    return fit(spec, params, normalise, images[held_out:], labels[held_out:], images[:held_out] if held_out else None)


@pytest.fixture(scope="module")
def detector():
    return tiny()


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "detector"
    detector.save(directory)
    return directory


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures, grey, of the detector's size."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(1)
    for i in range(20):
        save(root / f"{'ab'[i % 2]}" / f"{i:02}.png", rng.integers(0, 80, (8, 8), np.uint8) + np.uint8(100 * (i % 2)))
    return root


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def run(*arguments) -> int:
    return __main__.main(["predict", *map(str, arguments)])


def table(path) -> list[dict]:
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return pyarrow.parquet.read_table(path).to_pylist()


# --- what a row says ---


def test_a_row_says_what_the_detector_says(saved, detector, folder, tmp_path):
    out = tmp_path / "scores.jsonl"
    assert run(saved, folder, "--out", out, "--batch-size", 8) == 0
    rows = table(out)
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.png"))
    assert [row["path"] for row in rows] == names
    images = np.stack([np.asarray(Image.open(folder / name))[..., None] for name in names])
    np.testing.assert_allclose([row["score"] for row in rows], detector.score(images), rtol=1e-5)
    np.testing.assert_allclose([row["p_value"] for row in rows], detector.p_value(images), rtol=1e-5)
    assert [row["decision"] == "anomalous" for row in rows] == np.asarray(detector.predict(images)).tolist()
    np.testing.assert_allclose([row["probability"] for row in rows], 1 - detector.p_value(images), rtol=1e-5)
    assert {row["threshold"] for row in rows} == {float(detector.threshold)}
    assert all(len(row["detector"]) == 64 and row["mode"] == "L" and row["width"] == 8 for row in rows)
    assert [row["nearest_class"] for row in rows] == ["a"] * 10 + ["b"] * 10


def test_three_formats_hold_the_same(saved, folder, tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        assert run(saved, folder, "--out", tmp_path / f"s.{suffix}") == 0
    one, two, three = (table(tmp_path / f"s.{suffix}") for suffix in ("csv", "jsonl", "parquet"))
    assert [row["path"] for row in one] == [row["path"] for row in two] == [row["path"] for row in three]
    assert list(one[0]) == list(two[0]) == list(three[0]) == list(tables.COLUMNS)
    scores = [np.array([row["score"] for row in rows], np.float32) for rows in (one, two, three)]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])
