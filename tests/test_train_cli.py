"""`python -m adjax train`: who is normal in a folder, and a folder to a detector, end to end."""

from __future__ import annotations

import base64
import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import adjax
from adjax import __main__, metrics, surface
from adjax.auto import fit, page, plan, record, scan_folder
from adjax.cli import train
from adjax.data import DataError
from adjax.data.io import gather
from adjax.pipeline import Recipe
from adjax.report import card

QUICK = ("--method", "hog_ocsvm", "--side-px", "8")


pytestmark = pytest.mark.usefixtures("process_as_it_was")


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


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


def test_a_table_that_lies_elsewhere_names_pictures_of_the_folder(tmp_path):
    folder, elsewhere = tmp_path / "photos", tmp_path / "tables"
    for name in ("a.png", "sub/b.png", "sub/c.png", "d.png"):
        save(folder / name, np.zeros((4, 4)))
    outside = save(tmp_path / "secret.png", np.zeros((4, 4)))
    elsewhere.mkdir()
    table = elsewhere / "labels.csv"
    table.write_text(f"file,label\na.png,0\nsub/b.png,0\n{folder / 'sub/c.png'},1\n")
    found = scan_folder.of_table(table, root=folder)
    assert names(found.files, folder) == ["a.png", "sub/b.png"]
    assert names(found.test_anomalous, folder) == ["sub/c.png"]
    assert found.passed_over == {"pictures that no line of the table names": 1}
    save(elsewhere / "a.png", np.zeros((4, 4)))  # beside the table goes first
    assert names(scan_folder.of_table(table, root=folder).files, tmp_path) == ["photos/sub/b.png", "tables/a.png"]
    (elsewhere / "test.csv").write_text("file,label\nd,0\n")
    assert names(scan_folder.of_table(table, root=folder).test_normal, folder) == ["d.png"]
    (folder / "link.png").symlink_to(outside)
    for name in (outside, folder / "link.png", "link.png", "../secret.png"):
        table.write_text(f"file,label\nsub/b.png,0\n{name},1\n")
        with pytest.raises(DataError, match=r"line 3: .*(isn't a path inside .*tables or .*photos|leads out of)"):
            scan_folder.of_table(table, root=folder)
    table.write_text("file,label\nsub/b.png,0\nnone.png,1\n")
    with pytest.raises(DataError, match=r"no file 'none\.png' in .*tables, .*photos; put it there"):
        scan_folder.of_table(table, root=folder)
    with pytest.raises(DataError, match=r"nowhere is not a folder: name that of the pictures which .*labels\.csv"):
        scan_folder.of_table(table, root=tmp_path / "nowhere")


