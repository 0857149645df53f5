"""A camera's 12 bits in files of 16: the rule fitted to a folder, and what it does not fit."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from adjax import __main__, load
from adjax.data import DataError
from adjax.data.io import depth, upload
from adjax.data.io.depth import Depths
from adjax.doctor import folder, machine
from adjax.predict import regions
from adjax.spec import Spec

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def fill(folder, count, white):
    """Noise of 16 bits up to `white`; None: of 8 bits."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        kind, high = (np.uint8, 256) if white is None else (np.uint16, white + 1)
        Image.fromarray(rng.integers(0, high, (16, 16), kind)).save(folder / f"{i}.png")
    return folder


def add(depths: Depths, path, shape) -> None:
    picture = upload.read(path, shape)
    depths.add(picture.peak, picture.header.mode)


def seen(folder) -> Depths:
    depths = Depths()
    for path in sorted(folder.iterdir()):
        add(depths, path, (16, 16, 1))
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


def test_print_has_the_bits_of_its_file_and_black_is_an_ink_too(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "a").mkdir()
    for name in ("0.jpg", "1.tif"):
        Image.fromarray(grey).convert("CMYK").save(tmp_path / "a" / name)
    shallow = seen(tmp_path / "a")
    assert shallow.record()["sixteen"] == 0
    assert shallow.told() is None
    inks = np.zeros((16, 16, 4), np.uint16)
    inks[..., 3] = 257 * grey.astype(np.uint16)
    tifffile.imwrite(tmp_path / "black.tif", inks, photometric="separated")
    assert upload.read(tmp_path / "black.tif", (16, 16, 3)).peak == 255


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


@pytest.mark.parametrize(
    ("white", "bits"), [(200, 8), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16), (65535, 16), (None, 16)]
)
def test_the_rule_is_the_least_even_depth_that_holds_all_values(tmp_path, white, bits):
    depths = seen(fill(tmp_path / "a", 2, white))
    for i in range(2):
        if white is not None:
            Image.fromarray(np.full((4, 4), white, np.uint16)).save(tmp_path / f"{i}.png")
            add(depths, tmp_path / f"{i}.png", (4, 4, 1))
    assert depths.fitted() == bits


def test_no_rule_for_pictures_of_several_kinds_or_of_colour(tmp_path):
    mixed = seen(fill(tmp_path / "a", 2, 4095))
    fill(tmp_path / "b", 1, None)
    add(mixed, tmp_path / "b" / "0.png", (4, 4, 1))
    assert mixed.fitted() == depth.WHOLE
    tifffile.imwrite(tmp_path / "c.tif", np.full((8, 8, 3), 4095, np.uint16), photometric="rgb")
    colour = Depths()
    add(colour, tmp_path / "c.tif", (8, 8, 3))
    assert (colour.peaks, colour.fitted()) == ([15], depth.WHOLE)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", ["png", "<tif", ">tif", "negative <", "negative >"])
def test_pixels_are_scaled_by_the_rule_exactly(tmp_path, bits, kind):
    """Files by tifffile and Pillow; the array by NumPy. The peak stays that of 16 bits."""
    samples = np.linspace(0, (1 << bits) - 1, 4096).astype(np.uint16).reshape(64, 64)
    path, negative = tmp_path / "a.img", kind.startswith("negative")
    if kind == "png":
        Image.fromarray(samples).save(path, "png")
    else:
        photometric = "miniswhite" if negative else "minisblack"
        tifffile.imwrite(path, samples, photometric=photometric, byteorder="<" if "<" in kind else ">")
    wanted = np.floor(samples / 2 ** (bits - 8)).astype(np.uint8)
    picture = upload.read(path, (64, 64, 1), depth=bits)
    np.testing.assert_array_equal(picture.pixels[..., 0], 255 - wanted if negative else wanted)
    assert picture.peak == ((1 << bits) - 1) // 256


