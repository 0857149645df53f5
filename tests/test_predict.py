"""`python -m adjax predict`: what a row says, and what is made of rows."""

from __future__ import annotations

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import predicting
import pytest
from picture_files import save
from PIL import Image
from predicting import SHAPE, run, table

import adjax
from adjax import __main__, thresholds
from adjax.data import DataError
from adjax.data.io import upload
from adjax.data.io.sources.folder import Folder
from adjax.predict import stream, writers
from adjax.predict.batch import predict_batch
from adjax.spec import resolve

pytestmark = pytest.mark.usefixtures("process_as_it_was")


detector, folder, saved = predicting.detector, predicting.folder, predicting.saved


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


def test_the_drawn_head_of_a_network_that_is_not_trained_names_no_class():
    images = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 1), np.uint8)
    options = {"method": "gmm", "model": "squeezenet", "weights": "random", "false_positive_rate": 0.1}
    knn = adjax.train_detector(images, ["a", "b"] * 12, scorer="knn", **options)
    assert knn.outputs(images[:1])["logits"].shape == (1, 2)
    assert (np.asarray(predict_batch(knn, images)["nearest"]) == -1).all()


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
    rate = "--false-positive-rate", "0.2"
    assert run(saved, folder, "--out", out, "--copy-flagged", first, *rate) == 0
    copied = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    (second / copied[0]).mkdir(parents=True)
    capsys.readouterr()
    assert run(saved, folder, "--out", out, "--copy-flagged", second, "--fresh", *rate) == 0
    assert f"1 flagged files can't be copied: {copied[0]} (Is a directory)" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file()) == copied[1:]
    assert run(saved, folder, "--out", out, "--copy-flagged", tmp_path / "third", *rate) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "copies are made of what is scored now; of all by --fresh" in told
    assert f"no files are copied to {tmp_path / 'third'}: nothing is flagged of what was scored now" in told
    assert "flagged files" not in told
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--workers", "3"), ("--ray-address", "1.2.3.4:5"), ("--worker-cpus", "2"), ("--worker-gpus", "1")],
)
def test_an_option_of_a_cluster_is_refused_without_one(saved, folder, tmp_path, capsys, option, value):
    assert run(saved, folder, "--out", tmp_path / "s.csv", option, value) == 1
    assert f"{option} {value}" in (said := capsys.readouterr().err)
    assert "add --engine ray, or leave it out" in said


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
