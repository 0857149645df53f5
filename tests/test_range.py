"""Grey TIFF of floats and of signed integers, by the values that are black and white: `--range`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import untrained
from PIL import Image

import adjax
from adjax import Preprocessing, __main__, read_images
from adjax.data import DataError
from adjax.data.io import tiff as tiff_reader
from adjax.data.io import upload
from adjax.doctor import machine
from adjax.spec import Spec

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def tiff(path, samples, photometric="minisblack", **options):
    tifffile.imwrite(path, samples, photometric=photometric, metadata=None, **options)
    return path


def ramp(kind, limits):
    """64 values from one limit to the other, as a file of that dtype has them."""
    return np.linspace(*limits, 64).astype(kind).reshape(8, 8)


def read(path, limits):
    return upload.read(path, (8, 8, 1), limits=limits).pixels[..., 0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("kind", "limits", "mode"),
    [
        ("f2", (-2, 2), "F"),
        ("f4", (0, 0.1), "F"),  # 0.1 in single precision is above 0.1
        ("f8", (-1e6, 1e6), "F"),
        ("i1", (-100, 27), "I"),
        ("i2", (-1000, 3000), "I"),
        ("i4", (-(2**31), 2**31 - 1), "I"),
        ("u4", (0, 100_000), "I"),
    ],
)
def test_the_limits_are_black_and_white(tmp_path, kind, limits, mode, compression, photometric, order):
    samples = ramp(kind, limits)
    path = tiff(tmp_path / "a.tif", samples, photometric, compression=compression, byteorder=order)
    low, high = np.asarray(limits, kind).astype(float)
    wanted = np.rint(255 * (samples.astype(float) - low) / (high - low))
    assert wanted.min() == 0
    assert wanted.max() == 255
    np.testing.assert_array_equal(read(path, limits), 255 - wanted if photometric == "miniswhite" else wanted)
    assert upload.look(path, limits=limits) == upload.Header(8, 8, 1, mode)
    assert upload.read(path, (8, 8, 1), limits=limits).peak is None


def test_without_compression_nothing_else_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_reader, "_codecs", lambda: False)
    for kind in ("f2", "f4", "f8", "i4"):
        assert read(tiff(tmp_path / "a.tif", ramp(kind, (0, 100))), (0, 100)).max() == 255


def test_a_turned_picture_is_turned(tmp_path):
    samples = ramp("f4", (0, 1))
    path = tiff(tmp_path / "a.tif", samples, extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(read(path, (0, 1)), np.rint(255 * np.rot90(samples.astype(float), -1)))


@pytest.mark.parametrize("kind", ["f4", "i4"])
def test_values_outside_are_refused(tmp_path, kind):
    for value in (-1, 4096):
        samples = np.full((8, 8), 7, kind)
        samples[3, 3] = value
        with pytest.raises(DataError, match=f"values from .*{value}.*, outside of 0 to 4095, the range that is expect"):
            read(tiff(tmp_path / "a.tif", samples), (0, 4095))


@pytest.mark.parametrize(("value", "wanted"), [(np.nan, "NaN among the pixels"), (np.inf, "values from 0.5 to inf")])
def test_a_pixel_that_is_not_finite_is_refused(tmp_path, value, wanted):
    samples = np.full((8, 8), 0.5, np.float32)
    samples[3, 3] = value
    with pytest.raises(DataError, match=wanted):
        read(tiff(tmp_path / "a.tif", samples), (0, 1))


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "i4", "u4"])
def test_without_a_range_the_reason_names_the_option(tmp_path, kind):
    with pytest.raises(DataError, match="train with --range LOW HIGH, the values that are black and white"):
        upload.look(tiff(tmp_path / "a.tif", ramp(kind, (0, 100))))


def test_other_files_have_no_range(tmp_path):
    """Their white is known, or they have several bands."""
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="no TIFF, but one of floats or signed integers from 0 to 1 is expected"):
        upload.look(tmp_path / "a.png", limits=(0, 1))
    for samples, photometric in (
        (np.zeros((8, 8), np.uint8), "minisblack"),
        (np.zeros((8, 8), np.uint16), "minisblack"),
        (np.zeros((8, 8, 3), np.float32), "rgb"),
    ):
        with pytest.raises(DataError, match="but grey of floats, signed or 32-bit integers from 0 to 1 is expected"):
            read(tiff(tmp_path / "a.tif", samples, photometric), (0, 1))


def test_the_range_of_a_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for level in (0.25, 0.5):
            writer.write(np.full((8, 8), level, np.float32), metadata=None, photometric="minisblack", contiguous=False)
    assert upload.read(tmp_path / "a.tif", (8, 8, 1), page=2, limits=(0, 1)).pixels.max() == 128
    with pytest.raises(DataError, match="several frames"):
        read(tmp_path / "a.tif", (0, 1))


def test_the_range_is_part_of_the_preprocessing(tmp_path):
    path, way = tiff(tmp_path / "a.tif", ramp("f4", (0, 1))), Preprocessing(8, 8, 1, limits=(0, 1))
    assert way.record["version"] == 3
    for by in (way, json.loads(json.dumps(way.record))):
        np.testing.assert_array_equal(read_images([path], by)[0, ..., 0], read(path, (0, 1)))
    for limits in ([1, 0], [0, float("nan")], [0], [0, None]):
        with pytest.raises(ValueError, match="no images are such"):
            read_images([path], {**way.record, "limits": limits})
    with pytest.raises(ValueError, match=r"depth=12 and limits=\(0, 1\): each says which value is white"):
        Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), depth=12, limits=(0, 1))


def test_a_detector_keeps_its_range_and_predict_takes_it(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    spec = Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), limits=[-1, 1])
    untrained.detector(spec, images[:30], np.zeros(30, np.int32), images[30:]).save(tmp_path / "detector")
    loaded = adjax.load(tmp_path / "detector")
    assert (loaded.spec, loaded.spec.limits) == (spec, (-1, 1))
    path, out = tiff(tmp_path / "a.tif", ramp("f4", (-1, 1))), tmp_path / "s.csv"
    tiff(tmp_path / "b.tif", ramp("f4", (-1, 2)))
    assert __main__.main(["predict", str(tmp_path / "detector"), str(tmp_path), "--out", str(out), "--no-report"]) == 0
    rows = out.read_text().splitlines()
    image = read(path, (-1, 1))[None, ..., None]
    np.testing.assert_allclose(float(rows[1].split(",")[6]), loaded.score(image)[0], rtol=1e-5)
    assert "values from -1 to 2, outside of -1 to 1, the range that is expected" in rows[2]


def test_a_range_that_can_not_be_is_refused_before_a_file_is_read(tmp_path, capsys):
    for i in range(20):
        tiff(tmp_path / f"{i}.tif", ramp("f4", (0, 1)))
    for also, wanted in (
        (["--range", "1", "0"], "--range 1 0: must be two finite numbers, the smaller one first"),
        (["--range", "0", "1", "--depth", "12"], "--depth 12 and --range 0 1: each says which value is white"),
    ):
        assert __main__.main(["train", str(tmp_path), "--out", str(tmp_path / "out"), *also]) == 1
        assert wanted in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_train_and_doctor_take_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(machine, "speed", lambda: 0.0)
    rng, scans, out, table = np.random.default_rng(0), tmp_path / "scans", tmp_path / "out", tmp_path / "s.csv"
    scans.mkdir()
    for i in range(50):
        tiff(scans / f"{i}.tif", rng.uniform(-1, 1, (16, 16)).astype(np.float32))
    command = ["train", str(scans), "--out", str(out), "--method", "hog_ocsvm", "--side-px", "8"]
    assert __main__.main(command) == 1
    assert "train with --range LOW HIGH, the values that are black and white" in " ".join(
        capsys.readouterr().err.split()
    )
    assert __main__.main([*command, "--range", "-1", "1"]) == 0
    assert adjax.load(out).spec.limits == (-1, 1)
    assert __main__.main(["predict", str(out), str(scans), "--out", str(table)]) == 0
    assert table.read_text().count(",ok,") == 50
    __main__.main(["doctor", str(scans), "--range", "-1", "1"])
    assert "50 picture files, 50 can be read" in capsys.readouterr().out
