"""`python -m adjax predict`: every file a row, one program, resumable."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
import untrained
from picture_files import png, save
from PIL import Image
from tiers import daily

import adjax
from adjax import __main__, thresholds
from adjax.data import DataError
from adjax.data.io import upload, walk
from adjax.data.io.sources.folder import Folder
from adjax.predict import stream, writers
from adjax.predict.batch import predict_batch
from adjax.predict.resume_log import ResumeLog
from adjax.spec import resolve

SHAPE = (8, 8, 1)


pytestmark = pytest.mark.usefixtures("process_as_it_was")


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
    """Twenty pictures, grey, of the detector's size."""
    root = tmp_path / "photos"
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
    assert {row["probability"] for row in rows} == {None}  # a p-value of 0.46 is no probability of 0.54
    assert {row["threshold"] for row in rows} == {float(detector.threshold)}
    assert all(len(row["detector"]) == 64 and row["mode"] == "L" and row["width"] == 8 for row in rows)
    assert [row["nearest_class"] for row in rows] == ["a"] * 10 + ["b"] * 10


def test_three_formats_hold_the_same(saved, folder, tmp_path):
    for suffix in ("csv", "jsonl", "parquet"):
        assert run(saved, folder, "--out", tmp_path / f"s.{suffix}") == 0
    one, two, three = (table(tmp_path / f"s.{suffix}") for suffix in ("csv", "jsonl", "parquet"))
    assert [row["path"] for row in one] == [row["path"] for row in two] == [row["path"] for row in three]
    assert list(one[0]) == list(two[0]) == list(three[0]) == list(writers.COLUMNS)
    scores = [np.array([row["score"] for row in rows], np.float32) for rows in (one, two, three)]
    np.testing.assert_array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[0], scores[2])


def test_one_program_scores_all_batches(saved, folder, tmp_path):
    before = predict_batch._cache_size()
    assert run(saved, folder, "--out", tmp_path / "s.csv", "--batch-size", 7) == 0  # 7 + 7 + 6, padded
    assert predict_batch._cache_size() == before + 1


def test_what_is_judged_in_one_pass_is_what_the_detector_says(detector):
    images = np.random.default_rng(5).integers(0, 256, (16, *SHAPE), np.uint8)
    said = jax.device_get(predict_batch(detector, images))
    np.testing.assert_allclose(said["score"], detector.score(images), rtol=1e-4)
    np.testing.assert_array_equal(said["anomalous"], detector.predict(images))
    np.testing.assert_allclose(said["p_value"], detector.p_value(images), rtol=1e-5)
    distances = resolve(detector.spec).scorer.distances(detector.scorer, detector.outputs(images))
    np.testing.assert_array_equal(said["nearest"], thresholds.nearest(detector.calibration, distances))


def test_uncertain_is_what_lies_in_the_band_its_upper_end_with_it(detector):
    images = np.random.default_rng(5).integers(0, 256, (16, *SHAPE), np.uint8)
    score = np.sort(np.asarray(predict_batch(detector, images)["score"]))
    band = thresholds.ThresholdInterval(jnp.asarray(score[4]), jnp.asarray(score[9]))
    said = jax.device_get(predict_batch(detector, images, band))
    np.testing.assert_array_equal(said["uncertain"], (said["score"] > score[4]) & (said["score"] <= score[9]))
    assert said["uncertain"].sum() == 5


@pytest.mark.parametrize("classes", [1, 2])
def test_a_scorer_without_classes_names_the_one_that_the_network_says(classes):
    """By a network that is the images' mean, so nothing need be trained."""

    def mean_and_class(params, images):
        mean = images.mean((1, 2, 3))
        logits = jnp.stack([mean, 100 - mean], 1)[:, :classes]
        return {"score": mean, "logits": logits, "probability": mean / 255}

    levels = np.arange(0, 240, 4, np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (60, 8, 8, 1))
    one = adjax.detector_from(
        mean_and_class, {}, "score", images, np.arange(60) % classes, held_out=images, classes=["low", "high"][:classes]
    )
    said = jax.device_get(predict_batch(one, images[10:40]))
    wanted = np.where(levels[10:40] > 50, 0, 1) if classes == 2 else np.full(30, -1)
    np.testing.assert_array_equal(said["nearest"], wanted)
    np.testing.assert_allclose(said["probability"], levels[10:40] / 255, rtol=1e-6)  # its own, not 1 − p


