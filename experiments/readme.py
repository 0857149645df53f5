"""The results tables of README and docs/results.md, written from the committed results: `python -m experiments.readme`.

Everything between `<!-- results: NAME.json -->` and `<!-- end -->` is replaced by a table of
`experiments/results/NAME.json`, what follows `<!-- overview -->` by one row of each file there is, and what follows
`<!-- calibration -->`, `<!-- calibration of features -->`, `<!-- made defects -->` and `<!-- gan validation -->` by the
tables of `calibration_mnist.json`, `calibration_features.json`, `made_defects.json` and `gan_validation.json`; a test
checks that the pages are up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adjax.baselines import BASELINES
from experiments.calibration_features import LARGEST
from experiments.console import cells, columns, setting_name, spread
from experiments.evaluate import PAPER
from experiments.judging import CEILING
from experiments.presets import PRESETS
from experiments.references import SETTINGS, TUNED_ON_TEST
from experiments.rundir import days, earlier_rows

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
_BLOCK = re.compile(r"(<!-- results: ([\w.]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(results: dict[str, Any], preset: str | None = None) -> str:
    """Writes one results.json as a Markdown table with its command, hardware, versions and spread.

    Args:
      results: its contents.
      preset: whose settings and answer on tuning are told; None: none.

    Returns:
      Markdown.
    """
    shown = columns(results)

    def row(name: str, figures: dict[str, Any]) -> str:
        return f"| {name} | " + " | ".join(cells(figures, shown)) + " |"

    lines = ["| | " + " | ".join(title for title, _ in shown.values()) + " |", "|---|" + "---|" * len(shown)]
    settings = [group["hparams"] for group in results["groups"]]
    for group in results["groups"]:
        name = setting_name(group["hparams"], settings).replace("=", " = ")
        lines.append(row(", ".join(filter(None, ("**adjax**", name))), group["summary"]))
    if len(results["groups"]) > 1:
        lines += [row(*found) for found in _paper_by_lam(results)]
    lines += [row(name, figures) for name, figures in results["comparisons"].items()]
    lines += [row(f"*{reference['name']}*", reference["metrics"]) for reference in results["references"]]
    timing, where = results["timing"], results["environment"]
    versions = ", ".join(f"{name} {where['versions'][name]}" for name in ("jax", "flax"))
    rate = timing["train_images_per_s"]
    sentence = [
        f"Mean ± standard deviation {_over(results)}; {results['dataset']['name']} → {results['ood']['name']}, test",
        f"sets. `{where['command']}`, {where['date']}: {timing['total_s']:.0f} s",
        f"(compiling {timing['compile_s']:.0f} s,",
        f"training {rate:,.0f} images/s," if rate is not None else "nothing to train,",
        f"scoring {timing['score_images_per_s']:,.0f} images/s)",
        f"on {where['cores']} cores of {where['cpu']} ({where['devices']['platform']}), {versions}, Python",
        f"{where['python']}.",
    ]
    if len(results["groups"]) > 1:
        sentence.append(f"Rows below the λ values: at λ = {results['kept']['hparams']['lam']:g}.")
    if CEILING in results["comparisons"] and _over(results).startswith("of the mean"):
        sentence.append("Classifier and pixel PCA: of the first seed, ± over its classes.")
    if preset in TUNED_ON_TEST:
        sentence.append(
            f"Whose settings: {SETTINGS[preset]}. Tuned on the test set? {_capital(TUNED_ON_TEST[preset])}."
        )
    lines += ["", " ".join(sentence)]
    return "\n".join(lines)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _paper_by_lam(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The center-loss paper's own scorer at each λ but the kept one, whose row stands among the comparisons."""
    each, rows = len(results["members"]) // len(results["groups"]), []
    for g, group in enumerate(results["groups"]):
        own = results["members"][g * each : (g + 1) * each]
        if all(PAPER in member["scorers"] for member in own) and g * each != results["kept"]["member"]:
            found = {k: spread([m["scorers"][PAPER][k] for m in own]) for k in own[0]["scorers"][PAPER]}
            rows.append((f"mahalanobis_perclass, λ = {group['hparams']['lam']:g}", found))
    return rows


def _over(results: dict[str, Any]) -> str:
    """What n counts."""
    summary = next(iter(results["summary"].values()))
    n, seeds = summary["n"], summary.get("seeds", summary["n"])
    if seeds == n:
        return f"of n = {n} seeds"
    each = f"{n // seeds} {'folds' if 'fold' in results['members'][0] else 'classes'}"
    return (
        f"over n = {each}, one seed" if seeds == 1 else f"of the mean over {each} from seed to seed, n = {seeds} seeds"
    )


