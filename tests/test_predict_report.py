"""The page that `python -m adjax predict` and `train` write: made of the journal, bounded, and of nothing but text."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import predicting
import pyarrow.parquet
import pytest
import untrained
from PIL import Image

from adjax import __main__
from adjax.data.io import upload
from adjax.data.io.sources.folder import Folder
from adjax.detector import Spec
from adjax.predict import page
from adjax.predict.resume_log import ResumeLog
from adjax.predict.stream import Prediction
from adjax.report import MAX_BYTES, render

SHAPE = (8, 8, 1)
OVERRIDE = "\u202e"  # turns the direction of what is shown
HOSTILE = [b"<img src=x onerror=1>.png", b"new\nline.png", b"\xff\xfe.png", f"{OVERRIDE}gnp.exe.png".encode()]


pytestmark = pytest.mark.usefixtures("process_as_it_was")


detector, saved = predicting.detector, predicting.saved


@pytest.fixture
def folder(tmp_path):
    """Thirty pictures and two that can't be read."""
    root, rng = tmp_path / "photos", np.random.default_rng(1)
    for i in range(30):
        save(root / "ab"[i % 2] / f"{i:02}.png", rng.integers(0, 80, (8, 8), np.uint8) + np.uint8(100 * (i % 2)))
    (root / "a" / "empty.png").write_bytes(b"")
    (root / "b" / "cut.png").write_bytes((root / "a" / "00.png").read_bytes()[:50])
    return root


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def run(*arguments) -> int:
    return __main__.main(["predict", *map(str, arguments)])


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def packed(path):
    """The one view of a page, as its script has it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"))
    (view,) = json.loads(found[1])["views"]
    view["scores"] = np.frombuffer(base64.b64decode(view["scores"]), "<f4")
    return view


def cards(path):
    """Headline figures: name → (value, beside)."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r'<dt>(.*?)</dt><dd class="value">(.*?)</dd>(?:<dd class="interval">(.*?)</dd>)?', text)
    return {name: (value, beside) for name, value, beside in found}


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_the_page_says_what_the_table_says(saved, detector, folder, tmp_path, capsys):
    out, where = tmp_path / "out" / "s.csv", tmp_path / "out" / "report.html"
    assert run(saved, folder, "--out", out, "--false-positive-rate", 0.1) == 0
    assert str(where) in capsys.readouterr().out
    rows, view = rows_of(out), packed(where)
    read = [row for row in rows if row["status"] == "ok"]
    np.testing.assert_array_equal(view["scores"], np.array([row["score"] for row in read], np.float32))
    assert view["threshold"] == pytest.approx(float(read[0]["threshold"]))
    held_out = np.frombuffer(base64.b64decode(view["heldOut"]), "<f4")
    np.testing.assert_array_equal(held_out, detector.calibration_scores)  # what p-values are computed from
    assert view["nominal"] == 0.1
    flagged = [row for row in read if row["decision"] == "anomalous"]
    assert 0 < len(flagged) < 30
    found = cards(where)
    assert found["Files"][0] == "32"
    assert found["Flagged"] == (f"{len(flagged)}", f"{len(flagged) / 30:.1%} of those scored")
    assert found["Not readable"][0] == "2"
    rare = sum(float(row["score"]) > float(detector.calibration_scores[-1]) for row in read)
    assert found["Beyond all normal ones"][0] == f"{rare}"
    text = where.read_text(encoding="utf-8")
    for row in rows:
        if row["status"] == "error":
            assert html.escape(row["error"]) in text
    assert "adjax predict" in text


