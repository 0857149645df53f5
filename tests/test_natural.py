"""Real pictures in folders, end to end: a pre-trained EfficientNet-Lite0 with center loss."""

from __future__ import annotations

import json

import numpy as np
import pytest

import adjax
from adjax import data
from experiments import run, textures


def test_no_pixel_is_in_training_and_test(tmp_path, monkeypatch):
    from skimage import data as pictures

    left_and_right = np.repeat(np.uint8([[0] * 30 + [1] * 30]), 60, axis=0)
    for name in textures.TEXTURES:
        monkeypatch.setattr(pictures, name, lambda: left_and_right)
    textures.write(tmp_path, side_px=24, train=40, test=40)
    assert not data.load(str(tmp_path), "train").images.any()
    test = data.load(str(tmp_path), "test")
    assert (test.images[test.labels < len(textures.TEXTURES)] == 1).all()


def test_crops_are_as_many_and_as_large_as_asked_for_and_always_the_same(tmp_path):
    textures.write(tmp_path, side_px=24, train=3, test=2)
    split = {name: data.load(str(tmp_path), name) for name in ("train", "test")}
    assert data.find(str(tmp_path)).classes == (*textures.TEXTURES, "photograph")
    assert np.bincount(split["train"].labels).tolist() == [3, 3, 3]
    assert np.bincount(split["test"].labels).tolist() == [2, 2, 2, 2]
    assert split["train"].images.shape[1:] == (24, 24, 1)
    again = tmp_path / "again"
    textures.write(again, side_px=24, train=3, test=2)
    assert data.digest(data.load(str(again), "test")) == data.digest(split["test"])


def test_in_colour_every_class_is_a_picture_of_colours(tmp_path):
    textures.write(tmp_path, side_px=24, train=2, test=1, colour=True)
    split = {name: data.load(str(tmp_path), name) for name in ("train", "test")}
    assert data.find(str(tmp_path)).classes == textures.COLOUR
    assert split["train"].images.shape == (2 * len(textures.COLOUR), 24, 24, 3)
    assert (split["train"].images[..., 0] != split["train"].images[..., 2]).any((1, 2)).all()
    assert np.bincount(split["test"].labels).tolist() == [1] * len(textures.COLOUR)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.usefixtures("optimised")
def test_textures_are_told_apart(tmp_path):
    """Classes are learnt and everything is written; that it finds photographs no better is README's to say."""
    folder, out = tmp_path / "textures", tmp_path / "run"
    textures.write(folder)
    assert run.main([*textures.COMMAND.format(folder).split()[3:], "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["weights"]["sha256"]
    assert results["summary"]["f1"]["mean"] > 0.95
    detector, test = adjax.load(out / "detector"), data.load(str(folder), "test")
    known = test.labels < 3
    right = detector.classify(test.images[known]) == test.labels[known]
    assert right.mean() == pytest.approx(results["summary"]["accuracy"]["mean"])