def test_nothing_to_learn_from_is_said(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        scan_folder.of_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no pictures: put normal ones there"):
        scan_folder.of_folder(tmp_path)


def test_a_record_is_replaced_as_a_whole(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    (tmp_path / record.NAME).write_text("the one before")
    monkeypatch.setattr(record, "_record", lambda training: {"method": "gmm"})
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        record.write(None, tmp_path)
    assert (tmp_path / record.NAME).read_text() == "the one before"


# --- end to end ---


VISA = "Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"
BTAD = "train/ok", "test/ko", "ground_truth/ko"


@pytest.mark.parametrize(
    ("folders", "normal", "marked", "options", "told"),
    [
        (VISA, 25, 2, (), "no figures of where by 3 masks: all normal pictures were learned from; put others into"),
        (BTAD, 25, 2, ("test/ok",), "where, by 3 masks, 1 of them empty as the network sees them: pixel AUROC"),
        (BTAD, 25, 0, ("test/ok",), "no figures of where by 3 masks: they mark nothing, as the network sees them"),
        (BTAD, 100, 3, QUICK, "no figures of where by 3 masks: scorer ocsvm has no places in the unit of its score"),
        ((*BTAD[:2], "masks/other"), 100, 0, QUICK, "no figures of where: no mask that can be read is named like an"),
    ],
)
def test_masks_give_figures_of_where_or_the_reason_why_not(tmp_path, capsys, folders, normal, marked, options, told):
    chosen = ("--model", "squeezenet", "--weights", "random", "--scorer", "padim", "--side-px", 32)
    if options == ("test/ok",):
        fill(tmp_path / "test/ok", 3, seed=2)
        options = ()
    fill(tmp_path / folders[0], normal)
    fill(tmp_path / folders[1], 3, turned=True, seed=1)
    for i in range(3):
        save(tmp_path / folders[2] / f"{i:03}.png", np.full((8, 8), 255 * (i < marked)))
    assert run(tmp_path, "--out", tmp_path / "out", *(options or chosen)) == 0
    assert told in " ".join(capsys.readouterr().out.split())


def test_a_hundred_pictures_make_a_detector(tmp_path, capsys):
    root = tmp_path / "stripes"
    fill(root / "normal", 100)
    fill(root / "anomalous", 30, turned=True, seed=1)
    fill(root / "mask", 2)
    (root / "normal" / "bad.png").write_bytes(b"")
    (root / "normal" / "cut.png").write_bytes((root / "normal" / "000.png").read_bytes()[:60])
    out = tmp_path / "out"
    assert run(root, "--out", out, *QUICK) == 0
    said = capsys.readouterr().out
    for part in (
        "102 pictures in",
        "(normal/), taken as normal; 30 in anomalous/ taken as anomalies, to evaluate on",
        "skipped: masks 2",
        "trains hog_ocsvm + hog",
        "to choose otherwise: --method",
        "2 pictures can't be read and are left out",
        "bad.png: the file is empty",
        "at most 5.00% of normal images like these",
        "20 held out, which could promise 4.76%",
        "30 anomalies against 20 held-out normal images, which also set the threshold: AUROC",
        "AUROC 1.0000",
        f"python -m adjax predict {out}",
    ):
        assert part in said, part
    detector = adjax.load(out)
    images, rows, _ = gather.images(sorted((root / "normal").iterdir()), (8, 8, 1))
    kept = json.loads((out / record.NAME).read_text())
    assert (len(kept["held_out"]), len(kept["trained_on"]), len(kept["unreadable"])) == (20, 80, 2)
    assert not set(kept["held_out"]) & set(kept["trained_on"])
    assert kept["passed_over"] == {"masks": 2}
    held_out, _, _ = gather.images([Path(name) for name in kept["held_out"]], (8, 8, 1))
    np.testing.assert_allclose(np.sort(detector.score(held_out)), detector.calibration_scores, rtol=1e-6)
    assert np.mean(detector.predict(held_out)) <= 0.05
    assert len(rows) == len(images) == 100
    assert card.speaks_of(out)
    said = (out / card.NAME).read_text()
    assert "80 images, of normal" in said
    assert "\\`" not in said  # code spans would show as backslashes and backticks
    text = (out / page.NAME).read_text(encoding="utf-8")
    assert 'AUROC</dt><dd class="value">1.0000</dd>' in text
    assert "30 known anomalies and 20 held-out normal images, which also set the threshold; none of them was" in text
    for part in (
        f"train {root} --out {out}",  # the command
        '<th scope="row">jax</th>',
        time.strftime("%Y-%m-%d", time.gmtime()),
        f"flagged if score &gt; {float(detector.threshold):.4g}",
    ):
        assert part in text, part
    view = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])["views"][0]
    assert view["counts"] == [20, 30]
    assert view["heldOut"] is None  # they are the normal images shown
    assert view["classes"] == ["normal", "anomalous"]  # a row for each folder
    assert np.frombuffer(base64.b64decode(view["labels"]), np.int16).tolist() == [0] * 20 + [1] * 30
    of_kind = {p["name"].partition("/")[0]: p["truth"] for p in view["pictures"]}
    assert of_kind == {"normal": 0, "anomalous": 1}
    names = {Path(name).name for name in kept["held_out"]}
    assert {p["name"].partition("/")[2] for p in view["pictures"] if not p["truth"]} <= names
    assert run(root, "--out", out, *QUICK) == 0  # a detector is replaced
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    assert run(root, "--out", tmp_path / "other", *QUICK) == 1