def test_without_held_out_images_there_are_no_p_values(detector, tmp_path, folder):
    dataclasses.replace(detector, calibration_scores=jnp.zeros(0)).save(tmp_path / "d")
    assert run(tmp_path / "d", folder, "--out", tmp_path / "s.jsonl") == 0
    assert {(row["p_value"], row["probability"]) for row in table(tmp_path / "s.jsonl")} == {(None, None)}
    assert run(tmp_path / "d", folder, "--out", tmp_path / "t.jsonl", "--submission", tmp_path / "x.csv") == 1


def test_a_score_that_is_not_finite_is_flagged(detector, tmp_path):
    nan = jax.tree.map(lambda x: x * np.nan, detector.params)
    said = predict_batch(dataclasses.replace(detector, params=nan), np.zeros((1, *SHAPE), np.uint8))
    (row,) = stream._rows(detector.spec, None, Folder(tmp_path), None, ["a"], [upload.Header(8, 8, 1, "L")], said)
    assert (row.score, row.decision, row.nearest_class) == (None, "anomalous", None)  # it is near to none


@pytest.mark.parametrize("sign", [1, -1])
def test_logits_that_are_no_numbers_name_no_class(sign):
    """`argmax` would take the class whose logit is NaN."""
    nan = jnp.copysign(jnp.nan, sign)

    def mean_and_class(params, images):
        mean = images.mean((1, 2, 3))
        return {"score": mean, "logits": jnp.stack([mean, jnp.where(mean > 200, nan, 100 - mean)], 1)}

    levels = np.arange(0, 240, 4, np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (60, 8, 8, 1))
    one = adjax.detector_from(mean_and_class, {}, "score", images, np.arange(60) % 2, classes=["low", "high"])
    wanted = np.where(levels > 200, -1, np.where(levels >= 50, 0, 1))
    np.testing.assert_array_equal(predict_batch(one, images)["nearest"], wanted)
    np.testing.assert_array_equal(one.classify(images), wanted)


def test_the_threshold_can_be_chosen(saved, detector, folder, tmp_path):
    assert run(saved, folder, "--out", tmp_path / "s.jsonl", "--false-positive-rate", 0.1) == 0
    wanted = float(detector.with_false_positive_rate(0.1).threshold)
    assert {row["threshold"] for row in table(tmp_path / "s.jsonl")} == {wanted}
    assert run(saved, folder, "--out", tmp_path / "t.jsonl", "--false-positive-rate", 0.001) == 1  # 999 are needed


# --- names ---

ODD_NAMES = [
    b"<img src=x onerror=1>.png",
    b"new\nline\r.png",
    b"\xff\xfe.png",
    b"=1+1.png",
    b'quote",.png',
    "é→.png".encode(),
]


def test_odd_names_are_rows(saved, tmp_path):
    root = tmp_path / "odd"
    picture = save(root / "x.png", np.zeros((8, 8), np.uint8)).read_bytes()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(picture)
    wanted = sorted(["x.png", *(name.decode("utf-8", "backslashreplace") for name in ODD_NAMES)])
    for suffix in ("csv", "jsonl", "parquet"):
        out = tmp_path / f"s.{suffix}"
        assert run(saved, root, "--out", out, "--submission", tmp_path / "sub.csv") == 0
        paths = [row["path"] for row in table(out)]
        assert sorted(path.removeprefix("./") for path in paths) == wanted
        assert {row["status"] for row in table(out)} == {"ok"}
        assert run(saved, root, "--out", out) == 0  # the journal knows them all again
        assert len(table(out)) == len(wanted)
    assert "./=1+1.png" in [row["path"] for row in table(tmp_path / "s.csv")]
    assert len(table(tmp_path / "sub.csv")) == len(wanted)


