"""AVIF and HEIF: what telephones and the web have, as other libraries than the reader write it."""

from __future__ import annotations

import io
import re
import sys

import numpy as np
import pytest
from PIL import Image

from adjax import distribution
from adjax.data import DataError
from adjax.data.io import upload, walk

SHAPE = (48, 64)


def blocks(channels: int) -> np.ndarray:
    """Blocks of 16 px, so that a codec with halved colour keeps them."""
    levels = np.random.default_rng(0).integers(0, 256, (3, 4, channels))
    return np.kron(levels, np.ones((16, 16, 1))).astype(np.uint8)


def avif(pixels: np.ndarray, **options) -> bytes:
    return pytest.importorskip("imagecodecs").avif_encode(pixels, level=100, **options)


def heif(pixels: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    pytest.importorskip("pillow_heif").from_pillow(image).save(file, quality=-1, **options)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".heic", ".jpg", ""])  # a file is what its first bytes say
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("write", [avif, heif])
def test_pixels_are_those_written(tmp_path, write, channels, suffix):
    pixels, path = blocks(channels), tmp_path / f"a{suffix}"
    path.write_bytes(write(pixels))
    picture = upload.read(path, (*SHAPE, channels))
    assert (picture.header.height, picture.header.width, picture.header.channels) == (*SHAPE, channels)
    np.testing.assert_allclose(picture.pixels.astype(int), pixels, atol=2)
    assert picture.peak is None


def test_of_ten_and_twelve_bits_the_upper_eight_stay(tmp_path):
    pixels = blocks(3)
    for bits in (10, 12):
        deep = pixels.astype(np.uint16) << (bits - 8)
        (tmp_path / "a").write_bytes(avif(deep, bitspersample=bits))
        np.testing.assert_allclose(upload.read(tmp_path / "a", (*SHAPE, 3)).pixels.astype(int), pixels, atol=2)


@pytest.mark.parametrize("write", [avif, heif])
def test_what_is_transparent_lies_on_white(tmp_path, write):
    pixels = np.dstack([blocks(3), np.zeros(SHAPE, np.uint8)])
    pixels[:, :32, 3] = 255
    (tmp_path / "a").write_bytes(write(pixels))
    found = upload.read(tmp_path / "a", (*SHAPE, 3)).pixels.astype(int)
    np.testing.assert_allclose(found[:, :32], pixels[:, :32, :3], atol=2)
    assert (found[:, 32:] >= 253).all()


def test_a_turned_picture_is_turned_once(tmp_path):
    """A telephone's, held upright: the file says so twice, in a box of its own and in EXIF."""
    pixels = blocks(3)
    exif = Image.Exif()
    exif[274] = 6
    (tmp_path / "a").write_bytes(heif(pixels, exif=exif.tobytes()))
    picture = upload.read(tmp_path / "a", (64, 48, 3))
    assert (picture.header.height, picture.header.width) == (64, 48)
    np.testing.assert_allclose(picture.pixels.astype(int), np.rot90(pixels, -1), atol=2)


def test_without_a_reader_the_reason_says_how(tmp_path, monkeypatch):
    from PIL import features

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(features, "check", lambda name: False)
    for brand, wanted in (
        (b"heic", f"HEIC or HEIF, which needs a reader: {re.escape(distribution.install('heif'))}"),
        (b"avif", "AVIF, which this Pillow does not read: pip install --upgrade pillow"),
    ):
        (tmp_path / "a").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(8))
        with pytest.raises(DataError, match=wanted):
            upload.read(tmp_path / "a", (8, 8, 3))


def test_a_damaged_one_is_refused_and_a_folder_lists_them(tmp_path):
    content = avif(blocks(3))
    (tmp_path / "cut.avif").write_bytes(content[: len(content) // 2])
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(8))
    assert walk.find(tmp_path).names == ["cut.avif", "phone.HEIC"]
    for name in ("cut.avif", "phone.HEIC"):
        with pytest.raises(DataError):
            upload.read(tmp_path / name, (8, 8, 3))
