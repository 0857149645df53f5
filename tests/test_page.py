"""One page of files that have several, by its number: `--page`, which the detector keeps."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import untrained
from PIL import Image

import adjax
from adjax import Preprocessing, __main__, read_images
from adjax.data import DataError
from adjax.data.io import upload
from adjax.doctor import folder, machine
from adjax.predict import regions
from adjax.serve.model import Model
from adjax.spec import Spec

pytestmark = pytest.mark.usefixtures("process_as_it_was")

PAGES = [np.full((8, 8), level, np.uint8) for level in (20, 90, 160, 230)]


def tiff(path, pages, kinds=None, **options):
    """Each page with its NewSubfileType."""
    with tifffile.TiffWriter(path) as writer:
        for page, kind in zip(pages, kinds or [0] * len(pages), strict=True):
            writer.write(page, subfiletype=kind, metadata=None, contiguous=False, **options)
    return path


def film(path, kind, pages, **options):
    images = [Image.fromarray(page) for page in pages]
    images[0].save(path, kind, save_all=True, append_images=images[1:], **options)
    return path


def seen(path, page):
    assert upload.look(path, page=page)[:3] == (8, 8, 1)
    return upload.read(path, (8, 8, 1), page=page).pixels[..., 0]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_that_page_of_a_tiff_is_read(tmp_path, photometric, order, deep):
    """By Pillow, and by the second reader, which has big-endian negatives."""
    stored = [page.astype(np.uint16) << 8 if deep else page for page in PAGES]
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=">" if order == "big" else "<") as writer:
        for page in stored:
            writer.write(page, metadata=None, photometric=photometric, contiguous=False)
    for number, page in enumerate(PAGES, 1):
        wanted = 255 - page.astype(int) if photometric == "miniswhite" else page
        np.testing.assert_allclose(seen(path, number).astype(int), wanted, atol=deep)


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "avif", "heif"])
def test_that_frame_of_another_film_is_read(tmp_path, kind):
    options = {"webp": {"lossless": True}, "avif": {"quality": 100}, "heif": {"quality": -1}}.get(kind, {})
    if kind == "heif":
        pytest.importorskip("pillow_heif").register_heif_opener()
    pages = [np.dstack([page] * 3) for page in PAGES]
    path = film(tmp_path / "a", kind, pages, **options)
    with pytest.raises(DataError, match="several frames: save each of them alone, or train on one of them by --page N"):
        upload.read(path, (8, 8, 3))
    for number, page in enumerate(pages, 1):
        found = upload.read(path, (8, 8, 3), page=number).pixels
        np.testing.assert_allclose(found.astype(int), page, atol=0 if kind in ("gif", "webp", "png") else 3)
    with pytest.raises(DataError, match=r"4 pages, but page 5 is expected \(--page\)"):
        upload.look(path, page=5)


def test_that_frame_of_dicom_is_read_with_its_own_window(tmp_path):
    pytest.importorskip("pydicom")
    from dicom_files import save, windowed

    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    path = save(tmp_path / "a.dcm", np.stack([ramp, ramp + 100, ramp + 50]), WindowCenter=80, WindowWidth=90)
    for number, more in enumerate((0, 100, 50), 1):
        np.testing.assert_array_equal(seen(path, number), windowed(ramp + more, 80, 90))
    with pytest.raises(DataError, match="3 pages, but page 4 is expected"):
        upload.look(path, page=4)


def test_smaller_copies_of_a_page_do_not_count(tmp_path):
    small = PAGES[3][::2, ::2]
    path = tiff(tmp_path / "a.tif", [PAGES[0], small, PAGES[1], small], [0, 1, 0, 1])
    for number in (1, 2):
        np.testing.assert_array_equal(seen(path, number), PAGES[number - 1])
    with pytest.raises(DataError, match="2 pages, but page 3 is expected"):
        upload.look(path, page=3)


def test_more_pages_than_are_looked_through_without_a_number(tmp_path):
    levels = [np.full((8, 8), level, np.uint8) for level in range(100)]
    path = tiff(tmp_path / "a.tif", levels)
    np.testing.assert_array_equal(seen(path, 90), levels[89])
    with pytest.raises(DataError, match="100 pages, but page 101 is expected"):
        upload.look(path, page=101)


def test_a_file_of_one_page_has_page_one_alone(tmp_path):
    Image.fromarray(PAGES[0]).save(tmp_path / "a.png")
    Image.fromarray(PAGES[0]).save(tmp_path / "a.jpg")
    for path in (tmp_path / "a.png", tmp_path / "a.jpg", tiff(tmp_path / "a.tif", PAGES[:1])):
        np.testing.assert_allclose(seen(path, 1).astype(int), PAGES[0], atol=1)
        with pytest.raises(DataError, match="1 page, but page 2 is expected"):
            upload.read(path, (8, 8, 1), page=2)


def test_a_stack_behind_one_header_says_so(tmp_path):
    """As ImageJ writes it, if it is large; a small one has a header for each."""
    for behind_one in (False, True):
        with tifffile.TiffWriter(tmp_path / "a.tif", imagej=True) as writer:
            writer.write(np.stack(PAGES), truncate=behind_one)
        with pytest.raises(
            DataError, match="several frames: save each of them alone, or train on one of them by --page N"
        ):
            upload.look(tmp_path / "a.tif")
        if behind_one:
            with pytest.raises(DataError, match="several frames behind one header, as ImageJ writes them"):
                upload.look(tmp_path / "a.tif", page=2)
        else:
            np.testing.assert_array_equal(seen(tmp_path / "a.tif", 2), PAGES[1])


def test_a_large_film_is_refused_before_its_frames_are_decoded(tmp_path, monkeypatch):
    from adjax.data.io import picture

    path = film(tmp_path / "a.gif", "gif", PAGES)
    monkeypatch.setattr(picture, "MAX_PIXELS", 63)
    with pytest.raises(DataError, match="claims 8×8 pixels in several frames, more than 63"):
        upload.look(path, page=2)


def test_the_page_is_part_of_the_preprocessing(tmp_path):
    path, way = tiff(tmp_path / "a.tif", PAGES), Preprocessing(8, 8, 1, page=3)
    assert (way.record["version"], way.record["page"]) == (3, 3)
    assert not {"page", "limits"} & set(Preprocessing(8, 8, 1).record)  # so that earlier versions read it, too
    for by in (way, json.loads(json.dumps(way.record))):
        np.testing.assert_array_equal(read_images([path], by)[0, ..., 0], PAGES[2])
    for page in (0, 1.5, "2"):
        with pytest.raises(ValueError, match="no images are such"):
            read_images([path], {**way.record, "page": page})
    with pytest.raises(ValueError, match="page=0: must be 1 or more"):
        Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), page=0)


def test_a_detector_keeps_its_page_and_predict_and_doctor_take_it(tmp_path, capsys, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    spec = Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), page=2)
    made = untrained.detector(spec, images[:30], np.zeros(30, np.int32), images[30:])
    made.save(tmp_path / "detector")
    loaded = adjax.load(tmp_path / "detector")
    assert loaded.spec == spec
    assert loaded.preprocessing == Preprocessing(8, 8, 1, "middle", page=2)
    (tmp_path / "scans").mkdir()
    tiff(tmp_path / "scans" / "a.tif", PAGES)
    tiff(tmp_path / "scans" / "one.tif", PAGES[:1])
    out, read, pages = tmp_path / "s.csv", upload.read, []
    monkeypatch.setattr(upload, "read", lambda *a, page=None, **k: (pages.append(page), read(*a, page=page, **k))[1])
    assert __main__.main(["predict", str(tmp_path / "detector"), str(tmp_path / "scans"), "--out", str(out)]) == 0
    assert pages == [2] * 4  # both are scored; one is in the report, small and large
    rows = out.read_text().splitlines()
    assert "1 page, but page 2 is expected" in rows[2]
    np.testing.assert_allclose(float(rows[1].split(",")[6]), loaded.score(PAGES[1][None, ..., None])[0], rtol=1e-5)
    monkeypatch.setattr(machine, "speed", lambda: 0.0)
    capsys.readouterr()
    __main__.main(["doctor", str(tmp_path / "scans"), "--page", "3"])
    said = " ".join(capsys.readouterr().out.split())
    assert "2 picture files, 1 can be read" in said
    assert "one.tif: 1 page, but page 3 is expected (--page)" in said
    assert folder.examine(tmp_path / "scans").sizes == {(8, 8): 1}


@pytest.mark.parametrize("frame", ["whole", "tiles"])
def test_what_is_served_and_what_lies_under_a_map_is_that_page(tmp_path, frame):
    path = tiff(tmp_path / "a.tif", PAGES)
    spec = Spec("gmm", "lenet5", "gmm", (8, 8, 1), ("normal",), frame=frame, page=2)
    assert (regions._shown(path, (8, 8, 1), spec) == PAGES[1][0, 0]).all()
    assert (Model.decode(SimpleNamespace(spec=spec), path.read_bytes()).pixels[..., 0] == PAGES[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whole", "tiles"])
def test_train_learns_from_that_page(tmp_path, kind):
    """Of all its pictures: the others would make another detector."""
    rng, side = np.random.default_rng(0), 96 if kind == "tiles" else 16
    for name in ("train/good", "test/good", "test/spot"):
        for i in range(50 if name == "train/good" else 4):
            (tmp_path / "both" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "alone" / name).mkdir(parents=True, exist_ok=True)
            pages = rng.integers(0, 256, (2, side, side), np.uint8)
            tiff(tmp_path / "both" / name / f"{i:02}.tif", pages)
            Image.fromarray(pages[1]).save(tmp_path / "alone" / name / f"{i:02}.png")
    options = ["--method", "hog_ocsvm", "--side-px", "8"]
    if kind == "tiles":
        options = ["--tiles", "--side-px", "96", "--model", "squeezenet", "--weights", "random", "--scorer", "subspace"]
    found = []
    for name, also in (("both", ["--page", "2"]), ("alone", [])):
        out = tmp_path / f"out-{name}"
        assert __main__.main(["train", str(tmp_path / name), "--out", str(out), *options, *also]) == 0
        found.append((adjax.load(out), json.loads((out / "train.json").read_text())))
    (both, record), (alone, wanted) = found
    assert (both.spec.page, alone.spec.page) == (2, None)
    assert record["data_sha256"] == wanted["data_sha256"]
    assert record["figures"] == wanted["figures"]
    np.testing.assert_array_equal(both.calibration_scores, alone.calibration_scores)
