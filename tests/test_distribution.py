"""A command in a message is one that works: where adjax was installed from decides."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import adjax
from adjax import distribution

ROOT = Path(adjax.__file__).parents[1]


class Installed:
    def __init__(self, source):
        self.source = source

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.source and json.dumps(self.source)


@pytest.mark.parametrize(
    ("source", "command"),
    [
        (None, "pip install 'adjax-anomaly[onnx]'"),
        ({"url": "file:///a/adjax", "dir_info": {}}, "pip install 'adjax-anomaly[onnx] @ file:///a/adjax'"),
        ({"url": "file:///a/x.whl", "archive_info": {}}, "pip install 'adjax-anomaly[onnx] @ file:///a/x.whl'"),
    ],
)
def test_an_installed_one_is_had_from_where_it_came_from(source, command, monkeypatch, tmp_path):
    monkeypatch.setattr(distribution, "__file__", str(tmp_path / "adjax" / "distribution.py"))
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(source))
    assert distribution.install("onnx") == command


def test_a_clone_is_its_own_source():
    assert distribution.install("onnx") == f"pip install -e '{ROOT}[onnx]'"


def test_the_name_is_the_one_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["name"] == distribution.NAME
    assert project["tool"]["setuptools"]["packages"]["find"]["include"] == ["adjax*"]
    extras = re.compile(r"'adjax(-anomaly)?\[")
    asked = [
        line for path in ROOT.glob("adjax/**/*.py") for line in path.read_text().split("\n") if extras.search(line)
    ]
    assert not asked, "adjax in the package index is another project: adjax.distribution.install says what to do"
