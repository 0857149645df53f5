"""Thirty textures out of a game's package, for `experiments.textures`."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from adjax import data
from experiments import textures


def jpeg(side_px, grain, seed):
    pixels = 128 + grain * np.random.default_rng(seed).normal(size=(side_px, side_px, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def package(path, count):
    """`count` folders with a texture that will do, behind others that won't."""
    with zipfile.ZipFile(path, "w") as packed:
        for i in range(count):
            packed.writestr(f"textures/t{i:02}/a_smooth.jpg", jpeg(256, 0, i))
            packed.writestr(f"textures/t{i:02}/b_small.jpg", jpeg(128, 90, i))
            packed.writestr(f"textures/t{i:02}/c_seen.jpg", jpeg(256, 30, i))
            packed.writestr(f"textures/t{i:02}/d_second.jpg", jpeg(256, 60, i))
        packed.writestr("textures/t00/deeper/e.jpg", b"no picture")
        packed.writestr("textures/empty/a_smooth.jpg", jpeg(256, 0, 99))
        packed.writestr("models/t99/a.jpg", b"no picture")
    return path


def test_the_first_thirty_folders_give_their_first_texture_with_grain(tmp_path):
    textures.write_thirty(tmp_path / "set", package(tmp_path / "a.pk3", 32), side_px=32, train=2, test=1)
    train, test = (data.load(str(tmp_path / "set"), split) for split in ("train", "test"))
    assert train.images.shape == (60, 32, 32, 3)
    assert test.images.shape == (30, 32, 32, 3)
    assert train.labels.tolist() == sorted([*range(30)] * 2)
    assert {folder.name for folder in (tmp_path / "set" / "train").iterdir()} == {f"t{i:02}" for i in range(30)}
    sd = train.images.std((1, 2, 3))
    assert sd.min() > 15  # not the smooth ones
    assert sd.max() < 40  # nor the second


def test_too_few_textures_are_refused(tmp_path):
    with pytest.raises(ValueError, match="29 folders have a texture with grain, and it takes 30"):
        textures.write_thirty(tmp_path / "set", package(tmp_path / "a.pk3", 29))