@pytest.mark.parametrize(("scorer", "named"), [("mahalanobis", True), ("ocsvm", False)])
def test_where_the_nearest_class_is_not_known_train_says_so(tmp_path, capsys, scorer, named):
    for name, turned in (("cat", False), ("dog", True)):
        fill(tmp_path / "set" / name, 50, turned)
    out, table = tmp_path / "out", tmp_path / "s.csv"
    assert run(tmp_path / "set", "--out", out, *QUICK, "--scorer", scorer) == 0
    told = f"scorer {scorer} measures one distance, not one to each of the 2 classes"
    assert (told in " ".join(capsys.readouterr().out.split())) is not named
    assert any(why.startswith(told) for why in json.loads((out / record.NAME).read_text())["why"]) is not named
    assert __main__.main(["predict", str(out), str(tmp_path / "set"), "--out", str(table)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    right = sum(row["nearest_class"] == row["path"].partition("/")[0] for row in rows)
    assert right > 90 if named else not any(row["nearest_class"] for row in rows)


def test_classes_that_a_network_is_trained_to_tell_are_named():
    recipe = plan.TrainingPlan("centerloss", "lenet5", "knn", (8, 8, 1))
    assert plan.told_of_classes(recipe, ("a", "b")) is None
    frozen = dataclasses.replace(recipe, method="gmm")
    assert "nearest_class empty" in plan.told_of_classes(frozen, ("a", "b"))
    assert plan.told_of_classes(frozen, ("a",)) is None


def test_the_detector_of_another_folder_of_that_name_is_not_replaced_unasked(tmp_path, monkeypatch, capsys):
    """The same folder may be trained on again, by whatever path; `--out` says that the other is to go."""

    def is_of() -> str:
        return json.loads((tmp_path / "runs" / "photos" / record.NAME).read_text())["options"]["folder"]

    for seed, name in enumerate(("a", "b")):
        fill(tmp_path / name / "photos", 50, seed=seed)
    monkeypatch.chdir(tmp_path)
    for same in ("a/photos", tmp_path / "a" / "photos", "b/../a/photos"):
        assert run(same, *QUICK) == 0
    assert run("b/photos", *QUICK) == 1
    told = f"runs/photos is a detector of {tmp_path}/a/photos, and this is one of {tmp_path}/b/photos"
    assert f"{told}: name another place by --out DIR, or --out runs/photos to replace it" in capsys.readouterr().err
    assert is_of() == "b/../a/photos"
    assert run("b/photos", *QUICK, "--out", "runs/photos") == 0
    assert f"{told}: it is replaced" in " ".join(capsys.readouterr().out.split())
    assert is_of() == "b/photos"
    (tmp_path / "runs" / "photos" / record.NAME).unlink()  # nothing says whose it is
    assert run("a/photos", *QUICK) == 0


def test_test_pictures_that_are_copies_are_told(tmp_path, capsys):
    """Learned from and tested on, they flatter; as anomalies they contradict."""
    root, out = tmp_path / "set", tmp_path / "out"
    fill(root / "train" / "good", 60)
    fill(root / "test" / "good", 12)  # the first twelve again
    fill(root / "test" / "crack", 8, turned=True, seed=1)
    fill(root / "test" / "dent", 5)
    assert run(root, "--out", out, *QUICK) == 0
    told = " ".join(capsys.readouterr().out.split())
    flattered = "12 of the 12 normal test images are exact copies, as the network sees them, of images to train on"
    contradicted = "5 of the 13 anomalies are exact copies, as the network sees them, of normal images: the labels"
    for text in (told, (out / page.NAME).read_text(encoding="utf-8"), (out / card.NAME).read_text(encoding="utf-8")):
        assert flattered in text
        assert contradicted in text
    figures = json.loads((out / record.NAME).read_text())["figures"]
    assert (figures["copied"], figures["contradicted"]) == (12, 5)
    shutil.rmtree(root / "test" / "dent")
    fill(root / "test" / "good", 12, seed=2)
    assert run(root, "--out", out, *QUICK) == 0
    assert "exact copies" not in capsys.readouterr().out


def test_the_scorer_that_finds_most_is_trained_and_said(tmp_path, monkeypatch, capsys):
    """By pictures to learn from alone: those held out set the threshold."""
    fill(tmp_path / "stripes", 100)
    asked = []

    def refined(planned, images, labels, classes, seed):
        asked.append(len(images))
        chosen = dataclasses.replace(planned, scorer="knn", scorer_options={}, selects=False, why=("knn finds most",))
        return train.select.Refined(chosen, None)

    planned = plan.TrainingPlan("hog_ocsvm", "hog", None, (8, 8, 1), selects=True)
    monkeypatch.setattr(plan, "choose", lambda *args: planned)
    monkeypatch.setattr(train.select, "refined", refined)
    assert run(tmp_path / "stripes", "--out", tmp_path / "out") == 0
    assert asked == [80]
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
        "about 7.69% of normal images like these will be flagged",
        "each of the 12 different images scored by a fit without it",
        "7.70% was asked for, and the rate is a multiple of 7.69%",
        "10 anomalies against 12 cross-fitted normal images, which also set the threshold: AUROC",
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


def test_steps_of_what_trains_no_network_are_refused(tmp_path, capsys):
    fill(tmp_path / "few", 12)
    assert run(tmp_path / "few", "--out", tmp_path / "d", *QUICK, "--steps", 10) == 1
    assert "--steps 10: hog_ocsvm trains no network, so there are no steps: leave it out" in capsys.readouterr().err
    chosen = QUICK[: QUICK.index("--method")] + QUICK[QUICK.index("--method") + 2 :]
    assert run(tmp_path / "few", "--out", tmp_path / "d", *chosen, "--weights", "random", "--steps", 10) == 1
    told = capsys.readouterr().err
    assert (
        "--steps 10: gmm, chosen for these images, trains no network, so there are no steps: leave it out, or" in told
    )
    assert "or name another --method (centerloss, autoencoder, deep_svdd)" in told
    assert not (tmp_path / "d").exists()


def test_what_train_chooses_by_itself_alone_can_not_be_named(tmp_path, capsys):
    fill(tmp_path / "few", 25)
    told = "scorer 'fused' needs the options names, offsets, scales; train finds them and chooses it by itself where no"
    assert run(tmp_path / "few", "--out", tmp_path / "d", *QUICK, "--scorer", "fused") == 1
    assert told in " ".join(capsys.readouterr().err.split())
    with surface.command_line(), pytest.raises(ValueError, match=told):
        Recipe("gmm", scorer="fused", scorer_options={"names": "knn,gmm", "offsets": "0,0", "scales": "1,1"})


def test_too_few_or_too_broken_is_refused(tmp_path, capsys):
    fill(tmp_path / "few", 49)
    assert run(tmp_path / "few", "--out", tmp_path / "d", "--method", "autoencoder", "--side-px", "8") == 1
    told = capsys.readouterr().err
    assert "49 normal images that can be read: at least 50 are needed" in told
    assert "leave out --method, or --method gmm takes a network that is not trained (gmm, hog_ocsvm)" in told
    assert run(tmp_path / "few", "--out", tmp_path / "works", *QUICK) == 0
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
