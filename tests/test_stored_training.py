"""Training with pixels in a file: the detector of memory, and never more than a batch of pixels read at once."""

import json
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import adjax
from adjax import _fitting, baselines, features, thresholds
from adjax import detector as detectors
from adjax.__main__ import main
from adjax.auto import record, tiled
from adjax.cli import train
from adjax.data.io import gather, scratch
from adjax.data.io.scratch import Scratch, StoredImages
from adjax.spec import FunctionSpec, resolve

pytestmark = pytest.mark.usefixtures("process_as_it_was")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (150, 8, 8, 1), np.uint8)
QUICK = ("--method", "hog_ocsvm", "--side-px", "8")


def fill(folder, images):
    folder.mkdir(parents=True)
    for row, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{row:03}.png")
    return folder


def stripes(count, seed):
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation([40, 90, 140, 190, 240, 10, 60, 110]) for _ in range(count)])
    return (rows[:, None, :, None] + rng.integers(0, 5, (count, 8, 8, 1))).astype(np.uint8)


@pytest.fixture
def read(monkeypatch):
    """How many pictures each read of a file took."""
    counts, original = [], StoredImages._read

    def counted(self, rows):
        counts.append(len(rows))
        return original(self, rows)

    monkeypatch.setattr(StoredImages, "_read", counted)
    return counts


def stored(room, images):
    found = room.room(images.shape)
    for row, image in enumerate(images):
        found.write(row, image)
    return found


def patches(params, images):
    x = images.astype("float32").reshape(-1, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4, 4)
    return {"patches": x, "features": x.mean((1, 2))}


def fitted(images, scorer, labels=None, **options):
    spec = FunctionSpec(patches, scorer, (8, 8, 1), ("a", "b"))
    labels = np.arange(len(images)) % 2 if labels is None else labels
    return detectors.fit(spec, {}, None, images, labels, IMAGES[:20], **options)


