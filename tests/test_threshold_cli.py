"""`python -m adjax threshold`: what `predict` would have written with another rate, byte for byte."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import untrained
from picture_files import save
from PIL import Image

from adjax import __main__, serialization
from adjax.predict import readers, writers
from adjax.predict.batch import predict_batch
from adjax.predict.decide import Decider
from adjax.spec import Spec
from adjax.thresholds import ThresholdInterval

SHAPE = (16, 24, 1)


pytestmark = pytest.mark.usefixtures("process_as_it_was")


@pytest.fixture(scope="module")
def detector():
    return untrained.two_classes((8, 8, 1))


@pytest.fixture(scope="module")
def scored(detector, tmp_path_factory):
    """A folder with tables of the detector's own threshold, and of a rate of 0.2."""
    root = tmp_path_factory.mktemp("scored")
    detector.save(root / "detector")
    rng = np.random.default_rng(1)
    for i in range(20):
        dim = rng.integers(0, 80, (8, 8), np.uint8)
        save(root / "photos" / "ab"[i % 2] / f"{i:02}.png", dim + np.uint8(100 * (i % 2)))
    save(root / "photos" / "=sum.png", rng.integers(0, 255, (8, 8), np.uint8))
    (root / "photos" / "broken.png").write_bytes(b"-1")
    for suffix in writers.WRITERS:
        own, other = root / f"own{suffix}", root / f"other{suffix}"
        assert command("predict", root / "detector", root / "photos", "--out", own, "--no-report") == 0
        rate = ("--false-positive-rate", 0.2, "--no-report")
        assert command("predict", root / "detector", root / "photos", "--out", other, *rate) == 0
        assert own.read_bytes() != other.read_bytes()
    return root


def command(*arguments) -> int:
    return __main__.main(list(map(str, arguments)))


@pytest.mark.parametrize("suffix", writers.WRITERS)
def test_the_table_is_that_of_predict_with_this_rate_byte_for_byte(scored, tmp_path, suffix):
    out = tmp_path / f"new{suffix}"
    assert command("threshold", scored / f"own{suffix}", "--false-positive-rate", 0.2, "--out", out) == 0
    assert out.read_bytes() == (scored / f"other{suffix}").read_bytes()


def test_a_table_that_excel_saved_with_a_byte_order_mark_is_read(scored, tmp_path):
    marked, out = tmp_path / "own.csv", tmp_path / "new.csv"
    marked.write_bytes(b"\xef\xbb\xbf" + (scored / "own.csv").read_bytes())
    where = ("--detector", scored / "detector", "--out", out)
    assert command("threshold", marked, "--false-positive-rate", 0.2, *where) == 0
    assert out.read_bytes() == (scored / "other.csv").read_bytes()


def test_boxes_are_those_of_predict_too_where_asked(tmp_path, capsys):
    images = np.random.default_rng(0).integers(90, 130, (60, *SHAPE), np.uint8)
    spec = Spec("gmm", "lenet5", "patchwise", SHAPE, ("normal",), {"feature": "pool1"}, frame="whole")
    made = untrained.detector(spec, images[:40], np.zeros(40, np.int32), images[40:])
    made.with_false_positive_rate(0.05).save(tmp_path / "detector")
    folder = tmp_path / "photos"
    folder.mkdir()
    for row, image in enumerate(images[40:46, ..., 0]):
        image[2:5, 2:6] += np.uint8(12 * row)
        Image.fromarray(image).save(folder / f"{row}.png")
    one, two, new = (tmp_path / f"{name}.csv" for name in ("one", "two", "new"))
    assert command("predict", tmp_path / "detector", folder, "--out", one, "--no-report") == 0
    rate = ("--false-positive-rate", 0.3)
    assert command("predict", tmp_path / "detector", folder, "--out", two, "--no-report", *rate) == 0
    assert command("threshold", one, *rate, "--out", new, "--boxes") == 0
    assert new.read_bytes() == two.read_bytes()
    boxes = [row.boxes for row in readers.Table(new).rows()]
    assert None in boxes
    assert any(boxes)
    capsys.readouterr()
    assert command("threshold", one, *rate, "--out", new, "--overwrite") == 0
    lost = sum(map(bool, boxes))
    assert f"boxes of {lost} flagged files are left empty" in capsys.readouterr().out
    assert [row.boxes for row in readers.Table(new).rows()] == [None] * 6
    assert [row.decision for row in readers.Table(new).rows()] == [row.decision for row in readers.Table(two).rows()]
    [path.unlink() for path in folder.iterdir()]
    capsys.readouterr()
    assert command("threshold", one, *rate, "--out", new, "--overwrite", "--boxes") == 0
    assert f"{lost} of {lost} flagged pictures can't be read any more, and get no boxes" in capsys.readouterr().out