def test_what_lies_near_the_threshold_is_uncertain(saved, detector, folder, tmp_path):
    out = tmp_path / "s.csv"
    assert run(saved, folder, "--out", out, "--no-report") == 0
    assert {row["uncertain"] for row in rows_of(out)} == {""}  # nobody knows what rate a quantile has
    assert run(saved, folder, "--out", tmp_path / "t.csv", "--false-positive-rate", 0.2) == 0
    read = [row for row in rows_of(tmp_path / "t.csv") if row["status"] == "ok"]
    images = np.stack([np.asarray(Image.open(folder / row["path"]))[..., None] for row in read])
    wanted = np.asarray(detector.uncertain(images, 0.2))
    assert [row["uncertain"] for row in read] == [str(x).lower() for x in wanted.tolist()]
    assert 0 < wanted.sum() < 30
    assert cards(tmp_path / "report.html")["Uncertain"][0] == f"{wanted.sum()}"
    for suffix in ("jsonl", "parquet"):
        assert run(saved, folder, "--out", tmp_path / f"u.{suffix}", "--false-positive-rate", 0.2, "--no-report") == 0
    lines = [json.loads(line) for line in (tmp_path / "u.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["uncertain"] for row in lines if row["status"] == "ok"] == wanted.tolist()
    assert pyarrow.parquet.read_table(tmp_path / "u.parquet")["uncertain"].to_pylist() == [
        x["uncertain"] for x in lines
    ]


def test_a_rate_that_can_not_be_promised_is_refused_with_the_mend(saved, folder, tmp_path, capsys):
    assert run(saved, folder, "--out", tmp_path / "s.csv", "--false-positive-rate", 0.02) == 1
    assert "calibrated on 40 normal images, which can promise 0.0244 or more" in capsys.readouterr().err
    assert run(saved, folder, "--out", tmp_path / "s.csv", "--false-positive-rate", 1 / 41) == 0
    assert "(open it in a browser)" in capsys.readouterr().out


@pytest.mark.slow
def test_the_rate_that_train_noted_counts_if_it_is_that_of_the_threshold(detector, folder, tmp_path):
    one = detector.with_false_positive_rate(0.2)
    one.save(tmp_path / "d")
    for rate, known in ((0.2, True), (0.1, False), ("x", False), (None, False)):
        (tmp_path / "d" / "train.json").write_text(json.dumps({"false_positive_rate": rate}))
        assert run(tmp_path / "d", folder, "--out", tmp_path / "s.csv", "--fresh") == 0
        said = {row["uncertain"] for row in rows_of(tmp_path / "s.csv") if row["status"] == "ok"}
        assert (said <= {"true", "false"}) is known
        assert ("at most 20.00% of normal images" in (tmp_path / "report.html").read_text("utf-8")) is known


def test_pictures_are_the_files_read_again(saved, folder, tmp_path):
    out = tmp_path / "s.csv"
    assert run(saved, folder, "--out", out) == 0
    by_path = {row["path"]: row for row in rows_of(out)}
    shown = packed(tmp_path / "report.html")["pictures"]
    assert len(shown) == 30
    for picture in shown:
        assert picture["score"] == pytest.approx(float(by_path[picture["name"]]["score"]), rel=1e-6)
        wanted = upload.read(folder / picture["name"], (256, 256, 3)).pixels
        np.testing.assert_array_equal(pixels(picture["images"][0]), wanted)


def test_hostile_names_are_text(saved, folder, tmp_path):
    picture = (folder / "a" / "00.png").read_bytes()
    for name in HOSTILE:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(picture)
        Path(os.fsdecode(os.path.join(os.fsencode(folder), b"bad" + name))).write_bytes(b"")
    hostile = tmp_path / "<b onclick=1>"
    folder.rename(hostile)
    assert run(saved, hostile, "--out", tmp_path / "s.csv") == 0
    where = tmp_path / "report.html"
    text = where.read_text(encoding="utf-8")
    names = {picture["name"] for picture in packed(where)["pictures"]}
    assert {r"\xff\xfe.png", r"new\nline.png", r"\u202egnp.exe.png", "<img src=x onerror=1>.png"} <= names
    assert r"bad\u202egnp.exe.png" in text
    for forbidden in ("<img src=x", "<b onclick", OVERRIDE):
        assert forbidden not in text
    assert text.count("<script") == 2


@pytest.mark.slow
def test_a_restart_writes_the_same_page_and_an_interruption_none(saved, folder, tmp_path, monkeypatch):
    whole = tmp_path / "whole" / "s.csv"
    assert run(saved, folder, "--out", whole, "--batch-size", 8) == 0
    out, append = tmp_path / "part" / "s.csv", ResumeLog.append

    def interrupted(self, rows):
        append(self, rows)
        ResumeLog.append = append
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ResumeLog, "append", interrupted)
        assert run(saved, folder, "--out", out, "--batch-size", 8) == 130
    assert not (tmp_path / "part" / "report.html").exists()
    assert run(saved, folder, "--out", out, "--batch-size", 8) == 0
    one, two = (json.dumps(packed(x.with_name("report.html")), default=np.ndarray.tolist) for x in (whole, out))
    assert one == two
    (tmp_path / "part" / "report.html").unlink()
    assert run(saved, folder, "--out", out) == 0  # nothing left to score
    assert (tmp_path / "part" / "report.html").exists()


def test_where_it_goes(saved, folder, tmp_path, capsys):
    out = tmp_path / "s.csv"
    assert run(saved, folder, "--out", out, "--no-report") == 0
    assert not (tmp_path / "report.html").exists()
    assert run(saved, folder, "--out", out, "--report", tmp_path / "new" / "page.html") == 0
    assert (tmp_path / "new" / "page.html").exists()
    assert not (tmp_path / "report.html").exists()
    (tmp_path / "report.html").write_text("mine")
    for _ in range(2):
        assert run(saved, folder, "--out", out) == 0
        assert (tmp_path / "report.html").read_text() == "mine"
        assert "<title>" in (tmp_path / "s.csv.report.html").read_text(encoding="utf-8")
    assert run(saved, folder, "--out", tmp_path / "t.csv", "--report", tmp_path / "t.csv") == 1
    assert "is the table of --out: name another" in capsys.readouterr().err


def test_its_own_page_is_written_over(saved, folder, tmp_path):
    assert run(saved, folder, "--out", tmp_path / "s.csv") == 0
    (folder / "a" / "00.png").unlink()
    assert run(saved, folder, "--out", tmp_path / "s.csv", "--fresh") == 0
    assert cards(tmp_path / "report.html")["Files"][0] == "31"
    assert not (tmp_path / "s.csv.report.html").exists()


def test_a_picture_that_has_gone_is_left_out(saved, folder, tmp_path):
    assert run(saved, folder, "--out", tmp_path / "s.csv") == 0
    (folder / "a" / "00.png").unlink()
    assert run(saved, folder, "--out", tmp_path / "s.csv") == 0
    view = packed(tmp_path / "report.html")
    assert len(view["scores"]) == 30
    assert len(view["pictures"]) == 29


def test_nothing_readable_and_nothing_at_all(saved, tmp_path):
    root = tmp_path / "bad"
    root.mkdir()
    assert run(saved, root, "--out", tmp_path / "none" / "s.csv") == 0
    assert cards(tmp_path / "none" / "report.html")["Files"][0] == "0"
    (root / "a.png").write_bytes(b"")
    assert run(saved, root, "--out", tmp_path / "one" / "s.csv") == 0
    assert "No file could be scored" in (tmp_path / "one" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_hundred_thousand_files_are_a_small_page_and_few_pictures(detector, folder, tmp_path, monkeypatch):
    """A journal of 100,000 rows, of which 5,000 are errors with long and hostile names."""

    class Few(Folder):
        def open(self, name):
            return self.root / f"a/{int(name) % 15 * 2:02}.png"

    rng = np.random.default_rng(0)
    scores = rng.gamma(2, 0.3, 95_000).astype(np.float32)
    threshold = float(detector.threshold)
    read, asked = upload.read, []
    monkeypatch.setattr(page.upload, "read", lambda path, *a, **k: (asked.append(path), read(path, *a, **k))[1])
    with ResumeLog(tmp_path / "j", {}) as journal:
        journal.append(
            Prediction(
                f"{i}",
                "ok",
                None,
                8,
                8,
                "L",
                float(s),
                0.5,
                "normal" if s <= threshold else "anomalous",
            )
            for i, s in enumerate(scores)
        )
        journal.append(Prediction("<&" * 2000 + str(i), "error", "<&" * 150) for i in range(5_000))
        report = page.of_scores(detector, "0" * 64, Few(folder), journal, None, "c", "s.csv")
    (view,) = report.views
    np.testing.assert_array_equal(view.scores, scores)
    assert len(asked) <= 2 * 100
    rows = view.pictures.rows
    assert set(np.argsort(scores)[-24:]) <= set(rows)
    order = np.argsort(scores)
    at = int((scores <= threshold).sum())
    assert set(order[at - 12 : at + 12]) <= set(rows)
    assert len(report.errors.rows) == page.MAX_ERRORS
    assert "5,000 files, the first 300" in report.errors.caption
    assert len(render(report).encode()) < MAX_BYTES


def test_a_score_that_is_not_finite_is_flagged_and_shown(detector, folder, tmp_path):
    with ResumeLog(tmp_path / "j", {}) as journal:
        journal.append(Prediction(f"a/{2 * i:02}.png", "ok", None, 8, 8, "L", 0.1 * i, 0.5, "normal") for i in range(9))
        journal.append([Prediction("b/01.png", "ok", None, 8, 8, "L", None, None, "anomalous")])
        (view,) = page.of_scores(detector, "0" * 64, Folder(folder), journal, None, "c", "s.csv").views
    assert np.isnan(view.scores[9])
    assert "b/01.png" in view.pictures.names


def test_a_reconstruction_is_shown_in_the_pictures_own_values():
    mean, sd = np.array([0.5, 0.4, 0.3], np.float32), np.array([0.2, 0.25, 0.3], np.float32)

    def outputs(images, only=None):
        return {"reconstruction": (images / 255 - mean) / sd}

    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    perfect = SimpleNamespace(normalise=SimpleNamespace(mean=mean, sd=sd), outputs=outputs)
    np.testing.assert_array_equal(page.reconstructions(perfect, images), images)


@pytest.mark.slow
def test_what_the_network_makes_of_a_picture_is_shown(folder, tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (60, 16, 16, 1), np.uint8)
    spec = Spec("autoencoder", "conv_autoencoder", "score", (16, 16, 1), ("normal",))
    one = untrained.detector(spec, images[20:], np.zeros(40, int), images[:20])
    with ResumeLog(tmp_path / "j", {}) as journal:
        journal.append(Prediction(f"a/{2 * i:02}.png", "ok", None, 8, 8, "L", 0.1 * i, 0.5, "normal") for i in range(9))
        (view,) = page.of_scores(one, "0" * 64, Folder(folder), journal, None, "c", "s.csv").views
    seen = np.stack([upload.read(folder / name, (16, 16, 1)).pixels for name in view.pictures.names])
    wanted = np.asarray(one.outputs(seen)["reconstruction"]) * 255  # of this method the network sees 0 to 1
    assert np.abs(view.pictures.reconstructions - wanted).max() <= 0.51
    np.testing.assert_allclose(view.pictures.maps, np.abs(seen.astype(float) - view.pictures.reconstructions)[..., 0])
