"""`python -m adjax refit`: the detector that `train --scorer NAME` makes, bit for bit, without the training."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from adjax import __main__, manifest, pipeline
from adjax.auto import page, record

pytestmark = pytest.mark.usefixtures("process_as_it_was")

TRAINED = ("--method", "deep_svdd", "--steps", "3")
FROZEN = ("--method", "hog_ocsvm", "--side-px", "8")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for kind, count, dark in (("normal", 50, 0), ("anomalous", 5, 120)):
        (root / kind).mkdir()
        for i in range(count):
            Image.fromarray(rng.integers(dark, dark + 80, (8, 8), np.uint8)).save(root / kind / f"{i}.png")
    return root


def command(*arguments) -> int:
    return __main__.main(list(map(str, arguments)))


@pytest.mark.parametrize(
    ("options", "scorer"), [pytest.param(TRAINED, "knn", marks=pytest.mark.slow), (FROZEN, "mahalanobis")]
)
def test_it_is_the_detector_that_train_makes_bit_for_bit(pictures, tmp_path, monkeypatch, capsys, options, scorer):
    one, two = tmp_path / "one", tmp_path / "two"
    monkeypatch.chdir(pictures.parent)
    assert command("train", pictures.name, "--out", one, *options) == 0
    assert command("train", pictures.name, "--out", two, *options, "--scorer", scorer) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeline, "train_members", None)  # nothing is trained
    capsys.readouterr()
    assert command("refit", one, "--scorer", scorer) == 0
    new = tmp_path / f"one-{scorer}"
    assert f"the network of {one}" in capsys.readouterr().out
    assert manifest.digest(new) == manifest.digest(two) != manifest.digest(one)
    kept, trained = (json.loads((path / record.NAME).read_text()) for path in (new, two))
    assert all(kept[key] == trained[key] for key in ("steps", "figures", "data_sha256", "method", "model"))
    assert (new / page.NAME).exists()
    if options == TRAINED:  # of a refitted one, too
        assert command("refit", new, "--scorer", "cosine", "--out", tmp_path / "third") == 0


def test_other_test_pictures_are_told_and_not_refused(pictures, tmp_path, monkeypatch, capsys):
    """By names and bytes; also of pictures that were named by another path. An older run says nothing."""

    def says() -> str:
        assert command("refit", run, "--scorer", "knn") == 0
        return " ".join(capsys.readouterr().out.split())

    root, run, told = tmp_path / "pictures", tmp_path / "run", "the figures are of other test pictures than those of"
    shutil.copytree(pictures, root)
    odd = root / "anomalous"
    monkeypatch.chdir(tmp_path)
    assert command("train", root.name, "--out", run, *FROZEN) == 0
    monkeypatch.chdir(tmp_path.parent)
    assert told not in says()
    shutil.copy(odd / "0.png", odd / "new.png")
    shutil.copy(odd / "0.png", odd / "newer.png")
    (odd / "1.png").unlink()
    shutil.copy(odd / "3.png", odd / "4.png")
    assert f"{told} {run}: 2 added, 1 gone, 1 changed" in says()
    kept = json.loads((run / record.NAME).read_text())
    del kept["evaluated_on"]
    (run / record.NAME).write_text(json.dumps(kept))
    assert told not in says()


def test_other_pictures_or_a_run_of_something_else_are_refused(pictures, tmp_path, capsys):
    def says(*arguments) -> str:
        assert command("refit", *arguments) == 1
        return capsys.readouterr().err

    root, run = tmp_path / "pictures", tmp_path / "run"
    shutil.copytree(pictures, root)
    assert command("train", root, "--out", run, *FROZEN) == 0
    capsys.readouterr()
    assert "is the run that is refitted" in says(run, "--scorer", "knn", "--out", run)
    pixels = np.asarray(Image.open(root / "normal" / "3.png")).copy()
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(root / "normal" / "3.png")
    assert "its pixels and labels differ" in says(run, "--scorer", "knn")
    shutil.copy(root / "anomalous" / "0.png", root / "normal" / "new.png")
    assert "Only the scorer may" in says(run, "--scorer", "knn")
    assert not (tmp_path / "run-knn").exists()
    kept = json.loads((run / record.NAME).read_text())
    del kept["arguments"]
    (run / record.NAME).write_text(json.dumps(kept))
    assert "doesn't say by which command it was trained" in says(run, "--scorer", "knn")
    assert "holds no detector" in says(pictures, "--scorer", "knn")