def test_the_command_makes_the_detector_of_memory(tmp_path, monkeypatch, capsys, read):
    monkeypatch.setattr(features, "BATCH_SIZE", 64)
    monkeypatch.setattr(baselines, "BLOCK", 64)
    root = fill(tmp_path / "set/normal", stripes(200, 0)).parent
    (root / "normal/broken.png").write_bytes(b"no picture")
    fill(root / "anomalous", stripes(100, 1).swapaxes(1, 2))
    assert main(["train", str(root), "--out", str(tmp_path / "memory"), *QUICK]) == 0
    assert "kept in a file" not in capsys.readouterr().out
    assert not read
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 1000)
    assert main(["train", str(root), "--out", str(tmp_path / "file"), *QUICK, "--scratch", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"the pixels of 201 pictures of 8×8×1 take 0.0 GB: kept in a file in {tmp_path} until the end" in said
    assert 0 < max(read) <= 64  # of 200
    one, other = (adjax.load(tmp_path / name) for name in ("memory", "file"))
    np.testing.assert_allclose(one.calibration_scores, other.calibration_scores, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(one.calibration.knots, other.calibration.knots, rtol=1e-4, atol=1e-4)
    one, other = (json.loads((tmp_path / name / record.NAME).read_text()) for name in ("memory", "file"))
    for name in ("data_sha256", "held_out", "trained_on", "unreadable", "copies"):
        assert one[name] == other[name]
    assert one["figures"]["baselines"] == pytest.approx(other["figures"]["baselines"])
    assert (tmp_path / "file/report.html").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "memory", "set"]


@pytest.mark.parametrize("scorer", ["subspace", "padim"])
def test_scorers_of_maps_are_the_same_bit_for_bit(tmp_path, monkeypatch, scorer, read):
    monkeypatch.setattr(features, "BATCH_SIZE", 32)
    in_memory = fitted(IMAGES, scorer)
    with Scratch(tmp_path, in_memory=0) as room:
        images = stored(room, IMAGES)
        from_file = fitted(images, scorer)
        assert max(read) <= 64
        monkeypatch.setattr(_fitting, "KEPT_BYTES", 0)
        twice = fitted(images, scorer)
    known = fitted(IMAGES, scorer, outputs={k: np.asarray(v) for k, v in patches({}, IMAGES).items()})
    for other in (from_file, twice, known):
        np.testing.assert_array_equal(in_memory.calibration.knots, other.calibration.knots)
        np.testing.assert_array_equal(in_memory.calibration_scores, other.calibration_scores)


def test_pooled_features_of_a_file_are_fitted_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "BATCH_SIZE", 32)
    monkeypatch.setattr(detectors, "extract", None)  # which holds all of them
    with Scratch(tmp_path, in_memory=0) as room:
        from_file = fitted(stored(room, IMAGES), "mahalanobis")
    monkeypatch.undo()
    in_memory = fitted(IMAGES, "mahalanobis")
    assert from_file.calibration.knots.shape[0] == 2
    np.testing.assert_allclose(in_memory.calibration.knots, from_file.calibration.knots, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(in_memory.calibration_scores, from_file.calibration_scores, rtol=1e-3, atol=1e-5)


def test_class_thresholds_come_from_some_of_many(monkeypatch):
    monkeypatch.setattr(_fitting, "MOST_CALIBRATING", 40)
    labels = np.repeat([0, 1], [145, 5])
    rows = _fitting._evenly(labels, 2)
    assert len(rows) == 25  # 20 of the many, and all of the few
    assert set(range(145, 150)) < set(rows)
    assert (rows[0], rows[19]) == (0, 144)
    some = fitted(IMAGES, "subspace", labels)
    distances = resolve(some.spec).scorer.distances(some.scorer, patches({}, IMAGES[rows]))
    wanted = thresholds.calibrate(distances, labels[rows])
    np.testing.assert_allclose(some.calibration.knots, wanted.knots, rtol=1e-5)


def test_baselines_read_blocks(tmp_path, monkeypatch, read):
    monkeypatch.setattr(baselines, "BLOCK", 16)
    parts = IMAGES[:40], IMAGES[40:60] // 2, IMAGES[60:]
    wanted = baselines.aurocs(*parts)
    with Scratch(tmp_path, in_memory=0) as room:
        assert baselines.aurocs(*(stored(room, part) for part in parts)) == wanted
    assert max(read) == 16


def test_thumbnails_of_tiles_may_lie_in_a_file(tmp_path):
    files = sorted(fill(tmp_path / "set", RNG.integers(0, 256, (5, 70, 90, 1), np.uint8)).iterdir())
    files[2].write_bytes(b"no picture")
    wanted = tiled.sample(files, (16, 16, 1), 0)
    with Scratch(tmp_path, in_memory=0) as room:
        found = tiled.sample(files, (16, 16, 1), 0, scratch=room)
        assert isinstance(found.thumbnails, StoredImages)
        np.testing.assert_array_equal(found.thumbnails[:], wanted.thumbnails)
    np.testing.assert_array_equal(found.tiles, wanted.tiles)
    np.testing.assert_array_equal(found.owners, wanted.owners)
    assert list(found.errors) == list(wanted.errors) == [files[2]]


def test_ctrl_c_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "IN_MEMORY_BYTES", 0)
    root, made = fill(tmp_path / "set", stripes(60, 0)), []
    original = scratch.Scratch.room
    monkeypatch.setattr(scratch.Scratch, "room", lambda self, shape: made.append(original(self, shape)) or made[-1])
    monkeypatch.setattr(train.fit, "hold_out", Mock(side_effect=KeyboardInterrupt))
    assert main(["train", str(root), "--out", str(tmp_path / "out"), *QUICK]) == 130
    assert list(tmp_path.iterdir()) == [root]
    with pytest.raises(ValueError, match="closed"):
        made[0][0]


def test_a_network_that_is_trained_needs_its_pixels_in_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gather, "MAX_BYTES", 1000)
    root = fill(tmp_path / "set", stripes(60, 0))
    trained = ["train", str(root), "--method", "autoencoder", "--out", str(tmp_path / "out"), "--steps", "1"]
    assert main(trained) == 1
    assert "choose a smaller --side-px, or fewer pictures" in capsys.readouterr().err
