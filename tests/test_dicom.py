"""DICOM, made by pydicom with invented names; what becomes of it is computed here, by the formulas of PS3.3."""

from __future__ import annotations

import io
import re
import sys
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from PIL import Image

from adjax import __main__, distribution, read_images
from adjax.data import DataError
from adjax.data.io import dicom, upload, walk
from adjax.data.io.preprocessing import Preprocessing
from adjax.doctor import folder

pydicom = pytest.importorskip("pydicom")

from dicom_files import (  # noqa: E402
    BIG,
    DEFLATED,
    IMPLICIT,
    JPEG,
    JPEG_12,
    JPEG_2000,
    JPEG_LS,
    LOSSLESS,
    MPEG,
    NAME,
    PLAIN,
    RLE,
    save,
    windowed,
)
from pydicom.datadict import tag_for_keyword  # noqa: E402
from pydicom.dataelem import DataElement  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402

pytestmark = pytest.mark.usefixtures("process_as_it_was")


def read(path, channels=1):
    header = upload.look(path)
    return upload.read(path, (header.height, header.width, channels)).pixels


def grey(path):
    return read(path)[..., 0]


def every(bits, signed=False):
    """A picture of every value of so many bits, or of 4096 among them."""
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    values = np.unique(np.rint(np.linspace(least, most, min(1 << bits, 4096))))
    kind = f"{'i' if signed else 'u'}{1 if bits == 8 else 2}"
    return values.reshape(-1, 64).astype(kind)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_window_is_the_standards(tmp_path, function, bits, signed, kind):
    samples = every(bits, signed)
    center, width = (-7.5 if signed else 90.25), 101
    told = {} if function is None else {"VOILUTFunction": function}
    path = save(tmp_path / "a.dcm", samples, kind, bits, WindowCenter=center, WindowWidth=width, **told)
    wanted = windowed(samples, center, width, function or "LINEAR")
    np.testing.assert_array_equal(grey(path), 255 - wanted if kind == "MONOCHROME1" else wanted)


@pytest.mark.parametrize("width", [1, 2])
def test_a_window_as_narrow_as_can_be_is_a_step(tmp_path, width):
    samples = every(8)
    path = save(tmp_path / "a.dcm", samples, WindowCenter=100, WindowWidth=width)
    np.testing.assert_array_equal(grey(path), windowed(samples, 100, width))


def test_the_rescale_comes_before_the_window_and_the_first_window_counts(tmp_path):
    """A scanner's: 12 bits, of which 0 is −1024 Hounsfield units."""
    samples = every(12)
    told = {"RescaleSlope": "0.5", "RescaleIntercept": "-1024", "WindowCenter": [40, 600], "WindowWidth": [400, 2800]}
    path = save(tmp_path / "a.dcm", samples, bits=12, **told)
    np.testing.assert_array_equal(grey(path), windowed(samples * 0.5 - 1024, 40, 400))


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("slope", [1, 2.5, -1])
def test_without_a_window_it_is_all_that_the_bits_allow(tmp_path, slope, bits, signed, kind):
    """Not what the picture uses: a dark one and a bright one have the same grey for the same value."""
    samples, least = every(bits, signed), -(1 << bits - 1) if signed else 0
    share = (samples.astype(float) - least) / ((1 << bits) - 1)
    wanted = np.rint(255 * (share if slope > 0 else 1 - share))
    wanted = 255 - wanted if kind == "MONOCHROME1" else wanted
    told = {} if slope == 1 else {"RescaleSlope": slope, "RescaleIntercept": 3}
    for part in (slice(None), slice(0, 2), slice(-2, None)):
        path = save(tmp_path / "a.dcm", samples[part], kind, bits, **told)
        np.testing.assert_array_equal(grey(path), wanted[part])


