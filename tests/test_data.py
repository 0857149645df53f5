"""Data: what `load` gives, a user's own files, and who is normal. (Where from: test_data_sources.)"""

from __future__ import annotations

import doctest
import importlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adjax.data import DATASETS, DataError, Split, digest, find, load
from adjax.data.io.idx import encode_idx
from adjax.data.protocols import conform, holdout, pair, task
from adjax.data.splitting import validation_split

DIGITS_TRAIN = "7d7665c6fc304b67133abe23c05291e945440bd6077d287113c76a648fb2bfe9"
DIGITS_TEST = "e61493d6073899fc974dfe155a123ef59319bc547d3cafc6c5a53e305b92b954"
VALIDATION_ROWS = [2, 3, 11, 13]


def some_split(count: int = 12, shape: tuple[int, ...] = (4, 5, 1), classes: int = 3, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    return Split(images, (np.arange(count) % classes).astype(np.int32))


# --- load, digest, registry


def test_import_is_cheap():
    heavy = {"sklearn", "tensorflow_datasets", "tensorflow", "PIL", "jax", "rich"}
    code = f"import sys, adjax.data, adjax.data.protocols; print({heavy!r} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["split", "splitting", "registry", "protocols.ood_images"])
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(f"adjax.data.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


def test_digits_are_all_there_once_and_keep_their_values():
    from sklearn.datasets import load_digits

    train, test = load("digits", "train"), load("digits", "test")
    assert train.images.shape == (1297, 8, 8, 1)
    assert test.images.shape == (500, 8, 8, 1)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int32
    ours = np.concatenate([train.images, test.images]).reshape(-1, 64)
    theirs, labels = load_digits(return_X_y=True)
    back = np.rint(ours * (16 / 255))
    ours_rows = sorted(map(tuple, np.column_stack([back, np.concatenate([train.labels, test.labels])])))
    assert ours_rows == sorted(map(tuple, np.column_stack([theirs, labels])))
    assert ours.max() == 255


def test_digits_split_is_the_same_everywhere():
    # If this fails, every number published for digits changes: don't mend the test, mend the split.
    assert digest(load("digits", "train")) == DIGITS_TRAIN
    assert digest(load("digits", "test")) == DIGITS_TEST


def test_digest_sees_every_change_and_nothing_else():
    split = some_split()
    flipped = split.images.copy()
    flipped[3, 2, 1, 0] ^= 1
    others = [
        split._replace(images=flipped),
        split._replace(labels=split.labels[::-1].copy()),
        split._replace(images=split.images.reshape(12, 5, 4, 1)),
        split._replace(labels=split.labels.astype(np.int64)),
        Split(split.images[::-1], split.labels),
    ]
    assert len({digest(split), *map(digest, others)}) == 6
    strided = Split(np.asfortranarray(split.images), split.labels.astype(">i4"))
    assert digest(strided) == digest(split)


@pytest.mark.parametrize("name", ["mnits", "fashion-mnist", "digit"])
def test_unknown_name_offers_the_nearest(name):
    near = {"mnits": "mnist", "fashion-mnist": "fashion_mnist", "digit": "digits"}[name]
    with pytest.raises(DataError, match=rf"no data set '{name}'\. Did you mean '{near}'\?.*digits, mnist"):
        load(name, "train")


def test_unknown_split_and_missing_path():
    with pytest.raises(DataError, match="no split 'val'"):
        load("digits", "val")
    with pytest.raises(DataError, match=r"nothing is at nowhere/set\.npz"):
        load("nowhere/set.npz", "train")


def test_registry_tells_class_names():
    assert DATASETS["fashion_mnist"].classes[9] == "Ankle boot"
    assert {name: len(dataset.classes) for name, dataset in DATASETS.items() if len(dataset.classes) != 10} == {
        "imagenet30": 30,
        "photographs": 2,
    }


# --- a user's own arrays


def test_npz_round_trip(tmp_path):
    train, test = some_split(), some_split(6, seed=1)
    path = tmp_path / "set.npz"
    np.savez(path, x_train=train.images, y_train=train.labels, x_test=test.images, y_test=test.labels)
    assert digest(load(str(path), "train")) == digest(train)
    assert digest(load(str(path), "test")) == digest(test)
    assert find(str(path)).classes == ("0", "1", "2")


def test_npz_without_halves_is_split_by_class(tmp_path):
    whole = some_split(30)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=whole.images[..., 0], labels=whole.labels.astype(np.uint8))
    train, test = load(str(path), "train"), load(str(path), "test")
    assert np.bincount(train.labels).tolist() == [8, 8, 8]
    assert np.bincount(test.labels).tolist() == [2, 2, 2]
    rows = np.concatenate([train.images, test.images]).reshape(30, -1)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, whole.images.reshape(30, -1)))


