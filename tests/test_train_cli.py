"""`python -m adjax train`: who is normal in a folder, what is trained and why, and what the threshold promises."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import signal
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import adjax
from adjax import __main__, metrics, surface
from adjax.auto import fit, page, plan, record, scan_folder
from adjax.auto.plan import UserChoices
from adjax.cli import train
from adjax.data import DataError, gather
from adjax.data.upload import Header
from adjax.models import weights
from adjax.models._read_torch import WeightsError
from adjax.report import card

QUICK = ("--method", "hog_ocsvm", "--side-px", "8")


pytestmark = pytest.mark.usefixtures("process_as_it_was")


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def stripes(rng, turned=False):
    """Eight pixels a side: lines down, or across."""
    picture = np.tile(rng.permutation([40, 90, 140, 190, 240, 10, 60, 110]), (8, 1)) + rng.integers(0, 5, (8, 8))
    return picture.T if turned else picture


def fill(folder, count, turned=False, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(count):
        save(folder / f"{i:03}.png", stripes(rng, turned))
    return folder


def run(*arguments) -> int:
    return __main__.main(["train", *map(str, arguments)])


# --- who is normal ---


def names(files, root):
    return sorted(str(file.relative_to(root)) for file in files)


def picture_at(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_flat_folder_is_normal(tmp_path):
    picture_at(tmp_path, "a.png", "sub/b.jpg", ".hidden.png", "notes.txt")
    found = scan_folder.of_folder(tmp_path)
    assert names(found.files, tmp_path) == ["a.png", "sub/b.jpg"]
    assert found.classes == ("normal",)
    assert found.test_normal == found.test_anomalous == []


def test_class_folders_are_classes_unless_they_are_not(tmp_path):
    picture_at(
        tmp_path, "cat/a.png", "cat/more/b.png", "dog/c.png", "anomalous/x.png", "test/dog/d.png", "test/car/e.png"
    )
    found = scan_folder.of_folder(tmp_path)
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 0, 1]
    assert names(found.test_normal, tmp_path) == ["test/dog/d.png"]
    assert names(found.test_anomalous, tmp_path) == ["anomalous/x.png", "test/car/e.png"]
    one = scan_folder.of_folder(tmp_path, one_class=True)
    assert one.classes == ("normal",)
    assert one.labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize("normal", ["normal", "train"])
def test_named_subfolders(tmp_path, normal):
    picture_at(
        tmp_path, f"{normal}/good/a.png", f"{normal}/good/b.png", "test/good/c.png", "test/crack/d.png", "stray.png"
    )
    found = scan_folder.of_folder(tmp_path)
    assert names(found.files, tmp_path) == [f"{normal}/good/a.png", f"{normal}/good/b.png"]
    assert names(found.test_normal, tmp_path) == ["test/good/c.png"]
    assert names(found.test_anomalous, tmp_path) == ["test/crack/d.png"]


def test_a_table_of_labels(tmp_path):
    for i in range(6):
        save(tmp_path / "train" / f"{i}.png", np.full((4, 4), i))
    table = tmp_path / "train.csv"
    table.write_text("file,label\n" + "\n".join(f"{i},{int(i > 3)}" for i in range(6)))
    found = scan_folder.of_table(table)
    assert names(found.files, tmp_path) == [f"train/{i}.png" for i in range(4)]
    assert names(found.test_anomalous, tmp_path) == ["train/4.png", "train/5.png"]
    assert scan_folder.of_table(table, ["1"]).labels.tolist() == [0, 0]
    with pytest.raises(DataError, match=r"--normal 7: the labels of .* are 0, 1"):
        scan_folder.of_table(table, ["7"])
    save(tmp_path / "test" / "9.png", np.zeros((4, 4)))
    save(tmp_path / "test" / "8.png", np.zeros((4, 4)))
    (tmp_path / "test.csv").write_text("file,label\n9,0\n8,1\n")
    found = scan_folder.of_table(table)
    assert names(found.test_normal, tmp_path) == ["test/9.png"]
    assert names(found.test_anomalous, tmp_path) == ["test/8.png"]
    table.write_text("file,label\n" + "\n".join(f"{i},{'xyz'[i % 3]}" for i in range(6)))
    assert scan_folder.of_table(table).classes == ("x", "y", "z")


def test_nothing_to_learn_from_is_said(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        scan_folder.of_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no pictures: put normal ones there"):
        scan_folder.of_folder(tmp_path)


# --- what is trained ---

SMALL = [Header(28, 28, 1, "L")] * 1000
LARGE = [Header(300, 400, 3, "RGB")] * 1000


@pytest.fixture
def published(monkeypatch):
    """Weights that need no file, and a switch for a machine that has no way to any."""
    found = weights.resolve("random", "efficientnet_lite0")._replace(source="published")
    have = {"any": True}

    def resolve(spec, model):
        if not have["any"]:
            raise WeightsError("no way to the weights. Choices: a file")
        return found

    monkeypatch.setattr(weights, "resolve", resolve)
    return have


@pytest.mark.parametrize(
    ("headers", "classes", "method", "model", "size"),
    [
        (SMALL[:999], 1, "gmm", "efficientnet_lite0", (28, 28)),
        (SMALL[:999], 3, "gmm", "efficientnet_lite0", (28, 28)),
        (SMALL, 1, "autoencoder", "conv_autoencoder", (28, 28)),
        (SMALL, 3, "centerloss", "lenet5", (28, 28)),
        (LARGE, 1, "gmm", "efficientnet_lite0", (224, 288)),
        (LARGE[:60], 1, "gmm", "efficientnet_lite0", (224, 288)),
    ],
)
def test_the_choice_follows_the_data_and_is_explained(published, headers, classes, method, model, size):
    chosen = plan.choose(headers, classes, UserChoices())
    assert (chosen.method, chosen.model) == (method, model)
    assert chosen.shape == (*size, headers[0].channels)
    assert (chosen.pretrained is not None) == (method == "gmm")
    assert chosen.scorer == ("mahalanobis" if method == "gmm" and classes > 1 else None)
    assert "few" in chosen.why[0] if len(headers) < 1000 else "few" not in chosen.why[0]


def test_without_weights_there_is_a_way_and_it_is_said(published):
    published["any"] = False
    few = plan.choose(SMALL[:60], 1, UserChoices())
    assert (few.method, few.model, few.pretrained) == ("hog_ocsvm", "hog", None)
    assert "NO PRE-TRAINED WEIGHTS" in few.why[0]
    many = plan.choose(LARGE, 1, UserChoices())
    assert (many.method, many.shape) == ("autoencoder", (64, 64, 3))
    with pytest.raises(WeightsError):
        plan.choose(SMALL[:60], 1, UserChoices(weights="mine.h5"))


def test_the_reason_names_what_is_fitted_and_to_what():
    (why,) = (w for w in plan.choose(SMALL[:60], 1, UserChoices(scorer="knn", weights="random")).why if "few" in w)
    assert "an UNTRAINED network's features and scorer knn" in why


def test_pictures_are_taken_whole_in_their_own_proportions(published):
    long = plan.choose([Header(512, 2048, 1, "L")] * 20, 1, UserChoices())
    assert long.shape == (128, 512, 1)
    assert long.recipe.frame == "whole"
    assert plan.choose([Header(100, 20_000, 3, "RGB")] * 20, 1, UserChoices(side_px=64)).shape == (64, 64, 3)
    assert plan.choose([Header(100, 20_000, 3, "RGB")] * 20, 1, UserChoices(side_px=128)).shape == (64, 256, 3)  # 4 : 1


def test_what_was_asked_for_is_taken(published):
    chosen = plan.choose(LARGE, 1, UserChoices("deep_svdd", None, "knn", 32))
    assert (chosen.method, chosen.model, chosen.scorer, chosen.shape) == ("deep_svdd", "svdd_lenet", "knn", (32, 32, 3))
    with pytest.raises(DataError, match="give them as labels, at least 2"):
        plan.choose(SMALL, 1, UserChoices("centerloss"))
    with pytest.raises(DataError, match=r"at least 8 are needed, enlarge them$"):
        plan.choose(SMALL, 1, UserChoices("autoencoder", side_px=4))


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (lambda: plan.choose(SMALL, 1, UserChoices("autoencoder", side_px=4)), "--side-px 8 or more"),
        (lambda: plan.choose(SMALL, 1, UserChoices("centerloss")), "as subfolders or as labels of --labels"),
        (lambda: plan.choose(SMALL, 1, UserChoices("autoencoder", weights="w")), "--weights w: "),
        (lambda: fit.hold_out(np.zeros(100, int), 0.01, 0), "--false-positive-rate 0.015"),
        (lambda: fit.hold_out(np.arange(60) // 59, 0.05, 0), "--one-class"),
        (lambda: weights.resolve("/no", "vgg16"), "--weights FILE, a .safetensors"),
    ],
)
def test_a_refusal_is_in_the_words_of_who_reads_it(refused, said):
    with pytest.raises(ValueError, match=re.escape(said)), surface.command_line():
        refused()
    with pytest.raises(ValueError, match=r"^((?!--[a-z]+-|--weights|--labels).)*$"):
        refused()


def test_one_coloured_picture_makes_the_detector_see_colours(published):
    mixed = [*SMALL[:80], Header(28, 28, 3, "RGB")]
    assert any("80 of 81 pictures are grey, and become RGB" in why for why in plan.choose(mixed, 1, UserChoices()).why)
    assert plan.choose(mixed, 1, UserChoices()).shape == (28, 28, 3)


# --- what is promised ---


@pytest.mark.parametrize(("n", "alpha", "count"), [(50, 0.05, 20), (100, 0.05, 20), (1000, 0.05, 200), (200, 0.01, 99)])
def test_as_many_are_held_out_as_the_promise_takes(n, alpha, count):
    parts = fit.hold_out(np.zeros(n, int), alpha, seed=0)
    assert len(parts.held_out) == count
    assert sorted([*parts.train, *parts.held_out]) == list(range(n))
    assert count >= 1 / alpha - 1


def test_many_small_classes_keep_the_promise_too():
    labels = np.arange(96) % 8  # a class's share of 20 is 2.5, and 8 × 2 would be too few
    parts = fit.hold_out(labels, 0.05, seed=0)
    assert len(parts.held_out) >= 19
    assert set(labels[parts.train]) == set(labels)


@pytest.mark.parametrize(
    ("labels", "alpha", "why"),
    [
        (
            np.zeros(49, int),
            0.05,
            "49 normal images .* at least 50 are needed, .* or 10 where the network is not trained",
        ),
        (
            np.zeros(100, int),
            0.01,
            r"takes 99 held-out images, and of 100 only 70 can be spared.*false_positive_rate=0\.015",
        ),
        (np.zeros(100, int), 1.5, "must lie between 0 and 1"),
        (np.arange(60) // 59, 0.05, "a class of 1 image"),
    ],
)
def test_a_promise_that_can_not_be_kept_is_refused(labels, alpha, why):
    with pytest.raises(DataError, match=why):
        fit.hold_out(labels, alpha, seed=0)


@pytest.mark.parametrize(("n", "alpha", "crossed"), [(49, 0.05, True), (50, 0.05, False), (50, 0.04, True)])
def test_a_frozen_network_is_cross_fitted_where_too_few_can_be_held_out(n, alpha, crossed):
    parts = fit.hold_out(np.zeros(n, int), alpha, seed=0, frozen=True)
    assert parts.crossed == crossed
    assert parts.calibrating == (n if crossed else 20)
    assert sorted([*parts.train, *parts.held_out]) == list(range(n))
    assert ("about" if crossed else "at most") in parts.promise(alpha)
    if not crossed:  # as if it were trained
        np.testing.assert_array_equal(parts.train, fit.hold_out(np.zeros(n, int), alpha, seed=0).train)


@pytest.mark.parametrize(
    ("n", "copies", "why"),
    [
        (9, 0, "9 normal images that can be read: at least 50 are needed"),
        (12, 3, "9 different normal images that can be read beside 3 copies"),
        (18, 0, r"takes 19 different images to cross-fit, and there are 18: .* false_positive_rate=0\.053"),
        (30, 15, r"there are 15: .* false_positive_rate=0\.063"),
    ],
)
def test_what_few_images_can_not_promise_is_refused(n, copies, why):
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 1), np.uint8)
    images[n - copies :] = images[:copies]
    with pytest.raises(DataError, match=why):
        fit.hold_out(np.zeros(n, int), 0.05, 0, images, frozen=True)
    with pytest.raises(DataError, match="at least 50 are needed"):
        fit.hold_out(np.zeros(n, int), 0.05, 0, images)


def test_copies_of_a_picture_are_held_out_together(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
    alone = fit.hold_out(np.zeros(100, int), 0.05, seed=0)
    same = fit.hold_out(np.zeros(100, int), 0.05, seed=0, images=images)
    assert same.copies == 0
    np.testing.assert_array_equal(same.held_out, alone.held_out)
    images[50:] = images[:50]
    parts = fit.hold_out(np.zeros(100, int), 0.05, seed=0, images=images)
    assert parts.copies == 50
    assert len(parts.held_out) == 20
    assert not set(parts.held_out % 50) & set(parts.train % 50)
    images[:] = images[:1]
    with pytest.raises(DataError, match="1 different normal images that can be read beside 99 copies"):
        fit.hold_out(np.zeros(100, int), 0.05, seed=0, images=images)


# --- end to end ---


def test_fifty_pictures_make_a_detector(tmp_path, capsys):
    root = tmp_path / "stripes"
    fill(root / "normal", 50)
    fill(root / "anomalous", 30, turned=True, seed=1)
    fill(root / "mask", 2)
    (root / "normal" / "bad.png").write_bytes(b"")
    (root / "normal" / "cut.png").write_bytes((root / "normal" / "000.png").read_bytes()[:60])
    out = tmp_path / "out"
    assert run(root, "--out", out, *QUICK) == 0
    said = capsys.readouterr().out
    for part in (
        "52 pictures in",
        "(normal/), taken as normal; 30 in anomalous/ taken as anomalies, to evaluate on",
        "skipped: masks 2",
        "trains hog_ocsvm + hog",
        "to choose otherwise: --method",
        "2 pictures can't be read and are left out",
        "bad.png: the file is empty",
        "at most 5.00% of normal images like these",
        "20 held out, which could promise 4.76%",
        "against 30 anomalies, the held-out 20 normal images",
        "AUROC 1.0000",
        f"python -m adjax predict {out}",
    ):
        assert part in said, part
    detector = adjax.load(out)
    images, rows, _ = gather.images(sorted((root / "normal").iterdir()), (8, 8, 1))
    kept = json.loads((out / record.NAME).read_text())
    assert (len(kept["held_out"]), len(kept["trained_on"]), len(kept["unreadable"])) == (20, 30, 2)
    assert not set(kept["held_out"]) & set(kept["trained_on"])
    assert kept["passed_over"] == {"masks": 2}
    held_out, _, _ = gather.images([Path(name) for name in kept["held_out"]], (8, 8, 1))
    np.testing.assert_allclose(np.sort(detector.score(held_out)), detector.calibration_scores, rtol=1e-6)
    assert np.mean(detector.predict(held_out)) <= 0.05
    assert len(rows) == len(images) == 50
    assert card.speaks_of(out)
    assert "30 images, of normal" in (out / card.NAME).read_text()
    text = (out / page.NAME).read_text(encoding="utf-8")
    assert 'AUROC</dt><dd class="value">1.0000</dd>' in text
    view = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])["views"][0]
    assert view["counts"] == [20, 30]
    assert view["heldOut"] is None  # they are the normal images shown
    of_kind = {p["name"].partition("/")[0]: p["truth"] for p in view["pictures"]}
    assert of_kind == {"normal": 0, "anomalous": 1}
    names = {Path(name).name for name in kept["held_out"]}
    assert {p["name"].partition("/")[2] for p in view["pictures"] if not p["truth"]} <= names
    assert run(root, "--out", out, *QUICK) == 0  # a detector is replaced
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    assert run(root, "--out", tmp_path / "other", *QUICK) == 1


def test_the_scorer_that_finds_most_is_trained_and_said(tmp_path, monkeypatch, capsys):
    """By pictures to learn from alone: those held out set the threshold."""
    fill(tmp_path / "stripes", 60)
    asked = []

    def refined(planned, images, labels, classes, seed):
        asked.append(len(images))
        return dataclasses.replace(planned, scorer="knn", scorer_options={}, selects=False, why=("knn finds most",))

    planned = plan.TrainingPlan("hog_ocsvm", "hog", None, (8, 8, 1), selects=True)
    monkeypatch.setattr(plan, "choose", lambda *args: planned)
    monkeypatch.setattr(train.select, "refined", refined)
    assert run(tmp_path / "stripes", "--out", tmp_path / "out") == 0
    assert asked == [40]
    assert "knn finds most" in capsys.readouterr().out
    assert adjax.load(tmp_path / "out").spec.scorer == "knn"


@pytest.mark.slow
def test_twelve_pictures_make_a_detector_that_says_what_it_can_promise(tmp_path, capsys):
    root = tmp_path / "stripes"
    fill(root / "normal", 12)
    fill(root / "anomalous", 10, turned=True, seed=1)
    out = tmp_path / "out"
    assert run(root, "--out", out, *QUICK) == 1
    told = capsys.readouterr().err
    assert "takes 19 different images to cross-fit, and there are 12" in told
    rate = re.search(r"--false-positive-rate ([\d.]+)", told)[1]
    assert rate == "0.077"
    assert run(root, "--out", out, *QUICK, "--scorer", "knn", "--false-positive-rate", rate) == 0
    said = capsys.readouterr().out
    for part in (
        "calibrated by 12 images",
        "about 7.70% of normal images like these will be flagged",
        "each of the 12 different images scored by a fit without it",
        "they could promise 7.69%",
        "against 10 anomalies, the cross-fitted 12 normal images",
    ):
        assert part in said, part
    kept = json.loads((out / record.NAME).read_text())
    assert kept["cross_fitted"]
    assert (len(kept["held_out"]), len(kept["trained_on"])) == (0, 12)
    assert "cross-fitted, each by a fit without it, n = 12); they can promise no less than 7.69%" in (
        out / card.NAME
    ).read_text(encoding="utf-8")
    assert len(adjax.load(out).calibration_scores) == 12


def test_what_is_passed_over_is_told_and_a_lone_class_is_named_before_decoding(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "set" / "down", 50)
    fill(tmp_path / "set" / "across", 1, turned=True)
    (tmp_path / "set" / "across" / "empty.png").write_bytes(b"")
    (tmp_path / "set" / "down" / "000_mask.png").write_bytes((tmp_path / "set" / "down" / "000.png").read_bytes())
    for name in (".hidden.png", "notes.txt"):
        (tmp_path / "set" / name).touch()
    monkeypatch.setattr(gather, "images", None)  # nothing is decoded
    assert run(tmp_path / "set", "--out", tmp_path / "d", *QUICK) == 1
    told = capsys.readouterr()
    assert "'across' has 1: give it more, take it out, or take all classes as one by --one-class" in told.err
    line = next(line for line in told.out.splitlines() if line.startswith("skipped: "))
    kinds = line.removeprefix("skipped: ").removesuffix("; masks say where, if anomalies have any").split(", ")
    assert sorted(kinds) == [".txt 1", "hidden 1", "masks 1"]


def test_too_few_or_too_broken_is_refused(tmp_path, capsys):
    fill(tmp_path / "few", 49)
    assert run(tmp_path / "few", "--out", tmp_path / "d", "--method", "autoencoder", "--side-px", "8") == 1
    assert "49 normal images that can be read: at least 50 are needed" in capsys.readouterr().err
    for i in range(60):
        (tmp_path / "few" / f"broken{i}.png").write_bytes(b"")
    assert run(tmp_path / "few", "--out", tmp_path / "d", *QUICK) == 1
    assert "60 of 109 pictures can't be read" in capsys.readouterr().err
    for i in range(49):
        (tmp_path / "few" / f"{i:03}.png").unlink()
    assert run(tmp_path / "few", "--out", tmp_path / "d", *QUICK) == 1
    assert "60 of 60 pictures can't be read, the first" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
def test_classes_are_learned_and_named(tmp_path):
    fill(tmp_path / "set" / "down", 40)
    fill(tmp_path / "set" / "across", 40, turned=True, seed=1)
    out = tmp_path / "d"
    assert run(tmp_path / "set", "--out", out, "--method", "centerloss", "--steps", 64) == 0
    detector = adjax.load(out)
    assert detector.spec.classes == ("across", "down")
    assert __main__.main(["predict", str(out), str(tmp_path / "set"), "--out", str(tmp_path / "s.csv")]) == 0
    with open(tmp_path / "s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row["path"].split("/")[0] == row["nearest_class"] for row in rows]
    assert np.mean(right) > 0.9
    images, _, _ = gather.images(scan_folder.of_folder(tmp_path / "set").files, (8, 8, 1))
    scores = {row["path"]: float(row["score"]) for row in rows}
    np.testing.assert_allclose([scores[name] for name in sorted(scores)], detector.score(images), rtol=1e-4, atol=1e-6)


def test_ctrl_c_keeps_nothing(tmp_path, monkeypatch, capsys):
    fill(tmp_path / "set", 50)

    def train(*_, stop, **__):
        stop.received = signal.SIGINT
        return "a detector", 0

    monkeypatch.setattr(fit, "train_one", train)
    assert run(tmp_path / "set", "--out", tmp_path / "d", "--method", "autoencoder") == 130
    assert "stopped; nothing was kept" in capsys.readouterr().out
    assert not (tmp_path / "d").exists()


@pytest.mark.slow
def test_ctrl_c_stops_a_training(tmp_path, monkeypatch):
    fill(tmp_path / "set", 50)
    advance = train.ImageProgress.advance

    def once(self, images):
        advance(self, images)
        monkeypatch.setattr(train.ImageProgress, "advance", advance)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train.ImageProgress, "advance", once)
    assert run(tmp_path / "set", "--out", tmp_path / "d", "--method", "autoencoder", "--steps", 500) == 130
    assert not (tmp_path / "d").exists()


# --- slow: real pictures ---


def auroc(path, anomalous):
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    truth = np.array([anomalous(row["path"]) for row in rows], int)
    return float(metrics.auroc(jnp.array([float(row["score"]) for row in rows]), truth))


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_faces_among_other_crops(tmp_path):
    from skimage import data, img_as_ubyte

    for i, face in enumerate(img_as_ubyte(data.lfw_subset())):
        save(
            tmp_path / "faces" / ("normal" if i < 70 else "test/normal" if i < 100 else "anomalous") / f"{i}.png", face
        )
    out = tmp_path / "d"
    assert run(tmp_path / "faces", "--out", out) == 0
    figures = json.loads((out / record.NAME).read_text())["figures"]
    print("faces", figures)
    assert figures["auroc"][0] > 0.85


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_photographs_among_textures(tmp_path):
    from experiments.textures import write

    write(tmp_path / "set")
    out = tmp_path / "d"
    assert run(tmp_path / "set", "--out", out) == 0
    figures = json.loads((out / record.NAME).read_text())["figures"]
    print("textures", figures)
    assert figures["auroc"][0] > 0.85
    assert figures["false_alarms"] < 0.12


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_mnist_as_files_is_mnist_as_arrays(tmp_path):
    """S4: zeros are normal; a CSV of labels beside PNG files; scored by `predict`, and from the arrays themselves."""
    train, test = adjax.data.load("mnist", "train"), adjax.data.load("mnist", "test")
    rows, count = ["file,label"], 0
    for i in range(len(train.images)):
        count += int(train.labels[i] != 0)
        if train.labels[i] == 0 or count <= 504:
            save(tmp_path / "set" / "train" / f"{i}.png", train.images[i, ..., 0])
            rows.append(f"{i},{int(train.labels[i] != 0)}")
    (tmp_path / "set" / "train.csv").write_text("\n".join(rows))
    for i in range(1070):
        save(tmp_path / "test" / f"{i:05}.png", test.images[i, ..., 0])
    out, scores = tmp_path / "d", tmp_path / "s.csv"
    assert run(tmp_path / "set", "--labels", tmp_path / "set" / "train.csv", "--out", out, "--steps", 1000) == 0
    answer = tmp_path / "answer.csv"
    assert (
        __main__.main(["predict", str(out), str(tmp_path / "test"), "--out", str(scores), "--submission", str(answer)])
        == 0
    )
    from_files = auroc(scores, lambda path: test.labels[int(path[:5])] != 0)
    images, truth = test.images[:1070], (test.labels[:1070] != 0).astype(int)
    from_arrays = float(metrics.auroc(adjax.load(out).score(images), truth))
    print("MNIST", from_files, from_arrays)
    assert from_files == pytest.approx(from_arrays, abs=1e-6)
    assert from_files > 0.98
    assert len(answer.read_text().splitlines()) == 1071
