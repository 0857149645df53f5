"""Lookup tables of DICOM files, by PS3.3 C.11.1 and C.11.2.1.1, with pydicom's own functions as a second opinion."""

from __future__ import annotations

import numpy as np
import pytest

from adjax.data import DataError
from adjax.data.io import upload

pydicom = pytest.importorskip("pydicom")

from dicom_files import BIG, IMPLICIT, PLAIN, save, windowed  # noqa: E402
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.pixels import apply_modality_lut, apply_voi_lut  # noqa: E402

RAMP = np.arange(4096).reshape(64, 64)


def table(first, entries, bits, told=None, order="<"):
    """A sequence of one table, of words where 64 KB hold no list; `told`: the three numbers, if others."""
    found, words = Dataset(), isinstance(entries, bytes) or len(entries) >= 1 << 15
    found.add_new("LUTDescriptor", "SS" if first < 0 else "US", told or [len(entries) % 65536, first, bits])
    if words:
        entries = entries if isinstance(entries, bytes) else np.asarray(entries, f"{order}u2").tobytes()
    found.add_new("LUTData", "OW" if words else "US", entries if words else [int(entry) for entry in entries])
    return [found]


def grey(path):
    header = upload.look(path)
    return upload.read(path, (header.height, header.width, 1)).pixels[..., 0]


def by_hand(values, first, entries):
    return np.asarray(entries)[np.clip(values - first, 0, len(entries) - 1)]


CURVES = {
    "8 bits of 4096": (0, np.arange(4096) // 16, 8),
    "10 bits, part of the values": (1000, (np.arange(1024) ** 2) >> 10, 10),
    "12 bits, turned over": (0, 4095 - np.arange(4096), 12),
    "16 bits, as many entries as there can be": (0, np.sqrt(np.arange(65536.0)).astype(int) * 200, 16),
}


@pytest.mark.parametrize("syntax", [PLAIN, IMPLICIT, BIG])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("curve", CURVES)
def test_a_voi_table_is_the_standards(tmp_path, curve, kind, syntax):
    first, entries, bits = CURVES[curve]
    told = {"VOILUTSequence": table(first, entries, bits, order=">" if syntax == BIG else "<")}
    path = save(tmp_path / "a.dcm", RAMP.astype(np.uint16), kind, 12, syntax=syntax, **told)
    wanted = np.rint(255 * by_hand(RAMP, first, entries) / ((1 << bits) - 1))
    np.testing.assert_array_equal(grey(path), 255 - wanted if kind == "MONOCHROME1" else wanted)


@pytest.mark.parametrize("signed", [False, True])
def test_a_modality_table_comes_before_the_window_or_is_shown_by_its_bits(tmp_path, signed):
    samples = (RAMP - 2048).astype(np.int16) if signed else RAMP.astype(np.uint16)
    first, entries = int(samples.min()), (np.arange(4096) ** 2) >> 8
    told = {"ModalityLUTSequence": table(first, entries, 16)}
    values = by_hand(samples.astype(int), first, entries)
    path = save(tmp_path / "a.dcm", samples, bits=12, **told)
    np.testing.assert_array_equal(grey(path), np.rint(255 * values / 65535))
    path = save(tmp_path / "a.dcm", samples, bits=12, WindowCenter=9000, WindowWidth=15000, **told)
    np.testing.assert_array_equal(grey(path), windowed(values, 9000, 15000))
    told["VOILUTSequence"] = table(500, np.arange(40000) // 10, 12)
    path = save(tmp_path / "a.dcm", samples, bits=12, **told)
    np.testing.assert_array_equal(grey(path), np.rint(255 * by_hand(values, 500, np.arange(40000) // 10) / 4095))


def test_a_voi_table_reads_rescaled_values_and_yields_to_a_window(tmp_path):
    samples, entries = RAMP.astype(np.uint16), np.arange(3000)
    told = {"RescaleSlope": 1, "RescaleIntercept": -1024, "VOILUTSequence": table(-500, entries, 12)}
    path = save(tmp_path / "a.dcm", samples, bits=12, **told)
    np.testing.assert_array_equal(grey(path), np.rint(255 * by_hand(RAMP - 1024, -500, entries) / 4095))
    path = save(tmp_path / "a.dcm", samples, bits=12, WindowCenter=[40, 0], WindowWidth=[400, 9], **told)
    np.testing.assert_array_equal(grey(path), windowed(RAMP - 1024, 40, 400))


def test_the_first_of_several_tables_counts_and_pydicom_agrees(tmp_path):
    samples, curve = RAMP.astype(np.uint16), (np.arange(4096) ** 2) >> 12
    told = {
        "ModalityLUTSequence": table(0, 4095 - np.arange(4096), 16),
        "VOILUTSequence": table(100, curve, 12) + table(0, np.arange(4096), 12),
    }
    path = save(tmp_path / "a.dcm", samples, bits=12, **told)
    found = pydicom.dcmread(path)
    wanted = np.rint(255 * (apply_voi_lut(apply_modality_lut(samples, found), found) / 4095))
    np.testing.assert_array_equal(grey(path), wanted)


def test_entries_of_a_byte_each_or_of_a_word_each(tmp_path):
    entries = np.arange(256, dtype=np.uint8)[::-1]
    samples = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for data in (entries.tobytes(), entries.astype("<u2").tobytes()):
        path = save(tmp_path / "a.dcm", samples, VOILUTSequence=table(0, data, 8, [256, 0, 8]))
        np.testing.assert_array_equal(grey(path), 255 - samples)


@pytest.mark.parametrize(
    ("entries", "bits", "told", "wanted"),
    [
        ([0, 1, 2], 12, [4, 0, 12], "4 entries of 12 bits holds others"),
        ([0, 1, 256], 8, None, "3 entries of 8 bits holds others"),
        ([0, 1, 2], 7, None, "of 7 bits an entry; 8 to 16 are read"),
        ([0, 1, 2], 8, [3, 0], "without its three numbers"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(tmp_path, entries, bits, told, wanted):
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        path = save(tmp_path / "a.dcm", RAMP.astype(np.uint16), bits=12, **{name: table(0, entries, bits, told)})
        with pytest.raises(DataError, match=f"{name} .*{wanted}"):
            upload.look(path)
