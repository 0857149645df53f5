"""What is printed of long work without a terminal: a line every ten seconds, with the rate and the time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from adjax import progress


def test_a_line_every_ten_seconds_says_the_rate_and_what_is_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    file = io.StringIO()
    with progress.ImageProgress(Console(file=file, width=200), 1000, "scored") as bar:
        now[0] += 4
        bar.advance(100)
        assert bar.rate() == pytest.approx(25)
        assert not file.getvalue()
        for _ in range(3):  # at 12, 20 and 28 s: the second is not yet due
            now[0] += 8
            bar.advance(100)
    assert file.getvalue().splitlines() == [
        "scored 200/1,000  17 images/s  48 s left",
        "scored 400/1,000  14 images/s  42 s left",
    ]


def test_of_no_images_nothing_is_shown(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    file = io.StringIO()
    with progress.ImageProgress(Console(file=file, width=200), 0, "scored") as bar:
        now[0] += 20
        bar.advance(100)
        assert bar.rate() == pytest.approx(5)
    assert not file.getvalue()
