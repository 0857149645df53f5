"""A file is whole or not there."""

from __future__ import annotations

import os

import pytest

from adjax import atomic


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "a.json"
    atomic.write(path, "ä")
    atomic.write(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.json"]


def test_after_an_error_the_old_content_stands(tmp_path):
    path = tmp_path / "a.json"
    atomic.write(path, "first")

    def interrupted():
        with atomic.replacing(path) as fresh:
            fresh.write_text("half")
            assert path.read_text() == "first"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["a.json"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """The content first, then the name."""
    order = []
    real = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: order.append("fsync") or real[0](file))
    monkeypatch.setattr(os, "replace", lambda *of: order.append("replace") or real[1](*of))
    atomic.write(tmp_path / "a", b"")
    assert order == ["fsync", "replace", "fsync"]


def test_nothing_else_renames_files():
    """Each way of its own forgot something: one to flush, one to remove what it had left."""
    root = atomic.Path(atomic.__file__).parents[1]
    files = [path for folder in ("adjax", "experiments", "benchmarks") for path in root.glob(f"{folder}/**/*.py")]
    found = {path.name for path in files if "os.replace(" in path.read_text() or "fresh.replace(" in path.read_text()}
    assert found == {"atomic.py"}