def test_npz_with_pickled_objects_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "set.npz"
    np.savez(path, images=np.array([Evil()], object), labels=np.zeros(1, int))
    with pytest.raises(DataError, match=r"set\.npz.*no objects"):
        load(str(path), "train")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": np.zeros((4, 2, 2), np.float32), "labels": np.zeros(4, int)},
            "float32, but must be uint8",
        ),
        (
            {"images": np.zeros((4, 1, 2, 2), np.uint8), "labels": np.zeros(4, int)},
            r"\(4, 1, 2, 2\).*transpose",
        ),
        ({"images": np.zeros((4, 2, 2), np.uint8), "labels": np.zeros(3, int)}, r"\[3\].*integers \[4\]"),
        ({"images": np.zeros((4, 2, 2), np.uint8), "labels": np.zeros(4)}, "labels are float64"),
        ({"images": np.zeros((4, 2, 2), np.uint8), "labels": -np.ones(4, int)}, "labels run from -1"),
        ({"images": np.zeros((0, 2, 2), np.uint8), "labels": np.zeros(0, int)}, "nothing zero"),
        ({"pictures": np.zeros((4, 2, 2), np.uint8)}, "has arrays pictures, but needs"),
    ],
)
def test_npz_of_other_contents_is_refused(tmp_path, arrays, message):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message):
        load(str(path), "train")


def test_damaged_npz_is_named(tmp_path):
    path = tmp_path / "set.npz"
    path.write_bytes(b"PK\x03\x04 not a zip file")
    with pytest.raises(DataError, match=r"cannot read .*set\.npz"):
        load(str(path), "train")
    with open(path, "wb") as file:
        np.save(file, np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(DataError, match=r"set\.npz is a single array: save images and labels together"):
        load(str(path), "train")


def test_idx_folder_round_trip(tmp_path):
    train = some_split(classes=4)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(encode_idx(train.images[..., 0]))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode_idx(train.labels))
    assert digest(load(str(tmp_path), "train")) == digest(train)
    assert find(str(tmp_path)).classes == ("0", "1", "2", "3")
    with pytest.raises(DataError, match="has no test split: put t10k-images"):
        load(str(tmp_path), "test")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(encode_idx(train.labels)[:-1])
    with pytest.raises(DataError, match="holds 11 bytes, but its header says"):
        load(str(tmp_path), "train")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x0d\1\0\0\0\0")
    with pytest.raises(DataError, match="not an IDX file of bytes"):
        load(str(tmp_path), "train")


# --- a user's own image folder


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path):
    """root/train/{good}, root/test/{crack, good}: three grey images each."""
    for number, where in enumerate(("train/good", "test/crack", "test/good")):
        for row, pixels in enumerate(some_split(3, seed=number).images):
            save(tmp_path / where / f"{row}.png", pixels)
    return tmp_path


def test_image_folder_round_trip(folder):
    train, test = load(str(folder), "train"), load(str(folder), "test")
    assert find(str(folder)).classes == ("good", "crack"), "classes that are trained on come first"
    assert train.labels.tolist() == [0, 0, 0]
    assert test.labels.tolist() == [1, 1, 1, 0, 0, 0] or test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(train.images, some_split(3, seed=0).images)
    np.testing.assert_array_equal(test.images[test.labels == 1], some_split(3, seed=1).images)
    np.testing.assert_array_equal(test.images[test.labels == 0], some_split(3, seed=2).images)


def test_published_imagenet30_layout_is_known(folder):
    (folder / "train").rename(folder / "one_class_train")
    (folder / "test").rename(folder / "one_class_test")
    assert len(load(str(folder), "test").images) == 6