@pytest.mark.parametrize("kind", ["png", "<", ">"])
def test_what_the_rule_does_not_fit_is_refused(tmp_path, kind):
    """One value too bright, a negative of it, or a picture of 8 bits."""
    samples = np.full((8, 8), 4096, np.uint16)
    for photometric in ("minisblack", "miniswhite"):
        if kind == "png":
            Image.fromarray(samples).save(tmp_path / "a.img", "png")
        else:
            tifffile.imwrite(tmp_path / "a.img", samples, photometric=photometric, byteorder=kind)
        with pytest.raises(DataError, match="values above 4,095, the white of the 12 bits that are expected"):
            upload.read(tmp_path / "a.img", (8, 8, 1), depth=12)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="mode L with 8 bits a channel, but grey of 12 bits is expected"):
        upload.read(tmp_path / "b.png", (8, 8, 1), depth=12)


@pytest.mark.slow
def test_doctor_train_and_predict_say_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "speed", lambda: 0.0)
    narrow, plain, out = fill(tmp_path / "narrow", 50, 4095), fill(tmp_path / "plain", 3, None), tmp_path / "out"
    told = "all 50 pictures are 16-bit grey with values below 4,096: taken for 12-bit data"
    train, options = ["train", str(narrow)], ["--method", "hog_ocsvm", "--side-px", "8"]
    assert __main__.main([*train, "--out", str(out), *options]) == 0
    assert told in " ".join(capsys.readouterr().out.split())
    assert load(out).spec.depth == 12
    assert json.loads((out / "train.json").read_text())["depths"] == {
        "pictures": 50,
        "sixteen": 50,
        "narrow": 50,
        "largest": 4095,
    }
    table = tmp_path / "s.csv"
    assert __main__.main(["predict", str(out), str(narrow), "--out", str(table)]) == 0
    assert "WARNING" not in capsys.readouterr().out
    assert table.read_text().count(",ok,") == 50
    __main__.main(["predict", str(out), str(plain), "--out", str(table), "--fresh"])
    assert table.read_text().count("but grey of 12 bits is expected") == 3
    capsys.readouterr()
    __main__.main(["doctor", str(narrow)])
    said = " ".join(capsys.readouterr().out.split())
    assert told in said
    assert "that hold fewer bits" not in said  # since train scales by them
    assert __main__.main([*train, "--out", str(tmp_path / "whole"), *options, "--depth", "16"]) == 0
    assert "50 of 50 pictures with 16 bits use only values up to 4,095" in " ".join(capsys.readouterr().out.split())
    assert load(tmp_path / "whole").spec.depth == 16
    capsys.readouterr()
    assert __main__.main(["predict", str(tmp_path / "whole"), str(plain), "--out", str(table), "--fresh"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "trained on pictures of 12 bits of 16, and these are mostly of the" in said


@pytest.mark.slow
def test_every_picture_is_read_by_the_depth_that_was_fitted(tmp_path, monkeypatch):
    """Those to judge by and those of the reports too; the first look alone takes the whole range."""
    for sort in ("train/good", "test/good", "test/spot"):
        fill(tmp_path / "parts" / sort, 50 if sort == "train/good" else 12, 4095)
    read, depths = upload.read, []

    def spied(path, shape, frame="middle", strict=False, depth=16, **others):
        depths.append((Path(path).parts[-3], depth))
        return read(path, shape, frame, strict, depth, **others)

    monkeypatch.setattr(upload, "read", spied)
    out, options = tmp_path / "out", ["--method", "autoencoder", "--side-px", "16", "--steps", "5"]
    assert __main__.main(["train", str(tmp_path / "parts"), "--out", str(out), *options]) == 0
    assert collections.Counter(depths) >= collections.Counter({("train", 16): 50, ("train", 12): 50, ("test", 12): 24})
    assert ("test", 16) not in depths
    depths.clear()
    folder, maps = tmp_path / "parts" / "test", tmp_path / "maps"
    command = ["predict", str(out), str(folder), "--out", str(tmp_path / "s.csv"), "--maps", str(maps)]
    assert __main__.main(command) == 0
    assert len(depths) >= 2 * 24  # scored, and shown
    assert {bits for _, bits in depths} == {12}


def test_a_picture_under_its_map_is_shown_by_the_depth(tmp_path):
    samples = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(samples).save(tmp_path / "a.png")
    for frame in ("whole", "tiles"):
        spec = Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), frame=frame, depth=12)
        np.testing.assert_array_equal(
            regions._shown(tmp_path / "a.png", (8, 8, 1), spec).reshape(8, 8, -1)[..., 0], samples >> 4
        )