def test_a_name_can_not_command_a_terminal():
    assert upload.line("a\x1b[2J\n\udcff.png") == r"a\x1b[2J\n\xff.png"


def test_links_hidden_files_and_pipes_are_passed_over(saved, folder, tmp_path):
    outside = save(tmp_path / "outside" / "far.png", np.zeros((8, 8), np.uint8))
    (folder / "link.png").symlink_to(outside)
    (folder / "ring").symlink_to(folder)
    (folder / "away").symlink_to(outside.parent)
    save(folder / ".hidden.png", np.zeros((8, 8), np.uint8))
    save(folder / ".cache" / "a.png", np.zeros((8, 8), np.uint8))
    os.mkfifo(folder / "pipe.png")  # reading it would never end
    shutil.copy(outside, folder / "upload_17")
    (folder / "notes.txt").write_text("no picture")
    found = walk.find(folder)
    assert len(found.names) == 20
    assert found.passed_over == {"symbolic links": 3, "hidden": 2, "no file": 1, "no extension": 1, ".txt": 1}
    assert set(walk.find(folder, hidden=True).names) - set(found.names) == {".hidden.png", ".cache/a.png"}
    assert set(walk.find(folder, links=True).names) - set(found.names) == {"link.png", "away/far.png"}
    assert set(walk.find(folder, any_name=True).names) - set(found.names) == {"notes.txt", "upload_17"}
    assert run(saved, folder, "--out", tmp_path / "s.jsonl", "--any-name", "--follow-links") == 0
    by_path = {row["path"]: row for row in table(tmp_path / "s.jsonl")}
    assert by_path["upload_17"]["status"] == "ok"
    assert by_path["notes.txt"]["status"] == "error"


def test_deep_folders_are_walked(tmp_path):
    deep = tmp_path
    for _ in range(1200):  # deeper than Python calls
        deep = deep / "d"
        deep.mkdir()
    (deep / "a.png").touch()
    assert walk.find(tmp_path).names == ["d/" * 1200 + "a.png"]
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)  # deeper than pytest clears


def test_a_folder_that_can_not_be_listed_is_a_row(saved, folder, tmp_path, monkeypatch):
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", forbidden)
    for _ in range(2):  # a restart doesn't repeat it
        assert run(saved, folder, "--out", tmp_path / "s.jsonl") == 0
        rows = table(tmp_path / "s.jsonl")
        assert [row["path"] for row in rows if row["status"] == "error"] == ["a/"]
        assert rows[-1]["error"] == "can't be listed: Permission denied"
        assert len(rows) == 11


# --- damaged and hostile files ---