def test_image_folder_without_halves_is_split_by_class(tmp_path):
    whole = some_split(20, shape=(4, 4, 3), classes=2)
    for row, (pixels, label) in enumerate(zip(whole.images, whole.labels, strict=True)):
        save(tmp_path / "ab"[label] / "deeper" / f"{row:02}.PNG", pixels)
    train, test = load(str(tmp_path), "train"), load(str(tmp_path), "test")
    assert (len(train.images), len(test.images)) == (16, 4)
    assert np.bincount(test.labels).tolist() == [2, 2]
    rows = np.concatenate([train.images, test.images]).reshape(20, -1)
    assert sorted(map(tuple, rows)) == sorted(map(tuple, whole.images.reshape(20, -1)))
    assert digest(load(str(tmp_path), "train")) == digest(train)


def test_one_colour_image_makes_all_rgb(folder):
    pixels = some_split(1, shape=(4, 5, 3)).images[0]
    save(folder / "train/good/9.png", pixels)
    test = load(str(folder), "test").images
    assert test.shape == (6, 4, 5, 3)
    np.testing.assert_array_equal(test[..., 0], test[..., 2])
    np.testing.assert_array_equal(load(str(folder), "train").images[3], pixels)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "LA"])
def test_opaque_modes_are_read(folder, mode):
    save(folder / "train/good/9.png", np.full((4, 5, 1), 255, np.uint8), mode)
    assert load(str(folder), "train").images[3].min() == 255


def test_links_and_hidden_files_are_passed_over(folder, tmp_path_factory):
    outside = save(tmp_path_factory.mktemp("outside") / "secret.png", np.zeros((4, 5, 1), np.uint8))
    (folder / "train/good/link.png").symlink_to(outside)
    (folder / "train/linked").symlink_to(outside.parent)
    (folder / "train/good/.hidden.png").write_bytes(outside.read_bytes())
    (folder / "train/.cache").mkdir()
    (folder / "train/.cache/0.png").write_bytes(outside.read_bytes())
    (folder / "train/good/notes.txt").write_text("not an image")
    assert len(load(str(folder), "train").images) == 3
    assert find(str(folder)).classes == ("good", "crack")


def test_folder_of_links_only_says_so(tmp_path):
    image = save(tmp_path / "a.png", np.zeros((4, 5, 1), np.uint8))
    (tmp_path / "root/good").mkdir(parents=True)
    (tmp_path / "root/good/0.png").symlink_to(image)
    with pytest.raises(DataError, match=r"no images.*symbolic links are skipped"):
        load(str(tmp_path / "root"), "train")


