"""Picture files of every mode, depth, photometric, byte order and compression: exact, or refused with the reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("imagecodecs")
pytest.importorskip("cv2")

import golden

from adjax import distribution
from adjax.data import DataError
from adjax.data.io import tiff, upload


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[tuple[golden.Golden, Path]]:
    folder, found = tmp_path_factory.mktemp("golden"), []
    for number, one in enumerate(golden.files()):
        found.append((one, folder / f"{number}.tif"))
        found[-1][1].write_bytes(one.content)
    return found


def outcome(one: golden.Golden, read) -> str:
    """What became of it."""
    try:
        got = read()
    except DataError as error:
        if one.pixels is not None:
            return f"refused: {error}"
        return "refused rightly" if one.why in str(error) else f"another reason: {error}"
    if one.pixels is None:
        return "read, though nothing says how"
    if got.shape != one.pixels.shape:
        return f"of shape {got.shape}"
    off = np.abs(got.astype(int) - one.pixels).max()
    return "exact" if off <= one.off else f"wrong by {off} levels"


def shape(one: golden.Golden) -> tuple[int, ...]:
    return (golden.HEIGHT, golden.WIDTH, 3) if one.pixels is None else one.pixels.shape


def test_every_file_is_read_exactly_or_refused_with_the_reason(written):
    found = {
        one.name: outcome(one, lambda one=one, path=path: upload.read(path, shape(one)).pixels) for one, path in written
    }
    assert len(found) == len(written) >= 250
    counts = Counter(found.values())
    assert set(counts) == {"exact", "refused rightly"}, {
        n: why for n, why in found.items() if why not in ("exact", "refused rightly")
    }


def test_a_training_set_sees_the_same_or_nothing(written):
    """It refuses more: 16 bits, and what is transparent."""
    exact = 0
    for one, path in written:
        said = outcome(one, lambda one=one, path=path: upload.read(path, shape(one), strict=True).pixels)
        assert said.startswith(("exact", "refused", "another reason")), (one.name, said)
        exact += said == "exact"
    assert exact > 200


def test_without_imagecodecs_what_takes_it_is_refused_with_the_mend(written, monkeypatch):
    """And nothing else is: neither what Pillow reads, nor what tifffile does alone."""
    monkeypatch.setattr(tiff, "_codecs", lambda: False)
    found = {
        one.name: outcome(one, lambda one=one, path=path: upload.read(path, shape(one)).pixels) for one, path in written
    }
    refused = {name: why for name, why in found.items() if why not in ("exact", "refused rightly")}
    assert all(distribution.install("tiff") in why for name, why in refused.items()), refused
    assert 40 < len(refused) < 90
    whole_bytes = ("tiff grey8 ", "tiff grey16 ", "tiff rgb8 ", "tiff rgb16 ", "tiff cmyk")
    assert not any(" raw" in name for name in refused if name.startswith(whole_bytes)), refused


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99, 1])
def test_what_is_cut_short_is_refused_by_the_second_reader_too(tmp_path, keep):
    """tifffile takes a strip that isn't there for black; in a whole file (1) it may have no bytes."""
    planes = np.full((3, 40, 40), 60_000, np.uint16)
    options = {"photometric": "rgb", "planarconfig": "separate", "rowsperstrip": 8}
    content = golden.tiff(planes, **options)
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    assert upload.read(path, (40, 40, 3)).pixels.min() == 60_000 >> 8
    if keep == 1:
        content = golden.tiff(planes, tags={279: (640,) * 14 + (0,)}, **options)
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match="damaged: cut short"):
        upload.read(path, (40, 40, 3))


def test_the_second_reader_decodes_nothing_to_look(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    path.write_bytes(golden.tiff(golden._ramp(16), ">", photometric="miniswhite"))
    monkeypatch.setattr(tiff.Page, "decode", None)
    assert upload.look(path) == upload.Header(golden.HEIGHT, golden.WIDTH, 1, "I;16")


def test_too_many_pixels_are_not_decoded_by_the_second_reader(tmp_path, monkeypatch):
    monkeypatch.setattr(upload, "MAX_PIXELS", 100)
    path = tmp_path / "a.tif"
    path.write_bytes(golden.tiff(golden._ramp(16), ">", photometric="miniswhite"))
    with pytest.raises(DataError, match="claims 13×9 pixels, more than 100"):
        upload.read(path, (9, 13, 1))