def hostile(rng, number):
    """The bytes of a file that may be anything."""
    import io

    mode = ["L", "RGB", "RGBA", "P", "1", "CMYK", "LA", "I;16"][number % 8]
    kinds = {"CMYK": ["JPEG", "TIFF"], "LA": ["PNG"], "I;16": ["PNG", "TIFF"], "RGBA": ["PNG", "WEBP", "TIFF"]}
    kind = rng.choice(
        kinds.get(mode, ["PNG", "GIF", "BMP", "TIFF"] if mode != "RGB" else ["JPEG", "PNG", "WEBP", "PPM"])
    )
    size = tuple(int(x) for x in rng.integers(1, 40, 2))
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size, np.uint16))
    else:
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).convert("L" if mode == "LA" else mode)
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    content = bytearray(buffer.getvalue())
    match number % 5:
        case 0:  # cut short
            return bytes(content[: int(rng.integers(0, len(content)))])
        case 1:  # flipped bytes
            for at in rng.integers(0, len(content), 1 + len(content) // 50):
                content[at] = rng.integers(0, 256)
            return bytes(content)
        case 2:  # noise behind a true beginning
            return bytes(content[:16]) + rng.bytes(300)
        case 3:  # a claim of many pixels
            side = int(rng.integers(5_000, 2**31))
            return png(side, side, 8, int(rng.choice([0, 2, 3, 6])), rng.bytes(20))
    return bytes(content)  # whole, in an odd mode


@pytest.mark.parametrize("count", [*daily([280, 1000], 280)])  # each mode in each way broken, seven times or 25
def test_as_many_hostile_files_are_as_many_rows(saved, tmp_path, count):
    rng, root = np.random.default_rng(0), tmp_path / "hostile"
    root.mkdir()
    suffixes = (".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".heic")
    for number in range(count):
        (root / f"{number:04}{suffixes[number % 7]}").write_bytes(hostile(rng, number))
    assert run(saved, root, "--out", tmp_path / "s.jsonl") == 0
    rows = table(tmp_path / "s.jsonl")
    assert [int(row["path"][:4]) for row in rows] == list(range(count))
    for row in rows:
        if row["status"] == "ok":
            assert np.isfinite(row["score"])
            assert row["decision"] in ("normal", "anomalous")
        else:
            assert 0 < len(row["error"]) <= 300
            assert "\n" not in row["error"]
            assert row["score"] is row["decision"] is None
    by_kind = [[row["status"] for row in rows[kind::5]] for kind in range(5)]
    assert set(by_kind[3]) == {"error"}  # bombs
    assert set(by_kind[4]) == {"ok"}  # whole files, whatever their mode and extension
    assert by_kind[0].count("error") > 0.75 * count / 5


# --- going on ---


def test_a_restart_scores_only_what_is_new(saved, folder, tmp_path, monkeypatch):
    out = tmp_path / "s.jsonl"
    assert run(saved, folder, "--out", out, "--no-report") == 0
    before = table(out)
    read, seen = upload.read, []
    monkeypatch.setattr(stream.upload, "read", lambda path, *a, **k: (seen.append(path.name), read(path, *a, **k))[1])
    save(folder / "a" / "new.png", np.zeros((8, 8), np.uint8))
    assert run(saved, folder, "--out", out, "--no-report") == 0
    assert seen == ["new.png"]
    assert table(out)[:-1] == before
    assert table(out)[-1]["path"] == "a/new.png"
    seen.clear()
    assert run(saved, folder, "--out", out, "--no-report", "--fresh") == 0
    assert len(seen) == len(table(out)) == 21


@pytest.mark.parametrize("suffix", ["csv", *(pytest.param(s, marks=pytest.mark.slow) for s in ("jsonl", "parquet"))])
def test_ctrl_c_leaves_a_valid_table_and_a_restart_finishes_it(saved, folder, tmp_path, monkeypatch, suffix):
    whole = tmp_path / f"whole.{suffix}"
    assert run(saved, folder, "--out", whole, "--batch-size", 4) == 0
    out, append = tmp_path / f"s.{suffix}", ResumeLog.append

    def interrupted(self, rows):
        append(self, rows)
        ResumeLog.append = append  # once
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ResumeLog, "append", interrupted)
        assert run(saved, folder, "--out", out, "--batch-size", 4) == 130
    assert 0 < len(table(out)) < 20
    assert run(saved, folder, "--out", out, "--batch-size", 4) == 0
    assert table(out) == table(whole)


def test_a_line_cut_short_by_a_kill_is_written_again(saved, folder, tmp_path):
    out, journal = tmp_path / "s.jsonl", tmp_path / "s.jsonl.journal"
    assert run(saved, folder, "--out", out) == 0
    whole = table(out)
    journal.write_bytes(journal.read_bytes()[:-25])
    assert run(saved, folder, "--out", out) == 0
    assert table(out) == whole
    journal.write_bytes(journal.read_bytes()[:30])  # killed as it began
    assert run(saved, folder, "--out", out) == 0
    assert table(out) == whole


def test_another_detector_folder_or_threshold_is_refused(saved, detector, folder, tmp_path, capsys):
    out = tmp_path / "s.csv"
    assert run(saved, folder, "--out", out) == 0
    before = out.read_bytes()
    renamed = dataclasses.replace(detector.spec, classes=("x", "y"))
    dataclasses.replace(detector, spec=renamed).save(tmp_path / "other")
    for arguments, reason in (
        ((tmp_path / "other", folder), "was begun with detector"),
        ((saved, folder / "a"), "was begun with folder"),
        ((saved, folder, "--false-positive-rate", 0.1), "was begun with threshold"),
    ):
        assert run(*arguments, "--out", out) == 1
        assert reason in capsys.readouterr().err
    assert out.read_bytes() == before
    assert run(tmp_path / "other", folder, "--out", out, "--fresh") == 0


def test_other_peoples_files_are_not_overwritten(saved, folder, tmp_path, capsys):
    out, journal = tmp_path / "s.csv", tmp_path / "s.csv.journal"
    out.write_text("mine")
    assert run(saved, folder, "--out", out) == 1
    assert out.read_text() == "mine"
    out.unlink()
    for content in ("mine", '{"mine": 1}\n', '["mine"]\n'):
        journal.write_text(content)
        assert run(saved, folder, "--out", out) == 1
        assert journal.read_text() == content
    capsys.readouterr()
    with ResumeLog(tmp_path / "two.journal", {}), pytest.raises(DataError, match="written by another process"):
        ResumeLog(tmp_path / "two.journal", {})


def test_flagged_files_are_copied(saved, folder, tmp_path):
    rng = np.random.default_rng(3)
    save(folder / "a" / "odd.png", rng.integers(0, 2, (8, 8), np.uint8) * np.uint8(255))
    (folder / "a" / "bad.png").write_bytes(b"")
    out, flagged = tmp_path / "s.jsonl", tmp_path / "flagged"
    assert run(saved, folder, "--out", out, "--copy-flagged", flagged) == 0
    wanted = {row["path"] for row in table(out) if row["decision"] == "anomalous"}
    assert "a/odd.png" in wanted
    assert {str(p.relative_to(flagged)) for p in flagged.rglob("*.png")} == wanted
    assert (flagged / "a" / "odd.png").read_bytes() == (folder / "a" / "odd.png").read_bytes()
    assert run(saved, folder, "--out", tmp_path / "t.csv", "--copy-flagged", folder / "flagged") == 1


def test_a_copy_that_can_not_be_made_is_told_and_the_others_are_made(saved, folder, tmp_path, capsys):
    out, first, second = tmp_path / "s.csv", tmp_path / "first", tmp_path / "second"
    assert run(saved, folder, "--out", out, "--copy-flagged", first) == 0
    copied = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    (second / copied[0]).mkdir(parents=True)
    capsys.readouterr()
    assert run(saved, folder, "--out", out, "--copy-flagged", second, "--fresh") == 0
    assert f"1 flagged files can't be copied: {copied[0]} (Is a directory)" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file()) == copied[1:]
    assert run(saved, folder, "--out", out, "--copy-flagged", tmp_path / "third") == 0
    assert "copies are made of what is scored now; of all by --fresh" in " ".join(capsys.readouterr().out.split())