@pytest.mark.parametrize("syntax", [PLAIN, IMPLICIT, BIG, RLE])
def test_transfer_syntaxes_of_pydicom_itself(tmp_path, syntax):
    samples = every(12)
    path = save(tmp_path / "a.dcm", samples, bits=12, syntax=syntax, WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_array_equal(grey(path), windowed(samples, 2048, 4096))


def test_jpeg_and_jpeg_2000_are_read_by_pillow(tmp_path):
    samples = np.kron(np.arange(0, 240, 20, np.uint8).reshape(3, 4), np.ones((8, 8), np.uint8))
    for syntax, kind, options in ((JPEG, "jpeg", {"quality": 95}), (JPEG_2000, "jpeg2000", {})):
        file = io.BytesIO()
        Image.fromarray(samples).save(file, kind, **options, **({"no_jp2": True} if kind == "jpeg2000" else {}))
        path = save(tmp_path / "a.dcm", samples, syntax=syntax, frame=file.getvalue())
        np.testing.assert_allclose(grey(path).astype(int), samples, atol=0 if kind == "jpeg2000" else 2)


def test_colour_is_rgb_whatever_it_is_stored_as(tmp_path):
    """YBR by PS3.3 C.7.6.3.1.2."""
    levels = np.random.default_rng(0).integers(0, 256, (6, 4, 3))
    rgb = np.repeat(levels, 2, 1).astype(np.uint8)  # so that halved colours are the same
    weights = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    ybr = np.rint(np.clip(rgb @ weights.T + [0, 128, 128], 0, 255)).astype(np.uint8)
    halved = np.concatenate([ybr[:, ::2, :1], ybr[:, 1::2, :1], ybr[:, ::2, 1:]], -1)  # Y Y Cb Cr
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0)).tobytes()
    for kind, told, atol in (
        ("RGB", {}, 0),
        ("RGB", {"PlanarConfiguration": 1, "PixelData": planes}, 0),
        ("YBR_FULL", {"PixelData": ybr.tobytes()}, 2),
        ("YBR_FULL_422", {"PixelData": halved.tobytes()}, 2),
    ):
        path = save(tmp_path / "a.dcm", rgb, kind, **told)
        assert upload.look(path) == upload.Header(6, 8, 3, "RGB")
        np.testing.assert_allclose(read(path, 3).astype(int), rgb, atol=atol)


def test_an_enhanced_file_has_its_window_in_groups(tmp_path):
    """Of a frame before those of all frames."""

    def group(name, **elements):
        outer, inner = Dataset(), Dataset()
        for key, value in elements.items():
            setattr(inner, key, value)
        setattr(outer, name, [inner])
        return outer

    samples, rescale = every(12), group("PixelValueTransformationSequence", RescaleSlope=2, RescaleIntercept=-9)
    rescale.update(group("FrameVOILUTSequence", WindowCenter=7, WindowWidth=70))
    path = save(
        tmp_path / "a.dcm",
        samples,
        bits=12,
        SharedFunctionalGroupsSequence=[rescale],
        PerFrameFunctionalGroupsSequence=[group("FrameVOILUTSequence", WindowCenter=1000, WindowWidth=900)],
    )
    np.testing.assert_array_equal(grey(path), windowed(samples * 2.0 - 9, 1000, 900))


