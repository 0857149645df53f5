"""`adjax example`: pictures that differ, defects where their masks say, and a layout that the other commands read."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from adjax import __main__
from adjax.auto import scan_folder
from adjax.cli.parsers import example as options
from adjax.data import DataError, example


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "parts"
    with pytest.MonkeyPatch.context() as fewer:
        fewer.setattr(example, "DEFECTS", 4)
        assert __main__.main(["example", str(root), "--seed", "3"]) == 0
    return root


def read(folder):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def test_the_layout_is_read_as_it_is_meant(folder):
    found = scan_folder.of_folder(folder)
    assert (len(found.files), len(found.test_normal)) == (example.TRAINED, example.TESTED)
    assert len(found.test_anomalous) == 4 * len(example.SHOWN)
    assert {path.parent.name for path in found.test_anomalous} == set(example.SHOWN)
    assert found.passed_over == {"masks": len(found.test_anomalous)}
    assert len(found.classes) == 1


def test_no_two_pictures_are_alike_and_defects_are_seen(folder):
    normal = read(folder / "train" / "good")
    assert normal.shape == (example.TRAINED, example.SIDE_PX, example.SIDE_PX, 3)
    assert len({picture.tobytes() for picture in normal}) == len(normal)
    usual = np.sort([picture.std() for picture in normal])
    assert usual[-1] < 1.5 * usual[0]  # one product
    for kind in example.SHOWN:
        odd, masks = read(folder / "test" / kind), read(folder / "ground_truth" / kind)
        assert odd.shape[:3] == masks.shape
        assert set(np.unique(masks)) == {0, 255}
        share = (masks > 0).mean((1, 2))
        assert (share > example.SHARE[0] / 4).all()
        assert (share < 2 * example.SHARE[1]).all()


@pytest.mark.parametrize("texture", example.TEXTURES)
def test_a_texture_is_drawn_by_its_seed(texture):
    one, same, other = (example.pictures(texture, 2, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (one == same).all()
    assert (one != other).any()
    assert 8 < one.std() < 80  # grain that can be seen, and not black and white alone


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").touch()
    assert __main__.main(["example", str(tmp_path)]) == 1
    assert "is there and not an empty folder: name one that isn't there yet" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="texture 'silk': choose one of fabric, metal, plaster"):
        example.write(tmp_path / "new", "silk")
    assert not (tmp_path / "new").exists()


def test_the_commands_that_it_names_are_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(example, "write", lambda *_: example.Written(1, 1, 1))
    assert __main__.main(["example", "parts"]) == 0
    lines = re.findall(r"^  python -m adjax (\w+) (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert [command for command, _ in lines] == ["train", "predict"]
    for command, rest in lines:
        __import__(f"adjax.cli.parsers.{command}", fromlist=["parser"]).parser().parse_args(shlex.split(rest))
    assert "runs/parts parts/test" in lines[1][1]
    assert tuple(example.TEXTURES) == options.TEXTURES  # named twice, since help imports no NumPy