def _count(results: dict[str, Any]) -> str:
    """What the mean and its deviation are over."""
    summary = next(iter(results["summary"].values()))
    n, seeds = summary["n"], summary.get("seeds", summary["n"])
    each = "folds" if "fold" in results["members"][0] else "classes"
    if seeds == n:
        return f"{n} seeds" if n > 1 else "1 seed"
    return f"{n // seeds} {each}" + (f" × {seeds} seeds" if seeds > 1 else "")


def overview() -> str:
    """A row for each one-class experiment that has a file: ours, theirs, the untrained network, pixel PCA."""
    lines = [
        "| `--preset` | AUROC | others' | same network, untrained | pixel PCA | n | time | whose settings "
        "| tuned on the test set? |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for preset in PRESETS:
        path = RESULTS / f"{preset}.json"
        if not path.exists():
            continue
        results = json.loads(path.read_text())
        if "auroc" not in results["summary"]:
            continue
        auroc = {"auroc": ("", "{:.4f}")}
        (own,) = cells(results["summary"], auroc)
        if "r2" in results["summary"]:
            own += f"; R² {results['summary']['r2']['mean']:.4f}"
        if (beaten := _better(results)) is not None:
            own += f", below {beaten}"
        beside = [
            "".join(cells(results["comparisons"].get(name, {}), auroc))
            for name in ("same network, untrained", "pixel PCA, 30 components")
        ]
        published = [
            f"{cells(r['metrics'], auroc)[0]} ({r['name']})" for r in results["references"] if "auroc" in r["metrics"]
        ]
        seconds = results["timing"]["total_s"]
        columns = [f"`{preset}`", own, "; ".join(published), *beside, _count(results), f"{seconds / 60:.0f} min"]
        columns += [SETTINGS[preset], TUNED_ON_TEST[preset]]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join(lines)


def _better(results: dict[str, Any]) -> str | None:
    """What has a higher AUROC, to four places, than the row: a published figure, or a trivial baseline."""
    known = [("a published figure", reference["metrics"].get("auroc")) for reference in results["references"]]
    for short, name in (("the untrained network", "same network, untrained"), ("PCA", "pixel PCA, 30 components")):
        value = results["comparisons"].get(name, {}).get("auroc")
        known.append((short, value["mean"] if isinstance(value, dict) else value))
    own = round(results["summary"]["auroc"]["mean"], 4)
    found = dict.fromkeys(short for short, value in known if isinstance(value, float) and round(value, 4) > own)
    return " and ".join(found) or None


def calibration() -> str:
    """Nominal against realised false-positive rates, a row for each rate and number of held-out images."""
    found = json.loads((RESULTS / "calibration_mnist.json").read_text())
    lines = [
        "| asked for at most | held out | realised, mean ± sd | 99 % band | seeds within | uncertain |",
        "|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        rate, (low, high) = row["rate"], row["band"]
        lines.append(
            f"| {row['alpha']:.0%} | {row['held_out']:,} | {rate['mean']:.2%} ±{rate['sd']:.2%} | {low:.2%}–{high:.2%} "
            f"| {row['within']} of {rate['n']} | {row['uncertain']:.2%} |"
        )
    where, judged = found["environment"], found["rows"][0]["judged"]
    lines += [
        "",
        f"For each seed, the images held out and {judged:,} others to evaluate on are drawn from normal images that "
        f"the network was not trained on. `{where['command']}`, {where['date']}, {where['cores']} cores of "
        f"{where['cpu']}, jax {where['versions']['jax']}.",
    ]
    return "\n".join(lines)


def calibration_of_features() -> str:
    """Realised false-positive rates of cross-fitted thresholds, a row for each scorer and number of features."""
    found = json.loads((RESULTS / "calibration_features.json").read_text())
    sizes = sorted({row["n"] for row in found["rows"]})
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in found["rows"]:
        groups.setdefault((row["scorer"], row["dim"]), []).append(row)
    few = sizes[-2]
    lines = [
        "| scorer | D | fits | " + " | ".join(f"N = {n:,}" for n in sizes) + f" | by training distances, N = {few} |",
        "|---|---|---|" + "---|" * (len(sizes) + 1),
    ]

    def shares(rows: list[dict[str, Any]], n: int, kind: str) -> str:
        return " / ".join(f"{row[kind]['mean']:.1%}" for row in rows if row["n"] == n)

    for (scorer, dim), rows in groups.items():
        cells = [shares(rows, n, "rate") for n in sizes]
        fits = "1" if not any(row["fits"] for row in rows) else f"{max(row['fits'] for row in rows) + 1}"
        lines.append(f"| {scorer} | {dim} | {fits} | " + " | ".join(cells) + f" | {shares(rows, few, 'training')} |")
    left_out = ", ".join(f"{name} above D = {dim}" for name, dim in LARGEST.items())
    where, seeds = found["environment"], min(row["rate"]["n"] for row in found["rows"])
    lines += [
        "",
        f"Gaussian / heavy-tailed rows (Student's t, 3 degrees of freedom); means over {seeds} seeds, "
        f"{found['fresh']:,} fresh rows each. What can be had is 1/31 = 3.2 % of 30 rows, 5/101 of 100. Fits: the "
        f"greatest number, cross-fitting included. Not drawn, since they take hours: {left_out}. "
        "`python -m experiments.calibration_features` draws what the table lacks; "
        f"last {where['date']}, {where['cores']} cores of {where['cpu']}, jax {where['versions']['jax']}.",
    ]
    return "\n".join(lines)


def made_defects() -> str:
    """How much of synthetic defects is found, a row for each texture and size."""
    found = json.loads((RESULTS / "made_defects.json").read_text())
    lines = [
        f"| texture | of the area | AUROC | flagged | {' | '.join(BASELINES)} | pixel AUROC | AUPRO to 0.3 | to 0.05 |",
        "|---" * (7 + len(BASELINES)) + "|",
    ]
    trivial = (f"auroc, {name}" for name in BASELINES)
    figures = ("auroc, adjax", "flagged", *trivial, "pixel_auroc", "aupro", "aupro_5")
    for row in found["summary"]:
        cells = [f"{row[name]['mean']:.3f} ± {row[name]['sd']:.3f}" if name in row else "–" for name in figures]
        lines.append(f"| {row['texture']} | {row['share']:.1%} | " + " | ".join(cells) + " |")
    where, rows = found["environment"], earlier_rows(RESULTS / "made_defects.json")
    alarms = sum(row["false_alarms"] for row in rows) / len(rows)
    counts = sorted({row["flagged"]["n"] for row in found["summary"]})
    seeds = " or ".join(map(str, counts))
    chosen = sorted({row["scorer"] for row in rows})
    lines += [
        "",
        f"Mean ± standard deviation over {seeds} seeds; {alarms:.1%} of normal pictures are flagged. Chosen by "
        f"synthetic defects: {', '.join(chosen)}. {', '.join(BASELINES)}: the AUROC of these alone. "
        f"`{where['command']}`, {days(rows)}, {where['cores']} cores of {where['cpu']}, jax "
        f"{where['versions']['jax']}.",
    ]
    return "\n".join(lines)


def gan_validation() -> str:
    """How the GAN's settings do on validation data, a row for each optimiser."""
    found = json.loads((RESULTS / "gan_validation.json").read_text())
    each = {(cell["optimizer"], cell["width"], cell["epochs"]): cell["auroc"] for cell in found["cells"]}
    settings = list(dict.fromkeys(key[1:] for key in each))
    lines = [
        "| | " + " | ".join(f"width {width}, {epochs} epochs" for width, epochs in settings) + " |",
        "|---" * (len(settings) + 1) + "|",
    ]
    for optimizer in dict.fromkeys(key[0] for key in each):
        own = [each[optimizer, *setting] for setting in settings]
        lines.append(f"| {optimizer} | " + " | ".join(f"{x['mean']:.4f} ±{x['sd']:.4f}" for x in own) + " |")
    where, chosen = found["environment"], found["chosen"]
    lines += [
        "",
        f"AUROC, mean ± standard deviation of n = {chosen['auroc']['n']} seeds. Chosen: {chosen['optimizer']}, width "
        f"{chosen['width']}, {chosen['epochs']} epochs. `{where['command']}`, {where['date']}, {where['cores']} cores "
        f"of {where['cpu']}, jax {where['versions']['jax']}.",
    ]
    return "\n".join(lines)


TABLES: dict[str, Callable[[], str]] = {
    "overview": overview,
    "calibration": calibration,
    "calibration of features": calibration_of_features,
    "made defects": made_defects,
    "gan validation": gan_validation,
}
"""What a comment on a page says -> what is written between it and `<!-- end -->`."""


def render(text: str) -> str:
    """A page with every table made again."""

    def block(match: re.Match) -> str:
        results = json.loads((RESULTS / match[2]).read_text())
        return f"{match[1]}{table(results, Path(match[2]).stem)}\n{match[3]}"

    for name, made in TABLES.items():
        marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if marked.search(text):
            lines = made()
            text = marked.sub(lambda match, lines=lines: f"{match[1]}{lines}\n{match[2]}", text)  # type: ignore[misc]
    return _BLOCK.sub(block, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page.read_text()))