def test_a_source_without_pictures_is_told_with_what_to_name(saved, folder, tmp_path, capsys):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes(b"")
    for source, said in (
        (tmp_path / "shards", "'" + str(tmp_path / "shards") + "/*.tar'"),
        (f"{tmp_path}/shards/*", "'FOLDER/*.tar'"),
        (f"{folder}/*.nothing", "no picture file fits"),
    ):
        assert run(saved, source, "--out", tmp_path / "n.csv") == 1
        assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "n.csv").exists()


def test_the_submission_has_a_probability_for_every_file(saved, detector, folder, tmp_path):
    (folder / "b" / "bad.png").write_bytes(b"")
    out, answer = tmp_path / "s.jsonl", tmp_path / "answer.csv"
    assert run(saved, folder, "--out", out, "--submission", answer) == 0
    rows = table(answer)
    assert list(rows[0]) == ["file", "probability"]
    assert [row["file"] for row in rows] == [row["path"] for row in table(out)]
    by_name = {row["file"]: float(row["probability"]) for row in rows}
    assert by_name["b/bad.png"] == 1
    image = np.asarray(Image.open(folder / "a" / "00.png"))[None, ..., None]
    assert by_name["a/00.png"] == pytest.approx(1 - float(detector.p_value(image)[0]))


