"""The pages under docs/ are programs: the Python blocks of a page run in order, and print what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from adjax import data, methods, models, scorers

DOCS = Path(__file__).parents[1] / "docs"
ELSEWHERE = {"cluster"}
"""Pages that need processes of their own: their tests run them."""
PAGES = [
    path for path in sorted(DOCS.glob("**/*.md")) if "```python" in path.read_text() and path.stem not in ELSEWHERE
]
SMALLER = {"recipes/million.md": ("IMAGES = 1_000_000", "IMAGES = 500_000")}
"""What a test can't wait for: the number that the page shows, and the one that is run."""
_SLOW = "jit", "million", "one-class-svm", "serve", "server", "training-loop", "your-method", "your-network"
HEAVY = {"index.md", "performance.md", *(f"recipes/{page}.md" for page in _SLOW)}
"""Each trains a network as test_experiments.py does, fits many detectors as others fit one, or exports as
test_export.py does."""
_FENCE = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_REGISTRIES = (data.DATASETS, methods.METHODS, models.MODELS, scorers.SCORERS)


def name(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


@pytest.fixture(autouse=True)
def registries():
    """What a page adds to a registry, it adds for itself."""
    before = [dict(registry) for registry in _REGISTRIES]
    yield
    for registry, entries in zip(_REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)


def run(path: Path, text: str) -> None:
    """Runs the page's Python blocks as one program; each text block is what was printed since the last one."""
    namespace = {"__name__": "__main__"}
    printed = io.StringIO()
    for fence in _FENCE.finditer(text):
        kind, block = fence.groups()
        if kind == "python":
            lines = text[: fence.start()].count("\n") + 1  # so that a traceback names the page's own lines
            code = compile("\n" * lines + block, str(path), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
        else:
            same(printed.getvalue(), block)
            printed = io.StringIO()
    assert not printed.getvalue(), f"the page does not show this output:\n{printed.getvalue()}"


def same(printed: str, shown: str) -> None:
    """The same words; the same numbers, but for what another machine's rounding makes of training."""
    assert _NUMBER.sub("#", printed) == _NUMBER.sub("#", shown), f"printed {printed!r}, the page says {shown!r}"
    for a, b in zip(_NUMBER.findall(printed), _NUMBER.findall(shown), strict=True):
        slack = 0.03 if "." in b else 1
        assert abs(float(a) - float(b)) <= slack, f"printed {printed!r}, the page says {shown!r}"


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[pytest.mark.slow] * (name(p) in HEAVY)) for p in PAGES], ids=name
)
def test_page(path):
    text = path.read_text()
    if name(path) in SMALLER:
        shown, smaller = SMALLER[name(path)]
        assert text.count(shown) == 1
        text = text.replace(shown, smaller)
    run(path, text)


def test_there_are_pages():
    assert {name(path) for path in PAGES} >= HEAVY
    assert {
        "jit",
        "training-loop",
        "million",
        "one-class-svm",
        "serve",
        "your-network",
        "your-scorer",
        "your-method",
    } <= {path.stem for path in PAGES}
