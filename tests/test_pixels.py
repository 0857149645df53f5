"""Pixels of picture files: turned, deep, transparent, printed, damaged, too many; training and scoring see the same."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from picture_files import noise, png, save
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from adjax.data import DataError
from adjax.data.io import upload

SHAPE = (8, 8, 1)


def strictly(path, shape):
    return upload.read(path, shape, strict=True).pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_seen_as_a_viewer_shows_it(tmp_path, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", noise(6, 9), exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    picture = upload.read(path, (*upright.shape[:2], 3))
    np.testing.assert_array_equal(picture.pixels, upright)
    assert (picture.header.height, picture.header.width) == upright.shape[:2]
    np.testing.assert_array_equal(strictly(path, upright.shape), upright)  # and so is a training set
    np.testing.assert_array_equal(upload.read(path, (4, 4, 3)).pixels, strictly(path, (4, 4, 3)))


@pytest.mark.parametrize("suffix", ["jpg", "tiff", "webp"])
def test_orientation_in_every_format(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"a.{suffix}", noise(6, 9), exif=exif)
    header = upload.read(path, (9, 6, 3)).header
    assert (header.height, header.width) == (9, 6)
    assert upload.look(path)[:2] == (9, 6)


@pytest.mark.parametrize(("height", "width", "channels"), [(8, 8, 3), (30, 21, 3), (21, 30, 3), (8, 8, 1), (5, 4, 3)])
def test_training_and_scoring_see_the_same(tmp_path, height, width, channels):
    pixels = noise(height, width, channels)
    path = save(tmp_path / "a.png", pixels[..., 0] if channels == 1 else pixels)
    np.testing.assert_array_equal(upload.read(path, (8, 8, 3)).pixels, strictly(path, (8, 8, 3)))
    shape = height, width, channels
    np.testing.assert_array_equal(upload.read(path, shape).pixels, strictly(path, shape))


def test_a_detector_that_is_no_square_gets_its_proportions(tmp_path):
    pixels = noise(8, 20)
    got = upload.read(save(tmp_path / "a.png", pixels), (8, 12, 3)).pixels
    np.testing.assert_array_equal(got, pixels[:, 4:16])


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 255, 256, 32768, 65279, 65535]], np.uint16)
    wanted = [0, 0, 1, 128, 254, 255]
    for suffix in ("png", "tiff"):
        path = save(tmp_path / f"a.{suffix}", deep)
        picture = upload.read(path, (1, 6, 1))
        assert picture.pixels[0, :, 0].tolist() == wanted
        assert picture.header.mode == "I;16"
    pgm = tmp_path / "a.pgm"
    pgm.write_bytes(b"P5 6 1 65535\n" + deep.astype(">u2").tobytes())
    assert upload.read(pgm, (1, 6, 1)).pixels[0, :, 0].tolist() == wanted
    rgb = tmp_path / "rgb.png"
    rgb.write_bytes(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 0, 65535, 32768, 256, 255, 65279)))
    picture = upload.read(rgb, (1, 2, 3))
    assert picture.pixels[0].tolist() == [[0, 255, 128], [1, 0, 254]]
    assert picture.header.mode == "RGB;16"


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 0, 0, 128]]], np.uint8)
    path = save(tmp_path / "a.png", rgba)
    assert upload.read(path, (1, 3, 3)).pixels[0].tolist() == [[10, 20, 30], [255, 255, 255], [127, 127, 127]]
    la = save(tmp_path / "b.png", np.array([[[7, 255], [7, 0]]], np.uint8))
    assert upload.read(la, (1, 2, 1)).pixels[0, :, 0].tolist() == [7, 255]
    assert upload.look(la).channels == 1
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "c.png", transparency=0)
    assert upload.read(tmp_path / "c.png", (1, 2, 3)).pixels[0].tolist() == [[255] * 3, [200, 0, 0]]
    Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "d.png", transparency=(1, 2, 3))
    assert upload.read(tmp_path / "d.png", (1, 2, 3)).pixels[0].tolist() == [[255] * 3, [4, 5, 6]]


def test_print_palettes_and_black_and_white(tmp_path):
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    cmyk.save(tmp_path / "a.tif")
    picture = upload.read(tmp_path / "a.tif", (8, 8, 3))
    assert picture.pixels[0, 0].tolist() == [255, 0, 0]
    assert picture.header.mode == "CMYK"
    Image.new("1", (8, 8), 1).save(tmp_path / "b.png")
    assert upload.read(tmp_path / "b.png", (8, 8, 1)).pixels.min() == 255


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda p: Image.new("F", (4, 4), 0.5).save(p, "tiff"), "mode F: nothing says"),
        (lambda p: Image.new("I", (4, 4), 70000).save(p, "tiff"), "mode I: nothing says"),
        (
            lambda p: Image.new("L", (4, 4)).save(p, "gif", save_all=True, append_images=[Image.new("L", (4, 4), 9)]),
            "several frames",
        ),
        (lambda p: p.write_bytes(b""), "the file is empty"),
        (lambda p: p.write_bytes(b"GARBAGE" * 9), "by its content no PNG"),
        (lambda p: p.write_bytes(png(60_000, 60_000, 8, 0, b"")), "pixels"),
        (lambda p: p.write_bytes(png(4, 4, 8, 0, b"\0" * 3)), "damaged"),
        (lambda p: p.mkdir(), "Is a directory"),
    ],
)
def test_what_can_not_be_read_says_why(tmp_path, make, why):
    path = tmp_path / "a.png"
    make(path)
    with pytest.raises(DataError, match=why) as caught:
        upload.read(path, SHAPE)
    assert str(tmp_path) not in str(caught.value)


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path, monkeypatch):
    from sklearn.datasets import load_sample_images

    photograph = Image.fromarray(load_sample_images().images[0]).resize((1280, 854), Image.Resampling.BICUBIC)
    photograph.save(tmp_path / "a.jpg", quality=95)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")  # decoded whole
    drafted, draft = [], JpegImageFile.draft
    monkeypatch.setattr(
        JpegImageFile, "draft", lambda self, mode, size: (drafted.append(size), draft(self, mode, size))[1]
    )
    small, plain = (upload.read(tmp_path / f"a.{suffix}", (48, 48, 3)).pixels.astype(int) for suffix in ("jpg", "png"))
    assert drafted == [(320, 213)]  # a quarter, four times what is needed
    assert np.abs(small - plain).mean() < 1.5
    np.testing.assert_array_equal(small, strictly(tmp_path / "a.jpg", (48, 48, 3)))
    drafted.clear()
    upload.read(tmp_path / "a.jpg", (640, 640, 3))
    assert drafted == []


def test_a_photograph_of_too_many_pixels_is_read_if_it_is_a_jpeg(tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "MAX_PIXELS", 4_000)
    pixels = np.broadcast_to(np.array([200, 100, 50], np.uint8), (160, 240, 3))
    picture = upload.read(save(tmp_path / "a.jpg", pixels), (100, 100, 3))  # 38,400 pixels: a quarter of each side
    assert np.abs(picture.pixels.astype(int) - (200, 100, 50)).max() <= 3
    assert (picture.header.width, picture.header.height) == (240, 160)
    for path, size in (
        (save(tmp_path / "b.png", pixels), "240×160"),
        (save(tmp_path / "c.jpg", noise(600, 600)), "600×600"),
    ):
        with pytest.raises(DataError, match=f"claims {size} pixels, more than 4,000: resize it first"):
            upload.read(path, (100, 100, 3))


@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.jpg", {"quality": 90}), ("a.tif", {}), ("a.gif", {})])
def test_a_file_in_memory_is_read_as_on_disk(tmp_path, name, options):
    path = save(tmp_path / name, noise(300, 200), **options)
    on_disk, in_memory = (upload.read(source, (16, 16, 3)) for source in (path, io.BytesIO(path.read_bytes())))
    np.testing.assert_array_equal(on_disk.pixels, in_memory.pixels)
    assert on_disk[1:] == in_memory[1:]
    assert upload.look(path) == upload.look(io.BytesIO(path.read_bytes()))


@pytest.mark.parametrize(("content", "why"), [(b"", "the file is empty"), (b"no picture", "by its content no PNG")])
def test_what_is_wrong_in_memory_is_said_as_of_a_file(content, why):
    with pytest.raises(DataError, match=why):
        upload.read(io.BytesIO(content), (16, 16, 3))