def test_the_networks_own_probability_goes_before_a_p_value():
    row = stream.Prediction("a.png", "ok", p_value=0.46, decision="normal")
    assert row.evidence == pytest.approx(0.54)
    assert row._replace(probability=0.1).evidence == 0.1
    assert stream.Prediction("a.png", "error", "no picture").evidence == 1


def test_a_format_that_can_not_be_written_is_said_first(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install .*\[parquet\]'"):
        writers.check(tmp_path / "s.parquet")
    with pytest.raises(DataError, match=r"\.csv, \.jsonl, \.parquet"):
        writers.check(tmp_path / "s.xlsx")


def test_memory_is_a_window_whatever_the_number_of_files(detector, folder, monkeypatch):
    """No file is decoded before all but WINDOW batches ahead of it are taken."""
    decoded, read = [], upload.read
    monkeypatch.setattr(stream.upload, "read", lambda path, *a, **k: (decoded.append(path), read(path, *a, **k))[1])
    names = [f"a/{i:02}.png" for i in range(0, 20, 2)] * 20
    drawn = []
    taken = 0
    for rows in stream.rows(detector, Folder(folder), (drawn.append(n) or n for n in names), batch_size=4):
        taken += len(rows)
        assert len(decoded) <= len(drawn) <= taken + (stream.WINDOW + 1) * 4
    assert taken == len(names)


def test_help_teaches_by_examples(capsys):
    for command in ("train", "predict", "doctor"):
        with pytest.raises(SystemExit):
            __main__.main([command, "--help"])
        text = capsys.readouterr().out
        assert "examples:" in text
        assert text.count(f"python -m adjax {command} ") >= 2


# --- slow ---


@pytest.mark.slow
def test_a_hundred_thousand_files_in_flat_memory(saved, tmp_path):
    """Hard links to a few pictures; stopped by Ctrl-C, gone on with, at a steady rate."""
    root, rng = tmp_path / "many", np.random.default_rng(0)
    originals = [save(tmp_path / f"{i}.png", rng.integers(0, 256, (28, 28), np.uint8)) for i in range(7)]
    for part in range(100):
        (root / f"{part:03}").mkdir(parents=True)
        for i in range(1000):
            os.link(originals[i % 7], root / f"{part:03}" / f"{i:04}.png")
    out = tmp_path / "s.parquet"
    command = [sys.executable, "-m", "adjax", "predict", str(saved), str(root), "--out", str(out)]
    samples = []  # (bytes in the journal, resident bytes, seconds)

    def watched(stop_at):
        journal, began = tmp_path / "s.parquet.journal", time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                time.sleep(0.25)
                status = Path(f"/proc/{process.pid}/statm")
                if not status.exists() or not journal.exists():
                    continue
                written = journal.stat().st_size
                samples.append((written, int(status.read_text().split()[1] or 0) * 4096, time.perf_counter() - began))
                if stop_at is not None and written > stop_at:
                    process.send_signal(signal.SIGINT)
                    stop_at = None
            return process.wait(), process.stdout.read()

    assert watched(4_000_000)[0] == 130
    done = pyarrow.parquet.read_table(out).num_rows
    assert 10_000 < done < 100_000
    samples.clear()
    code, said = watched(None)
    assert code == 0
    assert pyarrow.parquet.read_table(out).num_rows == 100_000
    assert f"{done:,} of them done before" in said
    whole = max(written for written, _, _ in samples)
    scoring = [s for s in samples if samples[0][0] + 500_000 < s[0] < whole and s[1]]  # warm, and not over
    memory = [resident / 2**20 for _, resident, _ in scoring]
    first, middle, last = scoring[0], scoring[len(scoring) // 2], scoring[-1]
    rates = [(b[0] - a[0]) / (b[2] - a[2]) for a, b in ((first, middle), (middle, last))]
    print(
        said,
        f"memory {min(memory):.0f} to {max(memory):.0f} MiB; journal {rates[0]:,.0f}, then {rates[1]:,.0f} bytes/s",
    )
    assert max(memory) - min(memory) < 30
    assert 0.4 < rates[0] / rates[1] < 2.5
