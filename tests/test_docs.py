"""The pages: figures are those of committed files, lists those of the registries; test_site.py reads the built site."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

import adjax
from adjax import methods, models, scorers
from adjax.types import Scorer
from experiments import readme

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_SPEC = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
hooks = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(hooks)
TABLE, SPEED = hooks.choosing().splitlines()[2:], hooks.speed().splitlines()[2:]
choices = pytest.mark.parametrize("row", range(len(hooks.CHOICES)), ids=[c.preset for c in hooks.CHOICES])


def result(preset: str) -> dict:
    return json.loads((ROOT / "experiments" / "results" / f"{preset}.json").read_text())


@choices
def test_a_choice_stands_beside_its_own_figures(row):
    choice, file = hooks.CHOICES[row], result(hooks.CHOICES[row].preset)
    have, use, auroc, pca, blank, images, preset = [cell.strip() for cell in TABLE[row].strip("|").split("|")]
    assert (have, use, preset) == (choice.have, choice.use, f"`{choice.preset}`")
    metric = "ood_auroc" if "ood_auroc" in file["summary"] else "auroc"
    for shown, figures in (
        (auroc, file["summary"]),
        (pca, file["comparisons"]["pixel PCA, 30 components"]),
        (blank, file["comparisons"].get("same network, untrained", {})),
    ):
        value = figures.get(metric)
        value = value["mean"] if isinstance(value, dict) else value
        assert shown.split(" ±")[0] == ("" if value is None else f"{value:.4f}")
    assert images == f"{file['dataset']['name']} → {file['ood']['name']}"


@choices
def test_and_its_own_speed(row):
    file = result(hooks.CHOICES[row].preset)
    preset, network, training, scoring, whole, members, on = [c.strip() for c in SPEED[row].strip("|").split("|")]
    assert (preset, network) == (f"`{hooks.CHOICES[row].preset}`", f"`{file['model']}`")
    if "nothing" in training:
        assert file["timing"]["train_images_per_s"] is None
    else:
        assert abs(int(training.replace(",", "")) - file["timing"]["train_images_per_s"]) <= 0.5
    assert abs(int(scoring.replace(",", "")) - file["timing"]["score_images_per_s"]) <= 0.5
    assert abs(int(whole.removesuffix(" min")) - file["timing"]["total_s"] / 60) <= 0.5
    assert int(members) == len(file["members"])
    assert file["environment"]["cpu"] in on


def test_every_method_is_a_choice():
    assert {result(c.preset)["method"] for c in hooks.CHOICES} | hooks.NOT_CHOSEN == set(methods.METHODS)


@pytest.mark.parametrize("path", sorted(DOCS.glob("**/*.md")), ids=lambda path: path.relative_to(DOCS).as_posix())
def test_no_figure_is_typed_by_hand(path):
    if path in readme.PAGES:
        pytest.skip("its tables are written by experiments.readme and tested there; its prose speaks of them")
    words = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"\b0\.\d{4}\b|\d images/s|\b\d+(?:\.\d+)? ?(?:×|times) faster", words)


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("adjax.scorers.SCORERS", scorers.SCORERS),
        ("adjax.methods.METHODS", methods.METHODS),
        ("adjax.models.MODELS", models.MODELS),
    ],
)
def test_every_entry_is_documented(name, registry):
    page = hooks.on_page_markdown(f"# A page\n\n<!-- modules: {name} -->\n")
    titles = " ".join(line for line in page.splitlines() if line.startswith("## "))
    assert set(re.findall(r"`(\w+)`", titles)) == set(registry)


def test_scorers_by_what_they_read_are_all_of_them():
    section = (DOCS / "choosing.md").read_text().split("## Choosing a scorer")[1]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "scorers |" not in line]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(scorers.SCORERS)


def test_pages_agree_on_how_many_functions_a_scorer_is():
    assert len(set(Scorer._fields) - set(Scorer._field_defaults)) == 6
    said = {path.name: re.findall(r"(\w+) pure functions", path.read_text()) for path in DOCS.glob("recipes/*.md")}
    assert {name for name, words in said.items() if "six" in words} == {"index.md", "jit.md", "your-scorer.md"}
    assert {word for words in said.values() for word in words} == {"six", "three"}  # a method's are three


def test_pages_link_to_headings_rather_than_quote_them():
    quoted = {path.name: re.findall(r'README, "[^"]*"', path.read_text()) for path in DOCS.glob("**/*.md")}
    assert not {name: found for name, found in quoted.items() if found}


def test_public_names_are_documented():
    pages = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    documented = {line.rsplit(".", 1)[-1] for line in pages.splitlines() if line.startswith("::: ")}
    assert set(adjax.__all__) - set(adjax._MODULES) - {"__version__"} <= documented


def test_committed_tables_are_taken_and_missing_ones_are_said(tmp_path, monkeypatch):
    for name in ("BENCHMARKS", "RESULTS"):
        monkeypatch.setattr(hooks, name, tmp_path)
    page = "Timings:\n\n<!-- benchmarks -->\n\n<!-- results: one.json -->\n"
    made = hooks.on_page_markdown(page)
    assert "No timings are committed yet." in made
    assert "No figures are committed yet." in made
    (tmp_path / "a.md").write_text("| work | 1.25 |\n")
    (tmp_path / "one.json").write_text(json.dumps(result("centerloss_mnist")))
    made = hooks.on_page_markdown(page)
    assert "| work | 1.25 |" in made
    assert hooks.readme.table(result("centerloss_mnist")) in made