BYTES = np.arange(64, dtype=np.uint8).reshape(8, 8)
COLOUR = np.zeros((8, 8, 3), np.uint8)
REFUSED = {
    "frames": ({"samples": np.stack([BYTES, BYTES])}, "several frames: save each of them alone"),
    "palette": ({"kind": "PALETTE COLOR"}, "PhotometricInterpretation PALETTE COLOR: MONOCHROME1, MONOCHROME2, RGB"),
    "deep colour": ({"samples": COLOUR.astype(np.uint16), "kind": "RGB"}, "16 bits a sample in 16: of RGB 8 bits are"),
    "few bits": ({"bits": 6}, "6 bits a sample in 8: of MONOCHROME2 8 to 16 bits are read"),
    "many bits": ({"samples": BYTES.astype(np.uint32)}, "32 bits a sample in 32: of MONOCHROME2 8 to 16 bits"),
    "high bit": ({"samples": BYTES.astype(np.uint16), "bits": 12, "HighBit": 15}, "HighBit 15 of 12 bits"),
    "samples": ({"kind": "RGB"}, "damaged: RGB of 1 samples a pixel"),
    "signed colour": ({"samples": COLOUR, "kind": "RGB", "PixelRepresentation": 1}, "PixelRepresentation 1 of RGB"),
    "no picture": ({"Rows": None}, "DICOM without a picture"),
    "no pixels": ({"PixelData": None}, "damaged: "),
    "cut short": ({"PixelData": bytes(20)}, "damaged: "),
    "no width": ({"WindowCenter": 3, "WindowWidth": "0.5"}, "WindowWidth 0.5: must be at least 1 for LINEAR"),
    "no exact width": (
        {"WindowCenter": 3, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
        "WindowWidth 0: must be above 0 for LINEAR_EXACT",
    ),
    "function": (
        {"WindowCenter": 3, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
        "a VOILUTFunction other",
    ),
    "slope": ({"RescaleSlope": 0, "RescaleIntercept": 1}, "RescaleSlope 0: all values are one"),
    "modality table": ({"ModalityLUTSequence": [Dataset()]}, "a ModalityLUTSequence without its three numbers or its"),
    "window table": ({"VOILUTSequence": [Dataset()]}, "a VOILUTSequence without its three numbers or its entries"),
    "deflated": ({"syntax": DEFLATED}, "DICOM that is deflated as a whole"),
    "film": ({"syntax": MPEG, "frame": b"\0\0"}, "transfer syntax MPEG2 .*, which pydicom does not read"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_could_look_like_several_things_is_refused(tmp_path, why):
    told, wanted = REFUSED[why]
    path = save(tmp_path / "a.dcm", **{"samples": BYTES, **told})
    with pytest.raises(DataError, match=wanted) as refused:
        upload.read(path, (8, 8, 1))
    assert "\n" not in upload.reason(refused.value)


@pytest.mark.parametrize(
    ("syntax", "package"),
    [(LOSSLESS, r"'pylibjpeg\[libjpeg\]'"), (JPEG_12, r"'pylibjpeg\[libjpeg\]'"), (JPEG_LS, "pyjpegls")],
)
def test_what_takes_a_plug_in_names_it(tmp_path, syntax, package):
    path = save(tmp_path / "a.dcm", BYTES.astype(np.uint16), bits=12, syntax=syntax, frame=b"\xff\xd8\xff\xd9")
    with pytest.raises(DataError, match=f"which needs a reader: pip install {package}"):
        upload.look(path)


def test_without_pydicom_the_reason_says_how_and_doctor_lists_it(tmp_path, monkeypatch):
    save(tmp_path / "a.dcm", BYTES)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DataError, match=f"DICOM, which needs a reader: {re.escape(distribution.install('dicom'))}"):
        upload.read(tmp_path / "a.dcm", (8, 8, 1))
    assert [one.kind for one in folder.examine(tmp_path).findings] == ["no reader"]


def test_damaged_files_have_a_reason(tmp_path):
    whole = save(tmp_path / "a.dcm", BYTES).read_bytes()
    for length in (0, 131, 132, 140, 200, 300, 500, len(whole) - 40):
        (tmp_path / "b.dcm").write_bytes(whole[:length])
        with pytest.raises(DataError):
            upload.read(tmp_path / "b.dcm", (8, 8, 1))


def test_a_strict_reader_takes_none(tmp_path):
    with pytest.raises(DataError, match="DICOM, which is scaled as its header says"):
        upload.read(save(tmp_path / "a.dcm", BYTES), (8, 8, 1), strict=True)


def test_a_detector_of_a_cameras_depth_takes_none(tmp_path):
    with pytest.raises(DataError, match="grey of 12 bits is expected"):
        upload.read(save(tmp_path / "a.dcm", BYTES), (8, 8, 1), depth=12)


def test_a_header_is_looked_at_and_nothing_decoded(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm", BYTES)

    def decoded(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(dicom.Slice, "decode", decoded)
    assert upload.look(path) == upload.Header(8, 8, 1, "L")
    monkeypatch.setattr(upload, "MAX_PIXELS", 63)
    with pytest.raises(DataError, match="claims 8×8 pixels, more than 63"):
        upload.read(path, (8, 8, 1))


def test_a_compressed_frame_is_as_large_as_its_header_says(tmp_path, monkeypatch):
    from pydicom import pixels

    file = io.BytesIO()
    Image.new("L", (900, 900)).save(file, "jpeg")
    path = save(tmp_path / "a.dcm", BYTES, syntax=JPEG, frame=file.getvalue())
    monkeypatch.setattr(pixels, "pixel_array", None)
    with pytest.raises(DataError, match="damaged: 900×900 pixels, and 8×8 by the header"):
        upload.read(path, (8, 8, 1))


def test_no_name_of_a_patient_is_read(tmp_path, monkeypatch):
    path, found, dcmread = save(tmp_path / "a.dcm", BYTES), [], pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: found.append(dcmread(*a, **k)) or found[-1])
    upload.read(path, (8, 8, 1))
    assert found
    for one in found:
        assert not {"PatientName", "PatientID", "InstitutionName"} & set(one.dir())


@pytest.mark.parametrize("name", dicom.TAGS)
def test_a_name_in_another_elements_place_is_not_quoted(tmp_path, name):
    """As one damaged byte can put it there."""
    found = pydicom.dcmread(save(tmp_path / "a.dcm", BYTES, WindowCenter=3, WindowWidth=9))
    found[name] = DataElement(tag_for_keyword(name), "LO", NAME)
    found.save_as(tmp_path / "a.dcm")
    unused = name == "VOILUTSequence"  # there is a window
    with nullcontext() if unused else pytest.raises(DataError) as refused:
        upload.read(tmp_path / "a.dcm", (8, 8, 1))
    assert unused or "Invented" not in str(refused.value)


@pytest.mark.parametrize(
    ("syntax", "wanted"),
    [
        (NAME, "damaged: DICOM without a transfer syntax"),
        ("1.2.840.10008.9.9.9", "transfer syntax unknown, which pydicom"),
    ],
)
def test_what_stands_for_a_transfer_syntax_is_not_quoted(tmp_path, syntax, wanted):
    whole, place = save(tmp_path / "a.dcm", BYTES).read_bytes(), f"{PLAIN}\0".encode()
    assert whole.count(place) == 1
    with pytest.raises(DataError, match=wanted):
        upload.read(io.BytesIO(whole.replace(place, syntax.encode().ljust(20, b"\0"))), (8, 8, 1))


def test_pydicoms_warnings_do_not_reach_the_screen(tmp_path, caplog):
    """It has one for a JPEG that says YCbCr in a file that says RGB."""
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, "jpeg")
    path = save(tmp_path / "a.dcm", COLOUR, "RGB", syntax=JPEG, frame=file.getvalue())
    for quiet in (False, True):
        caplog.clear()
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            if quiet:
                upload.quiet()
            read(path, 3)
        assert (not found) == quiet
    assert not caplog.records


def test_a_folder_lists_what_is_dicom_by_its_content(tmp_path):
    for name in ("a.dcm", "IM0001", "1.2.826.0.1.7", "DICOMDIR", "b.DCM"):
        save(tmp_path / name, BYTES)
    (tmp_path / "README").write_text("of the disc")
    (tmp_path / "log.1").write_text("x" * 200)
    found = walk.find(tmp_path)
    assert found.names == ["1.2.826.0.1.7", "IM0001", "a.dcm", "b.DCM"]
    assert found.passed_over == {"no extension": 2, ".1": 1}


def test_an_array_is_read_as_files_are_from_disk_or_memory(tmp_path):
    path = save(tmp_path / "a.dcm", BYTES, WindowCenter=30, WindowWidth=20)
    images = read_images(tmp_path, Preprocessing(8, 8, 1, "whole"))
    np.testing.assert_array_equal(images[0, ..., 0], windowed(BYTES, 30, 20))
    np.testing.assert_array_equal(upload.read(io.BytesIO(path.read_bytes()), (8, 8, 1)).pixels, images[0])


@pytest.mark.slow
def test_a_folder_is_trained_on_and_scored_and_no_name_is_kept(tmp_path, capsys):
    rng, out, table = np.random.default_rng(0), tmp_path / "out", tmp_path / "s.csv"
    (tmp_path / "scans").mkdir()
    for i in range(50):
        save(tmp_path / "scans" / f"{i}.dcm", rng.integers(0, 4096, (16, 16)).astype(np.uint16), bits=12)
    save(tmp_path / "scans" / "film.dcm", np.zeros((2, 16, 16), np.uint8))
    options = ["--method", "hog_ocsvm", "--side-px", "8"]
    assert __main__.main(["train", str(tmp_path / "scans"), "--out", str(out), *options]) == 0
    assert __main__.main(["predict", str(out), str(tmp_path / "scans"), "--out", str(table)]) == 0
    assert __main__.main(["doctor", str(tmp_path / "scans")]) in (0, 1)
    assert table.read_text().count(",ok,") == 50
    assert "several frames" in table.read_text()
    said = capsys.readouterr()
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".dcm"]
    for text in (said.out, said.err, *(path.read_bytes().decode("latin-1") for path in kept)):
        assert "Invented" not in text
        assert "Nowhere" not in text
