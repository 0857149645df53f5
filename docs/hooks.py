"""What the site does not type by hand: figures from committed files, lists from the registries. Run by `mkdocs build`.

<!-- choosing -->              what you have, what to use, how well it did: from experiments/results/*.json
<!-- speed -->                 how fast, for the same rows
<!-- results: NAME.json -->    README's table of that file, or a sentence if there is none yet
<!-- benchmarks -->            the table of benchmarks/results/, or a sentence if there is none yet
<!-- modules: adjax.scorers.SCORERS -->     the documentation of each entry
<!-- defects -->               how small a defect is found, by texture: from experiments/results/made_defects.json
<!-- table: adjax.data.io.upload -->       the table in a module's docstring
<!-- source: PATH -->          a file of the repository, whole
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments import made_defects, readme
from experiments.console import cells

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
BENCHMARKS = ROOT / "benchmarks" / "results"
_MARK = re.compile(
    r"^<!-- (choosing|defects|speed|results|benchmarks|modules|table|source)(?:: (\S+))? -->$", re.MULTILINE
)


class Choice(NamedTuple):
    """A row of the table.

    Attributes:
      have: what the reader has.
      use: what to use, in words.
      preset: the experiment whose figures stand beside it.
    """

    have: str
    use: str
    preset: str


CHOICES = (
    Choice("normal images of several known classes", "center loss → Mahalanobis", "centerloss_mnist"),
    Choice("the same, and images that are certainly strange", "OOD head on center loss", "ood_head_mnist"),
    Choice("normal images only", "autoencoder", "autoencoder_fashion_mnist"),
    Choice("normal images only, of simple shapes", "autoencoder", "autoencoder_mnist_zero"),
    Choice("normal images only, and nothing to train with", "HOG → one-class SVM", "hog_ocsvm_fashion_mnist"),
    Choice("normal images only, and no wish to redraw them", "Deep SVDD", "deep_svdd_fashion_mnist"),
    Choice("few normal images, or photographs", "pre-trained network → mixture", "gmm_pretrained_mnist_1v7"),
    Choice("normal images only, and a likelihood wanted", "autoencoder → mixture", "gmm_autoencoder_mnist_1v7"),
    Choice("labelled anomalies of every kind", "classifier", "classifier_fashion_mnist"),
    Choice("the same, with degrees of strangeness", "regressor", "regressor_fashion_mnist"),
    Choice("the same, and a picture of what is wrong", "dual-discriminator GAN", "gan_fashion_mnist"),
)
NOT_CHOSEN = {"random"}
"""Methods that nobody should choose."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this with each page; one whose tables are written already (`experiments.readme`) stays as it is."""
    return markdown if "<!-- end -->" in markdown else _MARK.sub(_made, markdown)


def _made(mark: re.Match[str]) -> str:
    kind, argument = mark.groups()
    if kind == "choosing":
        return choosing()
    if kind == "defects":
        return defects()
    if kind == "speed":
        return speed()
    if kind == "benchmarks":
        tables = [path.read_text() for path in sorted(BENCHMARKS.glob("*.md"))]
        return "\n\n".join(tables) or "No timings are committed yet."
    if kind == "modules":
        return modules(argument)
    if kind == "table":
        lines = (inspect.getdoc(importlib.import_module(argument)) or "").splitlines()
        return "\n".join(line for line in lines if line.startswith("|"))
    if kind == "source":
        return f"```py\n{(ROOT / argument).read_text(encoding='utf-8').rstrip()}\n```"
    path = RESULTS / argument
    return readme.table(json.loads(path.read_text())) if path.exists() else "No figures are committed yet."


def choosing() -> str:
    """What to use, one row a `Choice`, every number from its file."""
    lines = ["| you have | use | AUROC | pixel PCA | untrained | normal → anomalous | `--preset` |", "|" + "---|" * 7]
    for have, use, preset in CHOICES:
        r = _result(preset)
        row = [have, use, auroc(r["summary"])]
        row += [auroc(r["comparisons"].get(n, {})) for n in ("pixel PCA, 30 components", "same network, untrained")]
        row += [f"{r['dataset']['name']} → {r['ood']['name']}", f"`{preset}`"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


TEXTURES = {
    "brick": "regular, with coarse joints",
    "immunohistochemistry": "soft stains, in colour",
    "gravel": "irregular, coarse",
    "grass": "irregular, fine",
}
"""The textures of `experiments.made_defects`, for people; the easiest first."""


def defects() -> str:
    """AUROC and share flagged by texture and size of defect."""
    rows = _result("made_defects")["summary"]
    shares = sorted({row["share"] for row in rows})
    sizes = [f"{share:.1%} of the area, {(share * made_defects.SIDE_PX**2) ** 0.5:.0f} px" for share in shares]
    lines = [f"| texture | {' | '.join(sizes)} |", "|" + "---|" * (1 + len(shares))]
    for texture, words in TEXTURES.items():
        found = {row["share"]: row for row in rows if row["texture"] == texture}
        values = (f"{found[s]['auroc, adjax']['mean']:.2f}, {found[s]['flagged']['mean']:.0%} flagged" for s in shares)
        lines.append(f"| {texture}: {words} | {' | '.join(values)} |")
    return "\n".join(lines)


def speed() -> str:
    """How long it took, for the same rows."""
    lines = [
        "| `--preset` | network | training, images/s | scoring, images/s | whole run | of members | on |",
        "|" + "---|" * 7,
    ]
    for *_, preset in CHOICES:
        r = _result(preset)
        timing, where = r["timing"], r["environment"]
        rate = timing["train_images_per_s"]
        row = [f"`{preset}`", f"`{r['model']}`", "nothing to train" if rate is None else f"{rate:,.0f}"]
        row += [f"{timing['score_images_per_s']:,.0f}", f"{timing['total_s'] / 60:.0f} min", str(len(r["members"]))]
        row.append(f"{where['cores']} cores of {where['cpu']}, jax {where['versions']['jax']}, {where['date']}")
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _result(preset: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{preset}.json").read_text())


def auroc(figures: Mapping[str, Any]) -> str:
    """Mean ± deviation, under whichever name the experiment has it."""
    name = "ood_auroc" if "ood_auroc" in figures else "auroc"
    return cells(dict(figures), {name: ("", "{:.4f}")})[0]


def modules(registry: str) -> str:
    """The module of each entry of a registry such as `adjax.scorers.SCORERS`, in the words of its docstrings."""
    package, _, name = registry.rpartition(".")
    entries: dict[tuple[str, str], list[str]] = {}
    for key, factory in getattr(importlib.import_module(package), name).items():
        factory = inspect.unwrap(factory)
        function = factory.func if isinstance(factory, functools.partial) else factory
        entries.setdefault((function.__module__, function.__name__), []).append(key)
    parts = []
    for (module, function), keys in sorted(entries.items()):
        title = ", ".join(f"`{key}`" for key in keys)
        options = [
            "show_root_heading: false",
            "show_root_toc_entry: false",
            "heading_level: 4",
            f"members: [{function}]",
        ]
        parts.append("\n      ".join([f"## {title}\n\n::: {module}\n    options:", *options]))
    return "\n\n".join(parts)
