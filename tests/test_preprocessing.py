"""From a file to the array: the record of it, in artefact and export, and golden arrays."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
import untrained
from picture_files import save
from PIL import Image

import adjax
from adjax import Preprocessing, __main__, read_images
from adjax.data import DataError
from adjax.data.io import preprocessing
from adjax.spec import Spec

pytestmark = pytest.mark.usefixtures("process_as_it_was")

GOLDEN = {
    (24, 24, 3, "middle"): "ad3e235143a77fee",
    (24, 24, 3, "whole"): "32ce8dfcb53bb254",
    (24, 24, 3, "letterbox"): "0c03985582e55b0d",
    (24, 16, 1, "middle"): "9ee2fdd9891561b4",
    (24, 16, 1, "whole"): "03d51797ebc0faa8",
    (24, 16, 1, "letterbox"): "5e1fc94ff8317ae2",
    (80, 80, 1, "whole"): "84a2d7762c38ba4c",
}
"""What is read → SHA-256 of the array. If one changes, detectors that were saved score otherwise: count
`preprocessing.VERSIONS` up."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Colour, grey, 16 bits, transparent, and turned by its tag."""
    root = tmp_path_factory.mktemp("files")
    y, x = np.mgrid[:50, :70]
    colour = np.stack([3 * y + x, 255 - 2 * x - y, (x * y) % 256], -1).astype(np.uint8)
    deep = ((x * 937 + y * 641) % 65536).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        save(root / "a.png", colour),
        save(root / "b.png", colour[..., 2]),
        save(root / "c.png", deep),
        save(root / "d.png", np.dstack([colour, (x * 3).astype(np.uint8)])),
        save(root / "e.png", colour, exif=exif),
    ]


@pytest.mark.parametrize("way", GOLDEN)
def test_files_become_the_array_that_they_have_always_become(files, way):
    images = read_images(files, Preprocessing(*way))
    assert (images.shape, images.dtype) == ((5, *way[:3]), np.uint8)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == GOLDEN[way]


def test_the_rules_are_what_is_done(files):
    """As somebody does who has the record, Pillow and NumPy."""
    red, green, blue = np.moveaxis(np.asarray(Image.open(files[0])).astype(int), -1, 0)
    grey = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    found = read_images(files[:3], Preprocessing(20, 20, 1, "whole"))
    resized = Image.fromarray(grey.astype(np.uint8)).resize((20, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found[0, ..., 0], resized)
    deep = (np.asarray(Image.open(files[2])) >> 8).astype(np.uint8)
    resized = Image.fromarray(deep).resize((20, 20), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found[2, ..., 0], resized)


@pytest.fixture(scope="module")
def detector():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 12, 1), np.uint8)
    spec = Spec("gmm", "lenet5", "gmm", (8, 12, 1), ("normal",), frame="letterbox")
    return untrained.detector(spec, images[:30], np.zeros(30, np.int32), images[30:])


def test_the_scores_of_predict_are_those_of_the_array(detector, files, tmp_path):
    detector.save(tmp_path / "detector")
    folder, out = files[0].parent, tmp_path / "scores.csv"
    assert __main__.main(["predict", str(tmp_path / "detector"), str(folder), "--out", str(out), "--no-report"]) == 0
    with open(out, newline="") as file:
        told = [float(row["score"]) for row in csv.DictReader(file)]
    images = read_images(folder, adjax.load(tmp_path / "detector"))
    np.testing.assert_array_equal(images, read_images(files, detector.preprocessing))
    np.testing.assert_allclose(detector.score(images), told, rtol=1e-5)


def test_the_record_is_in_artefact_and_export(detector, files, tmp_path):
    detector.save(tmp_path / "detector")
    detector.export(tmp_path / "exported")
    for kind, folder in (("detector", "detector"), ("about", "exported")):
        (file,) = (tmp_path / folder).glob(f"{kind}-*.json")
        record = json.loads(file.read_text())["preprocessing"]
        assert record == detector.preprocessing.record
        assert {"resize", "grey", "decoding", "values", "framing"} <= set(record)
        np.testing.assert_array_equal(read_images(files, record), read_images(files, detector))
    assert adjax.export.load(tmp_path / "exported").preprocessing == Preprocessing(8, 12, 1, "letterbox")


def test_a_detector_whose_pictures_were_read_otherwise_is_refused(detector, tmp_path, monkeypatch):
    detector.save(tmp_path / "old")
    monkeypatch.setattr(preprocessing, "VERSIONS", (3, 4))
    with pytest.raises(adjax.ArtefactError, match="read by rules 1, and this adjax has rules 3 and 4"):
        adjax.load(tmp_path / "old")
    detector.save(tmp_path / "new")
    assert adjax.load(tmp_path / "new").preprocessing == detector.preprocessing


def test_the_depth_of_a_camera_is_part_of_it(tmp_path):
    samples = np.linspace(0, 4095, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(samples).save(tmp_path / "a.png")
    way = Preprocessing(8, 8, 1, depth=12)
    assert (way.record["version"], Preprocessing(8, 8, 1).record["version"]) == (2, 1)
    for by in (way, json.loads(json.dumps(way.record))):
        np.testing.assert_array_equal(read_images([tmp_path / "a.png"], by)[0, ..., 0], samples >> 4)
    old = {name: value for name, value in Preprocessing(8, 8, 1).record.items() if name != "depth"}
    np.testing.assert_array_equal(read_images([tmp_path / "a.png"], old)[0, ..., 0], samples >> 8)
    with pytest.raises(ValueError, match="no images are such"):
        read_images([tmp_path / "a.png"], {**way.record, "depth": 17})


def test_what_can_not_be_read_is_said(files, tmp_path):
    rows = adjax.detector_from(None, {}, "mahalanobis", np.random.default_rng(0).normal(size=(30, 4)))
    assert rows.preprocessing is None
    with pytest.raises(ValueError, match="must be a detector of uint8 pictures"):
        read_images(files, rows)
    with pytest.raises(ValueError, match="must have version, height, width, channels and frame"):
        read_images(files, {"height": 8})
    with pytest.raises(ValueError, match="no images are such"):
        read_images(files, {**Preprocessing(8, 8, 3).record, "channels": 2})
    with pytest.raises(DataError, match="each picture keeps its own size"):
        read_images(files, Preprocessing(8, 8, 3, "tiles"))
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"bad.png can't be read: the file is empty; repair it, or leave it out"):
        read_images([*files, tmp_path / "bad.png"], Preprocessing(8, 8, 3))
    with pytest.raises(DataError, match="is not there"):
        read_images(tmp_path / "none", Preprocessing(8, 8, 3))
    assert read_images([], Preprocessing(8, 8, 3)).shape == (0, 8, 8, 3)