def test_a_depth_that_can_not_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="depth=7: must be 8 to 16 bits"):
        Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), depth=7)


@pytest.mark.parametrize("kind", ["colour", "masks"])
def test_doctor_fits_the_rule_to_what_is_learned_from(tmp_path, kind):
    """As train does: none for colour, and masks of 8 bits are no pictures."""
    if kind == "masks":
        fill(tmp_path / "train" / "good", 3, 4095)
        fill(tmp_path / "ground_truth" / "scratch", 1, None)
    else:
        (tmp_path / "train").mkdir()
        tifffile.imwrite(tmp_path / "train" / "c.tif", np.full((8, 8, 3), 4095, np.uint16), photometric="rgb")
    examined = folder.examine(tmp_path)
    assert examined.depths.fitted() == (12 if kind == "masks" else depth.WHOLE)
    odd = [one.path for one in examined.findings if one.kind == "odd depth"]
    assert odd == ([] if kind == "masks" else ["train/c.tif"])


GREY = np.random.default_rng(0).integers(40, 200, (600, 600), np.uint8)


def shown(kind: str) -> Image.Image:
    """Grey, as RGB; with `patch` an orange corner of its lightness."""
    pixels = np.repeat(GREY[..., None], 3, axis=2)
    if "patch" in kind:
        pixels[:90, :90] = (200, 100, 0)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["grey", "grey patch"])
@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("RGB", "jpg"), ("P", "png"), ("RGBA", "png"), ("CMYK", "tif")]
)
def test_colours_that_grey_pixels_lose_are_seen(tmp_path, mode, suffix, kind):
    """By the pixels: many grey pictures are saved as RGB."""
    path = tmp_path / f"a.{suffix}"
    shown(kind).convert(mode).save(path)
    picture = upload.read(path, (32, 32, 1), "whole")
    assert picture.header.channels == 3
    assert picture.coloured == ("patch" in kind)
    assert not upload.read(path, (32, 32, 3), "whole").coloured  # nothing goes lost


def test_a_picture_of_one_row_has_colours_too(tmp_path):
    Image.fromarray(np.full((1, 3000, 3), (200, 100, 0), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(GREY).save(tmp_path / "b.png")
    assert upload.read(tmp_path / "a.png", (8, 8, 1)).coloured
    assert not upload.read(tmp_path / "b.png", (8, 8, 1)).coloured


def test_how_many_are_in_colour_is_told():
    depths = Depths()
    for mode, coloured in (("L", False), ("RGB", False), ("RGB", True), ("P", True)):
        depths.add(None, mode, coloured)
    told = depths.told(depths.record())
    assert "2 of 4 pictures are in colour, and the detector was trained on grey ones: only their lightness" in told
    assert told.endswith("train on colour pictures")


@pytest.mark.parametrize(("patched", "warned"), [(2, True), (0, False)])
def test_predict_by_a_detector_of_grey_pictures_says_which_are_in_colour(tmp_path, capsys, patched, warned):
    fill(tmp_path / "grey", 50, None)
    (tmp_path / "new").mkdir()
    for i in range(3):
        shown("grey patch" if i < patched else "grey").save(tmp_path / "new" / f"{i}.png")
    out, quick = str(tmp_path / "out"), ["--method", "hog_ocsvm", "--side-px", "8"]
    assert __main__.main(["train", str(tmp_path / "grey"), "--out", out, *quick]) == 0
    capsys.readouterr()
    assert __main__.main(["predict", out, str(tmp_path / "new"), "--out", str(tmp_path / "s.csv")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ("WARNING: 2 of 3 pictures are in colour, and the detector was trained on grey ones" in said) == warned
    assert (tmp_path / "s.csv").read_text().count(",ok,") == 3