BAD_FILES = {
    "16 bits, grey": (png(5, 4, 16, 0, (b"\0" + b"\1" * 10) * 4), "16 bits a channel"),
    "16 bits, RGB": (png(5, 4, 16, 2, (b"\0" + b"\1" * 30) * 4), "mode RGB with 16 bits a channel"),
    "16 bits, PPM": (b"P6 5 4 65535\n" + bytes(120), "16 bits a channel"),
    "transparent": (png(5, 4, 8, 6, (b"\0" + b"\1\1\1\0" * 5) * 4), "transparent pixels"),
    "another size": (png(6, 4, 8, 0, (b"\0" + b"\1" * 6) * 4), "6×4 pixels, but .* 5×4"),
    "81 megapixels in 75 bytes": (png(9000, 9000, 8, 0, b"\0"), "claims 9000×9000 pixels"),
    "400 megapixels": (png(20000, 20000, 8, 0, b"\0"), "20000|decompression bomb"),
    "cut short": (png(5, 4, 8, 0, (b"\0" + b"\1" * 5) * 4)[:50], "cannot read"),
    "a flipped bit": (png(5, 4, 8, 0, (b"\0" + b"\1" * 5) * 4).replace(b"IDATx", b"IDATy"), "cannot read"),
    "not an image": (b"<svg/>", "cannot read"),
    "empty": (b"", "cannot read"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n", "by its content no PNG"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD_FILES)
def test_file_that_does_not_fit_is_named(folder, kind):
    content, message = BAD_FILES[kind]
    (folder / "train/good/9.png").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(str(folder), "train", strict=True)
    assert str(folder / "train/good/9.png") in str(caught.value)


def test_cmyk_and_animations_are_refused(folder):
    save(folder / "train/good/9.jpg", np.zeros((4, 5, 3), np.uint8), "CMYK")
    with pytest.raises(DataError, match=r"9\.jpg: mode CMYK"):
        load(str(folder), "train", strict=True)
    (folder / "train/good/9.jpg").unlink()
    frames = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (0, 200)]
    frames[0].save(folder / "train/good/9.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"9\.gif: several frames"):
        load(str(folder), "train", strict=True)


def test_half_a_folder_says_what_is_missing(folder):
    (folder / "train").rename(folder.parent / "elsewhere")
    with pytest.raises(DataError, match=r"none to train on: put normal ones into .*/train"):
        load(str(folder), "train")
    (folder.parent / "elsewhere").rename(folder / "train")


# --- protocols


def test_validation_split_is_stratified_disjoint_and_deterministic():
    labels = np.repeat(np.arange(4), [100, 50, 10, 1])
    np.random.default_rng(3).shuffle(labels)
    train, val = validation_split(labels, 0.1, seed=5)
    assert train.dtype == val.dtype == np.int32
    assert np.array_equal(np.union1d(train, val), np.arange(161))
    assert len(train) + len(val) == 161
    assert np.all(np.diff(train) > 0)
    assert np.all(np.diff(val) > 0)
    assert np.bincount(labels[val], minlength=4).tolist() == [10, 5, 1, 0], "a class of one stays in training"
    assert np.array_equal(validation_split(labels, 0.1, seed=5)[1], val)
    assert not np.array_equal(validation_split(labels, 0.1, seed=6)[1], val)


def test_validation_split_is_the_same_on_every_machine():
    assert validation_split(np.zeros(20, int), 0.2, seed=0)[1].tolist() == VALIDATION_ROWS


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_validation_split_refuses_fractions(fraction):
    with pytest.raises(ValueError, match="fraction is"):
        validation_split(np.zeros(4, int), fraction, seed=0)


def test_holdout_relabels_what_remains():
    train, test = some_split(20, classes=5), some_split(10, classes=5, seed=1)
    kept, kept_test, ood = holdout(train, test, classes=(1, 3))
    assert kept.labels.tolist() == [0, 1, 2] * 4
    assert kept_test.labels.tolist() == [0, 1, 2] * 2
    np.testing.assert_array_equal(kept.images, train.images[np.isin(train.labels, (0, 2, 4))])
    assert ood.labels.tolist() == [1, 3, 1, 3], "held-out images keep their own labels"
    np.testing.assert_array_equal(ood.images, test.images[np.isin(test.labels, (1, 3))])
    assert all(split.labels.dtype == np.int32 for split in (kept, kept_test, ood))


@pytest.mark.parametrize("classes", [(7,), (-1,), (0, 1, 2), ()])
def test_holdout_refuses(classes):
    with pytest.raises(DataError, match="hold"):
        holdout(some_split(), some_split(), classes)


def test_task_holds_out_digits():
    digits = task("digits", "holdout:0,3")
    assert digits.classes == tuple("12456789")
    assert set(digits.train.labels) == set(digits.test.labels) == set(range(8))
    assert set(digits.ood.labels) == {0, 3}
    test = load("digits", "test")
    assert len(digits.test.images) + len(digits.ood.images) == len(test.images)
    assert digits.train.images.shape == (
        1297 - np.isin(load("digits", "train").labels, (0, 3)).sum(),
        8,
        8,
        1,
    )


def test_task_holds_out_what_is_never_trained_on(folder):
    inspection = task(str(folder), "holdout:1")
    assert inspection.classes == ("good",)
    assert [len(split.images) for split in inspection[3:]] == [3, 3, 3]


@pytest.mark.parametrize("ood", ["digits", "holdout:", "holdout:x", "holdout:-1", "holdout:10", "mnits"])
def test_task_refuses(ood):
    with pytest.raises(DataError, match=r"own OOD set|no classes|class 10|no data set"):
        task("digits", ood)


def test_pair_needs_one_shape_or_leave_to_resize():
    inside, other = some_split(shape=(8, 8, 1)), some_split(shape=(4, 4, 3))
    assert pair(inside, inside, inside)[2].images is inside.images
    with pytest.raises(DataError, match=r"4×4×3, the in-distribution ones 8×8×1.*resize=True"):
        pair(inside, inside, other)
    assert pair(inside, inside, other, resize=True)[2].images.shape == (12, 8, 8, 1)


def test_conform_repeats_grey_and_keeps_flat_images_flat():
    grey = some_split(shape=(4, 5, 1)).images
    np.testing.assert_array_equal(conform(grey, (4, 5, 3), resize=True), np.repeat(grey, 3, axis=-1))
    flat = np.full((2, 4, 5, 3), 77, np.uint8)
    assert np.unique(conform(flat, (9, 7, 1), resize=True)).tolist() == [77]
