"""Picture files of every mode, depth, photometric, byte order and compression: read exactly, or refused with the reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("imagecodecs")
pytest.importorskip("cv2")

import golden
from adjax.data import DataError, upload
from adjax.data.picture import read_pixels


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
    found = {one.name: outcome(one, lambda one=one, path=path: upload.read(path, shape(one)).pixels) for one, path in written}
    assert len(found) == len(written) >= 250
    counts = Counter(found.values())
    assert set(counts) == {"exact", "refused rightly"}, {n: why for n, why in found.items() if why not in ("exact", "refused rightly")}
