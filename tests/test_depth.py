"""A camera's 12 bits in files of 16: nothing is guessed, and everybody says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from adjax import __main__
from adjax.data.io import depth, upload
from adjax.data.io.depth import Depths
from adjax.doctor import machine

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def fill(folder, count, white):
    """Noise of 16 bits up to `white`; None: of 8 bits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        kind, high = (np.uint8, 256) if white is None else (np.uint16, white + 1)
        Image.fromarray(rng.integers(0, high, (16, 16), kind)).save(folder / f"{i}.png")
    return folder


def seen(folder) -> Depths:
    depths = Depths()
    for path in sorted(folder.iterdir()):
        depths.add(upload.read(path, (16, 16, 1)))
    return depths


@pytest.mark.parametrize(
    ("white", "bits", "times"), [(255, 8, 256), (1023, 10, 64), (4095, 12, 16), (8191, 14, 8), (16383, None, 0)]
)
def test_a_range_that_is_hardly_used_is_told(tmp_path, white, bits, times):
    """Up to an eighth of it: 14 bits use a quarter, as a dark picture may."""
    told = seen(fill(tmp_path / "a", 3, white)).told()
    if bits is None:
        assert told is None
    else:
        assert f"3 of 3 pictures with 16 bits use only values up to {white:,} of 65,535: probably {bits}-bit" in told
        assert f"multiply them by {times} first" in told


def test_pictures_of_8_bits_and_of_a_whole_16_are_as_they_should_be(tmp_path):
    whole, shallow = seen(fill(tmp_path / "a", 2, 65535)), seen(fill(tmp_path / "b", 3, None))
    assert whole.told() is shallow.told() is None
    assert shallow.told(whole.record()) is whole.told(shallow.record()) is None
    assert [d.record()["sixteen"] for d in (whole, shallow)] == [2, 0]


def test_the_peak_is_that_of_the_whole_picture(tmp_path):
    """Not of the middle that the detector sees, nor of what resizing leaves of a bright point."""
    samples = np.zeros((8, 64), np.uint16)
    samples[0, 0] = 65535
    Image.fromarray(samples).save(tmp_path / "a.png")
    picture = upload.read(tmp_path / "a.png", (4, 4, 1))
    assert (picture.pixels.max(), picture.peak) == (0, 255)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_negative_is_told_by_what_is_stored(tmp_path, order):
    """X-ray scans: white is zero, so 12 bits of 16 are nearly white; by Pillow, and by the second reader."""
    samples = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="miniswhite", byteorder=order)
    assert upload.read(tmp_path / "a.tif", (8, 8, 1)).peak == 15


@pytest.mark.parametrize(("trained", "given"), [(None, 4095), (65535, 4095), (4095, None), (1023, 4095)])
def test_a_detector_of_another_range_is_told(tmp_path, trained, given):
    known, now = seen(fill(tmp_path / "a", 2, trained)), seen(fill(tmp_path / "b", 2, given))
    told = now.told(known.record())
    assert "the detector was trained on pictures of" in told
    assert "give both the same range" in told
    assert "the detector was" not in (now.told(now.record()) or "")
    assert "the detector was" not in (now.told(None) or "")


def test_what_a_detector_was_trained_on_is_read_or_not_known(tmp_path):
    assert depth.trained(tmp_path) is None
    for content in ("", "[]", "{}", '{"depths": 3}', '{"depths": {"largest": "x"}}'):
        (tmp_path / "train.json").write_text(content)
        assert depth.trained(tmp_path) is None


@pytest.mark.slow
def test_doctor_train_and_predict_say_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "speed", lambda: 0.0)
    narrow, plain, out = fill(tmp_path / "narrow", 50, 4095), fill(tmp_path / "plain", 3, None), tmp_path / "out"
    told = "50 of 50 pictures with 16 bits use only values up to 4,095 of 65,535: probably 12-bit data"
    assert __main__.main(["train", str(narrow), "--out", str(out), "--method", "hog_ocsvm", "--side-px", "8"]) == 0
    assert told in capsys.readouterr().out
    assert json.loads((out / "train.json").read_text())["depths"] == {
        "pictures": 50,
        "sixteen": 50,
        "narrow": 50,
        "largest": 4095,
    }
    for folder, wanted in (
        (narrow, told),
        (plain, "trained on pictures of 12 bits of 16, and these are mostly of the"),
    ):
        assert __main__.main(["predict", str(out), str(folder), "--out", str(tmp_path / f"{folder.name}.csv")]) == 0
        said = capsys.readouterr().out
        assert wanted in said
        assert ("the detector was trained" in said) == (folder is plain)
    __main__.main(["doctor", str(narrow)])
    assert told in capsys.readouterr().out
