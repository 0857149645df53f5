"""The benchmark of files to scores: both sides read every file, and ours scores them."""

from __future__ import annotations

import collections

import pytest
from PIL import Image

from adjax.data.io import upload
from benchmarks import decoding
from benchmarks.run import BENCHMARKS


@pytest.mark.slow
def test_both_sides_read_every_file_to_the_same_pixels(monkeypatch):
    read, seen = upload.read, collections.Counter()
    monkeypatch.setattr(upload, "read", lambda *asked, **how: (seen.update([asked]), read(*asked, **how))[1])
    timing = BENCHMARKS["decode_score_lenet5"](2, True)
    assert len(seen) == 32
    assert set(seen.values()) == {6}  # ours and the peer, warmed up once and timed twice
    assert {shape for _, shape, _ in seen} == {(28, 28, 3)}
    assert (timing.n, timing.peer.startswith("decoding alone")) == (2, True)
    assert timing.ratio > 0


def test_half_of_the_pictures_are_jpegs_of_the_size_asked_for(tmp_path):
    names = decoding.write_pictures(tmp_path, 4, 20, 10)
    for name, kind in zip(names, ["PNG", "JPEG"] * 2, strict=True):
        with Image.open(tmp_path / name) as image:
            assert (image.format, image.size) == (kind, (20, 10))
