"""Pixels in a file: as an array that is read a slice at a time, and gone when it is closed."""

import hashlib
import shutil
import tempfile
from collections import namedtuple

import numpy as np
import pytest

from adjax import data, features
from adjax.data import copies
from adjax.data.io import gather, scratch
from adjax.data.io.scratch import Scratch, StoredImages
from adjax.data.split import DataError
from adjax.data.splitting import copies as exact_copies

IMAGES = np.random.default_rng(0).integers(0, 256, (150, 6, 5, 3), np.uint8)


@pytest.fixture
def stored(tmp_path):
    with Scratch(tmp_path, in_memory=0) as room:
        found = room.room(IMAGES.shape)
        for row in np.random.default_rng(1).permutation(len(IMAGES)):
            found.write(row, IMAGES[row])
        yield found


def test_it_reads_as_the_array_does(stored):
    assert isinstance(stored, StoredImages)
    assert (len(stored), stored.shape, stored.dtype, stored.size, stored.ndim) == (
        150,
        IMAGES.shape,
        np.uint8,
        IMAGES.size,
        4,
    )
    rows = np.array([149, 3, 4, 5, 3, 0])
    chosen = stored[rows]
    assert isinstance(chosen, StoredImages)
    np.testing.assert_array_equal(chosen[1:5], IMAGES[rows][1:5])
    np.testing.assert_array_equal(chosen[np.arange(6) > 2][:], IMAGES[rows][3:])
    np.testing.assert_array_equal(stored[-1], IMAGES[-1])
    np.testing.assert_array_equal(stored[10:90:7], IMAGES[10:90:7])
    np.testing.assert_array_equal(np.stack(list(stored)), IMAGES)
    np.testing.assert_array_equal(np.concatenate(list(scratch.blocks(stored, 64))), IMAGES)
    np.testing.assert_array_equal(np.asarray(stored, np.float32), IMAGES.astype(np.float32))
    assert stored[5:5].shape == (0, 6, 5, 3)
    with pytest.raises(IndexError):
        stored[150]


def test_what_goes_through_them_finds_the_same(stored):
    labels = np.zeros(150, np.int32)
    said = b"images:|u1:(150, 6, 5, 3);", IMAGES.tobytes(), b"labels:<i4:(150,);", labels.tobytes()
    whole = hashlib.sha256(b"".join(said)).hexdigest()
    assert data.digest(data.Split(stored, labels)) == data.digest(data.Split(IMAGES, labels)) == whole
    twice = np.r_[0:150, 7, 9]
    assert copies.near_copies(stored[twice]).tolist() == [*range(150), 7, 9]
    assert exact_copies(stored[twice]).tolist() == [*range(150), 7, 9]
    total = features.apply(lambda state, x: x.astype(np.float32).sum((1, 2, 3)), (), stored, 64)
    np.testing.assert_array_equal(total, IMAGES.astype(np.float32).sum((1, 2, 3)))


def test_no_name_is_left_and_closing_ends_it(tmp_path):
    with Scratch(tmp_path / "not" / "yet", in_memory=0) as room:
        found = room.room((2, 4, 4, 1))
        found.write(1, np.full((4, 4, 1), 7, np.uint8))
        assert (room.directory, list(tmp_path.iterdir())) == (tmp_path, [])
        assert found[1].max() == 7
    with pytest.raises(ValueError, match="closed"):
        found[1]


def test_small_ones_stay_in_memory_and_large_ones_are_told(tmp_path):
    lines = []
    with Scratch(tmp_path, lines.append, in_memory=1000) as room:
        assert isinstance(room.room((10, 10, 10, 1)), np.ndarray)
        assert not lines
        assert isinstance(room.room((11, 10, 10, 1)), StoredImages)
    assert "11 pictures of 10×10×1" in lines[0]
    assert str(tmp_path) in lines[0]


def test_too_small_a_disk_is_told_with_the_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(3_000_000_000))
    with Scratch(tmp_path) as room, pytest.raises(DataError) as error:
        room.room((100_000, 256, 256, 3))
    assert all(said in str(error.value) for said in ("19.7 GB", "3.0 GB", str(tmp_path), "100,000 pictures"))


def test_a_place_that_takes_no_file_is_told(tmp_path, monkeypatch):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with Scratch(tmp_path, in_memory=0) as room, pytest.raises(DataError, match="Permission denied"):
        room.room((2, 4, 4, 1))


def test_a_full_disk_ends_it_rather_than_blaming_the_picture(tmp_path, monkeypatch):
    from PIL import Image

    for name in "ab":
        Image.fromarray(IMAGES[0]).save(tmp_path / f"{name}.png")

    class Full:
        seek, close = (lambda self, *at: 0), (lambda self: None)

        def write(self, pixels):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: Full())
    with Scratch(tmp_path, in_memory=0) as room, pytest.raises(OSError, match="No space left on device"):
        gather.images(sorted(tmp_path.glob("*.png")), (4, 4, 3), scratch=room)


def test_broken_pictures_are_left_out_of_the_file(tmp_path):
    from PIL import Image

    for row in range(5):
        Image.fromarray(IMAGES[row]).save(tmp_path / f"{row}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    files = sorted(tmp_path.glob("*.png"))
    with Scratch(tmp_path, in_memory=0) as room:
        images, rows, errors = gather.images(files, (6, 5, 3), frame="whole", scratch=room)
        assert (rows.tolist(), list(errors)) == ([0, 1, 3, 4], [files[2]])
        np.testing.assert_array_equal(images[:], IMAGES[rows])


def test_calls_wait_in_bounded_numbers_and_in_order(monkeypatch):
    monkeypatch.setattr(gather, "_WAITING", 3)
    assert gather.each(lambda a, b: a * b, range(10), range(10)) == [n * n for n in range(10)]
    assert gather.each(len, []) == []