def test_pictures_whose_names_are_no_utf_8_get_their_boxes(tmp_path, capsys):
    images = np.random.default_rng(0).integers(90, 130, (60, *SHAPE), np.uint8)
    spec = Spec("gmm", "lenet5", "patchwise", SHAPE, ("normal",), {"feature": "pool1"}, frame="whole")
    made = untrained.detector(spec, images[:40], np.zeros(40, np.int32), images[40:])
    made.save(tmp_path / "detector")
    folder, one, new = tmp_path / "photos", tmp_path / "one.csv", tmp_path / "new.csv"
    folder.mkdir()
    for name in (b"bad\xff.png", b"plain.png", rb"literal\xff.png"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            Image.fromarray(255 - images[0, ..., 0]).save(file, "PNG")
    assert command("predict", tmp_path / "detector", folder, "--out", one, "--no-report") == 0
    with open(tmp_path / "one.csv.journal", "ab") as file:
        file.write(b'["cut short by a k')
    assert command("threshold", one, "--threshold", 0, "--out", new, "--boxes") == 0
    boxes = {row.path: row.boxes for row in readers.Table(new).rows()}
    assert set(boxes) == {r"bad\xff.png", "plain.png", r"literal\xff.png"}
    assert all(boxes.values())
    assert "can't be read" not in capsys.readouterr().out


def test_a_threshold_of_ones_own_flags_what_is_above_it(scored, capsys):
    assert command("threshold", scored / "own.csv", "--threshold", 3.5) == 0
    out = scored / "own-above-3.5.csv"
    rows = list(readers.Table(out).rows())
    ok = [row for row in rows if row.status == "ok"]
    assert {row.decision for row in ok} == {"normal", "anomalous"}
    assert all((row.decision == "anomalous") == (row.score > 3.5) and row.uncertain is None for row in ok)
    assert f"above 3.5: {sum(row.decision == 'anomalous' for row in ok)} anomalous" in capsys.readouterr().out
    with open(out, newline="") as file:
        assert {row["threshold"] for row in csv.DictReader(file)} == {"3.5"}


def test_the_page_is_written_again_where_asked(scored, tmp_path):
    out, page = tmp_path / "new.csv", tmp_path / "new.html"
    rate = ("--false-positive-rate", 0.2)
    assert command("threshold", scored / "own.csv", *rate, "--out", out, "--report", page) == 0
    html = page.read_text(encoding="utf-8")
    for text in ("Scores of photos, new.csv", "chosen to flag at most 20.00%", "adjax threshold"):
        assert text in html


def test_more_confidence_leaves_more_uncertain(scored, tmp_path):
    counts = []
    for confidence in (0.5, 0.99):
        rate = ("--false-positive-rate", 0.2, "--confidence", confidence)
        assert command("threshold", scored / "own.csv", *rate, "--out", tmp_path / f"{confidence}.csv") == 0
        counts.append(sum(bool(row.uncertain) for row in readers.Table(tmp_path / f"{confidence}.csv").rows()))
    assert counts[0] < counts[1]


def test_what_can_not_be_is_refused_with_what_to_do(scored, detector, tmp_path, capsys):
    def says(*arguments) -> str:
        assert command("threshold", *arguments) == 1
        return capsys.readouterr().err

    rate, own = ("--false-positive-rate", 0.2), scored / "own.csv"
    n = len(detector.calibration_scores)
    assert f"can promise {1 / (n + 1):.3g} or more" in says(own, "--false-positive-rate", 0.001)
    assert "is the table that is read" in says(own, *rate, "--out", own, "--overwrite")
    (tmp_path / "there.csv").write_text("mine")
    assert "is there already: name another, or --overwrite" in says(own, *rate, "--out", tmp_path / "there.csv")
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert "is written as .csv" in says(own, *rate, "--out", tmp_path / "new.jsonl")
    assert "picture.png is no table: name one that predict wrote, which ends in .csv, .jsonl, .parquet" in says(
        scored / "picture.png", *rate
    )
    sure = says(own, "--threshold", 3, "--confidence", 0.5)
    assert "--confidence 0.5 with --threshold: a threshold that you choose promises nothing" in sure
    assert "is not there: name a table" in says(tmp_path / "none.csv", *rate)
    assert "is not a table that predict wrote" in says(
        tmp_path / "there.csv", *rate, "--detector", scored / "detector", "--out", tmp_path / "new.csv"
    )
    shutil.copy(own, tmp_path / "alone.csv")
    assert "name it by --detector DIR" in says(tmp_path / "alone.csv", *rate)
    assert "which folder was scored" in says(
        tmp_path / "alone.csv", *rate, "--detector", scored / "detector", "--report", tmp_path / "r.html"
    )
    dataclasses.replace(detector, calibration_scores=detector.calibration_scores + 1).save(tmp_path / "another")
    assert "the table has rows of detector" in says(own, *rate, "--detector", tmp_path / "another")
    assert not any(path.exists() for path in (scored / "own-0.2.csv", tmp_path / "new.csv"))
    alone = ("--detector", scored / "detector", "--out", tmp_path / "new.csv")
    assert command("threshold", tmp_path / "alone.csv", *rate, *alone) == 0
    lines = own.read_text().splitlines(keepends=True)
    (tmp_path / "cut.csv").write_text("".join([*lines[:3], "one,cell\r\n"]), newline="")
    assert "after row 0 it has others" in says(tmp_path / "cut.csv", *rate, *alone, "--overwrite")


def test_a_detector_that_has_moved_is_named(scored, tmp_path, capsys):
    for name in ("own.csv", "own.csv.journal"):
        shutil.copy(scored / name, tmp_path)
    journal = tmp_path / "own.csv.journal"
    head, rest = journal.read_text().split("\n", 1)
    facts = json.loads(head)
    facts["notes"]["directory"] = str(tmp_path / "gone")
    journal.write_text(json.dumps(facts) + "\n" + rest)
    assert command("threshold", tmp_path / "own.csv", "--false-positive-rate", 0.2) == 1
    assert "has gone: name the detector by --detector" in capsys.readouterr().err
    out = tmp_path / "new.csv"
    where = ("--detector", scored / "detector", "--out", out)
    assert command("threshold", tmp_path / "own.csv", "--false-positive-rate", 0.2, *where) == 0
    assert out.read_bytes() == (scored / "other.csv").read_bytes()


def test_a_journal_without_the_place_of_the_detector_goes_on(scored, tmp_path):
    """As earlier versions wrote them."""
    out, journal = tmp_path / "own.csv", tmp_path / "own.csv.journal"
    head, rest = (scored / "own.csv.journal").read_text().split("\n", 1)
    facts = json.loads(head)
    del facts["notes"]
    journal.write_text(json.dumps(facts) + "\n" + rest)
    assert command("predict", scored / "detector", scored / "photos", "--out", out, "--no-report") == 0
    assert out.read_bytes() == (scored / "own.csv").read_bytes()
    assert journal.read_text() == json.dumps(facts) + "\n" + rest


def test_what_is_not_finite_stays_as_it_was_and_is_certain(detector):
    levels = jnp.array([jnp.inf, 1.0, jnp.nan, 2.0], jnp.float32)
    interval = ThresholdInterval(jnp.float32(0), jnp.float32(jnp.inf))
    assert interval.holds(levels).tolist() == [False, True, False, True]
    images = np.zeros((2, 8, 8, 1), np.float32)
    images[1] = np.nan
    assert predict_batch(detector, images, interval)["uncertain"].tolist() == [True, False]
    part = {
        "path": ["a", "b", "c"],
        "score": [None, "1.5", None],
        "decision": ["anomalous", "anomalous", "normal"],
        "boxes": [None] * 3,
        "threshold": ["1"] * 3,
        "detector": ["x"] * 3,
    }
    (found,) = Decider("x", 9.0, interval).parts([part])
    assert (found["decision"], found["uncertain"]) == (["anomalous", "normal", "normal"], [False, True, False])


def test_the_calibration_is_read_without_a_network(scored, detector):
    found = serialization.calibration_scores(scored / "detector")
    np.testing.assert_array_equal(found, detector.calibration_scores)
