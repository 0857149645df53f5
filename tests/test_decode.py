"""Photographs of several sizes, ImageNet-30's folders and splits, and ranges of held-out classes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adjax.data import DATASETS, DataError, find, load
from adjax.data.datasets import imagenet30
from adjax.data.io import pixels, upload
from adjax.data.protocols import task
from adjax.data.registry import Dataset


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.asarray(pixels, np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **options)
    return path


def read_square(path, side):
    return upload.read(path, (side, side, 3), strict=True).pixels


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_a_square_of_the_right_size_is_kept_as_it_is(tmp_path):
    pixels = noise(8, 8)
    np.testing.assert_array_equal(read_square(save(tmp_path / "a.png", pixels), 8), pixels)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (9, 8)])
def test_the_middle_is_kept(tmp_path, shape):
    pixels = noise(*shape)
    top, left = (shape[0] - 8) // 2, (shape[1] - 8) // 2
    wanted = pixels[top : top + 8, left : left + 8].astype(int)
    got = read_square(save(tmp_path / "a.png", pixels), 8)
    if (shape[0] - 8) % 2 == 0:
        np.testing.assert_array_equal(got, wanted)
    else:  # half a pixel between two rows
        np.testing.assert_allclose(got, (pixels[:8].astype(int) + pixels[1:9]) / 2, atol=1)


def test_shrinking_does_not_alias(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    got = read_square(save(tmp_path / "a.png", stripes), 8)
    assert 120 <= got.min() <= got.max() <= 135


def test_grey_becomes_rgb_and_small_becomes_large(tmp_path):
    got = read_square(save(tmp_path / "a.png", np.full((4, 5, 1), 77)), 16)
    assert got.shape == (16, 16, 3)
    assert np.unique(got).tolist() == [77]


def test_a_sliver_costs_no_memory(tmp_path):
    got = read_square(save(tmp_path / "a.png", np.full((1, 60_000, 1), 9)), 256)
    assert got.shape == (256, 256, 3)


@pytest.fixture
def photographs(tmp_path):
    """Two classes of four photographs, no two of one size."""
    for number, where in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        for row in range(2):
            save(tmp_path / where / f"{row}.png", np.full((6 + number, 9 - row, 3), 50 * number + row))
    return tmp_path


def test_photographs_need_a_size(photographs):
    with pytest.raises(DataError, match=r"all must have one size.*side_px=224"):
        load(str(photographs), "train")
    train = load(str(photographs), "train", side_px=4)
    assert train.images.shape == (4, 4, 4, 3)
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 50, 51]
    assert task(str(photographs), "holdout:1", side_px=5).ood.images.shape == (2, 5, 5, 3)
    assert task(str(photographs), str(photographs / "test"), side_px=5).ood.images.shape[1:] == (5, 5, 3)
    with pytest.raises(DataError, match="images of digits have one size"):
        load("digits", "train", side_px=4)
    with pytest.raises(DataError, match="side_px is 0, but must be 1 to 4096"):
        load(str(photographs), "train", side_px=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: save(path, noise(4, 4, 4)), "transparent pixels"),
        (lambda path: Image.new("CMYK", (4, 4)).save(path.with_suffix(".jpg")), "mode CMYK"),
        (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "repair it"),
        (lambda path: Image.new("I;16", (4, 4)).save(path), "16 bits a channel"),
    ],
)
def test_odd_files_are_named_when_resized_too(photographs, spoil, message):
    spoil(photographs / "train/dog/odd.png")
    with pytest.raises(DataError, match=message) as caught:
        load(str(photographs), "train", side_px=4, strict=True)
    assert "train/dog/odd." in str(caught.value)


# --- ImageNet-30


@pytest.fixture
def published(tmp_path, monkeypatch):
    """All 30 classes, one photograph each a half, whose grey tells its class."""
    monkeypatch.setenv("ADJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADJAX_DATA_DIR", raising=False)
    root = tmp_path / "sets" / "imagenet30"
    for half in ("one_class_train", "one_class_test"):
        for number, name in enumerate(imagenet30.CLASSES):
            save(root / half / name / "n0" / "0.JPEG", np.full((10, 12, 3), 8 * number), format="JPEG", quality=95)
    return tmp_path / "sets"


def near(split):
    return np.rint(split.images.mean((1, 2, 3)) / 8).astype(int)


@pytest.mark.parametrize(
    ("ood", "normal"),
    [("holdout:10-29", range(10)), ("holdout:0-9,20-29", range(10, 20)), ("holdout:0-19", range(20, 30))],
    ids=["a", "b", "c"],
)
def test_the_three_splits(published, ood, normal):
    photographs = task("imagenet30", ood, published, side_px=8)
    assert photographs.classes == imagenet30.CLASSES[normal[0] : normal[-1] + 1]
    assert near(photographs.train).tolist() == near(photographs.test).tolist() == list(normal)
    assert photographs.train.labels.tolist() == list(range(10))
    assert near(photographs.ood).tolist() == photographs.ood.labels.tolist()
    assert set(photographs.ood.labels) == set(range(30)) - set(normal)


def test_one_split_by_one_other(published):
    photographs = task("imagenet30", "holdout:20-29/10-19", published, side_px=8)
    assert photographs.classes == imagenet30.CLASSES[10:20]
    assert near(photographs.train).tolist() == near(photographs.test).tolist() == list(range(10, 20))
    assert photographs.train.labels.tolist() == list(range(10))
    assert near(photographs.ood).tolist() == photographs.ood.labels.tolist() == list(range(20, 30))
    for wrong in ("holdout:20-29/20", "holdout:20-29/30", "holdout:20-29/1,1"):
        with pytest.raises(DataError, match="a class after the / is none of them, twice or held out"):
            task("imagenet30", wrong, published, side_px=8)


def test_held_out_photographs_are_not_even_decoded(published):
    (published / "imagenet30/one_class_train/volcano/n0/0.JPEG").write_bytes(b"damaged")
    assert len(task("imagenet30", "holdout:10-29", published, side_px=8).train.images) == 10
    with pytest.raises(DataError, match="volcano"):
        task("imagenet30", "holdout:0-19", published, side_px=8)


def test_imagenet30_is_256_pixels_and_found_where_it_lies(published):
    assert load("imagenet30", "test", published).images.shape == (30, 256, 256, 3)
    assert load("imagenet30", "test", published / "imagenet30").images.shape == (30, 256, 256, 3)
    assert imagenet30.where(published) == published / "imagenet30"
    with pytest.raises(DataError, match=r"no one_class_train and one_class_test in .*publisher.*--data-dir DIR"):
        load("imagenet30", "train", published / "imagenet30/one_class_test")


def test_other_folders_are_not_taken_for_imagenet30(published):
    tank = published / "imagenet30/one_class_train/tank"
    tank.rename(tank.with_name("tanks"))
    with pytest.raises(DataError, match="lacking: none; unknown: tanks"):
        load("imagenet30", "train", published)


def test_every_set_takes_what_it_says(published):
    for name, dataset in DATASETS.items():
        assert isinstance(dataset, Dataset)
        assert set(dataset.takes) <= {"side_px", "classes"}, name
    some = find("imagenet30", published, side_px=4).load("train", published, classes=(3, 7))
    assert some.labels.tolist() == [3, 7]


# --- ranges


@pytest.mark.parametrize(
    ("words", "held"), [("0,3-5", {0, 3, 4, 5}), ("7-9", {7, 8, 9}), ("2-2", {2}), (" 1 - 2 ", {1, 2})]
)
def test_ranges_of_held_out_classes(words, held):
    assert set(task("digits", f"holdout:{words}").ood.labels) == held


@pytest.mark.parametrize("words", ["5-3", "-1", "3-", "1-2-3", "0-999999999999", "a-b", "0,,1"])
def test_ranges_that_name_no_classes(words):
    with pytest.raises(DataError, match="names no classes"):
        task("digits", f"holdout:{words}")


def test_a_long_jpeg_is_decoded_as_fine_as_its_middle_needs(tmp_path):
    """Of 1024×128 px the middle 128 are wanted at 32 and less: the short side counts."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 1024), np.uint8)).save(tmp_path / "long.jpg")
    for size, decoded in (((32, 32), (1024, 128)), ((16, 16), (512, 64)), ((4, 4), (128, 16))):
        with Image.open(tmp_path / "long.jpg") as image:
            pixels.decode_small(image, size)
            assert image.size == decoded
