"""A run's report.html, made from its directory: `python -m experiments.report RUN [RUN …]`.

One RUN: its report is written again. Several: one page with their figures side by side and their ROC curves on one
pair of axes, in `--out`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from adjax import process, surface
from adjax.report import Figure, Report, Sweep, Table, View, write
from experiments import intervals, views
from experiments.console import ANOMALY_COLUMNS, by_member, cells, columns, setting_name

PAGE = "report.html"
TITLES = {
    "auroc": ("AUROC", "{:.4f}"),
    "aupr": ("AUPR", "{:.4f}"),
    "fpr95": ("FPR95", "{:.2%}"),
    "f1": ("F1, threshold as saved", "{:.4f}"),
    "id_rejected": ("Normal images flagged", "{:.2%}"),
    "accuracy": ("Accuracy", "{:.4f}"),
}
"""Headline figures in order: metric without its prefix -> title, format."""
COMPARED = {
    **{name: form for name, form in ANOMALY_COLUMNS.items() if name != "accuracy"},
    "class_f1": ("class F1", "{:.4f}"),
    "class_accuracy": ("class accuracy", "{:.4f}"),
}
"""Columns of several runs side by side."""
SWEPT = {
    "ood_auroc": "OOD AUROC",
    "ood_f1": "OOD F1",
    "f1": "class F1",
    "accuracy": "accuracy",
    "auroc": "AUROC",
    "ood_fpr95": "FPR95",
}


def of_run(results: dict[str, Any], shown: list[View]) -> Report:
    """The report of one run, from its results and its views."""
    return Report(
        title=heading(results),
        lead=_lead(results),
        note=results["note"],
        figures=headline(results, shown[0]),
        headline=_beside(results),
        views=shown,
        members=_members(results),
        sweep=_sweep(results),
        facts=_facts(results),
        command=results["environment"]["command"],
    )


def of_runs(runs: dict[str, tuple[dict[str, Any], list[View]]]) -> Report:
    """Several runs side by side: name -> (results, views)."""
    named: dict[str, list[dict[str, Any]]] = {"own": [], "reference": []}
    for name, (results, _) in runs.items():
        named["own"].append({"name": name, "of": results, "metrics": _common(results["summary"])})
        for reference in results["references"]:
            if reference["name"] not in {r["name"] for r in named["reference"]}:
                prefixed = any(k.startswith("ood_") for k in results["summary"])
                named["reference"].append({**reference, "metrics": _common(reference["metrics"], prefixed)})
    every = [(kind, row) for kind, rows in named.items() for row in rows]
    shown = {k: v for k, v in COMPARED.items() if any(k in row["metrics"] for kind, row in every if kind == "own")}
    every = [(kind, row) for kind, row in every if kind == "own" or shown.keys() & row["metrics"].keys()]
    rows = [[row["name"], _subject(row.get("of")), *cells(row["metrics"], shown)] for _, row in every]
    commands = [(name, results["environment"]["command"]) for name, (results, _) in runs.items()]
    return Report(
        title=f"{len(runs)} runs compared",
        lead="Each run's kept detector on its own test images: curves can be compared only where those are the same.",
        note="; ".join(f"{name}: {results['note']}" for name, (results, _) in runs.items() if results["note"]),
        headline=Table(
            ["run", "what", *(title for title, _ in shown.values())],
            rows,
            [kind for kind, _ in every],
            "Mean ± standard deviation where there are several members; others' published figures in italics",
        ),
        views=[views.renamed(found[0], name) for name, (_, found) in runs.items() if found],
        facts={"Commands": commands} | {name: _timing(results) for name, (results, _) in runs.items()},
    )


def _common(metrics: dict[str, Any], prefixed: bool | None = None) -> dict[str, Any]:
    """Metrics under names that mean the same in every run: where anomaly metrics have a prefix, "f1" and "accuracy" are
    those of the classes."""
    prefixed = any(name.startswith("ood_") for name in metrics) if prefixed is None else prefixed
    classes = ("f1", "accuracy") if prefixed else ()
    return {f"class_{k}" if k in classes else k.removeprefix("ood_"): v for k, v in metrics.items()}


def _subject(results: dict[str, Any] | None) -> str:
    return "" if results is None else heading(results)


def heading(results: dict[str, Any]) -> str:
    """What was done, in a line."""
    ood = results["ood"]["name"]
    against = f"against {ood}" if results["config"].get("protocol", "pair") == "pair" else ood.replace("_", " ")
    return f"{results['method']} on {results['dataset']['name']}, {against}"


def headline(results: dict[str, Any], kept: View) -> list[Figure]:
    """Figures with their spread over seeds, or with the interval of the one run."""
    prefix = "ood_" if "ood_auroc" in results["summary"] else ""
    found = []
    within: dict[str, tuple[float, float]] | None = None
    for name, (words, form) in TITLES.items():
        summary = results["summary"].get(name if name in ("id_rejected", "accuracy") else prefix + name)
        if summary is None:
            continue
        if summary["n"] > 1:
            interval, about = _spread(summary, form, results)
        else:
            within = intervals.of_view(kept) if within is None else within
            if name == "accuracy":  # over the classes of normal images, or over all
                trials = int((np.asarray(kept.truth) == 0).sum()) if prefix else len(kept.scores)
                within[name] = intervals.wilson(round(summary["mean"] * trials), trials)
            low, high = within.get(name, (None, None))
            interval = "" if low is None else f"{form.format(low)}–{form.format(high)}"
            about = intervals.ABOUT.get(name, "") if low is not None else "one run"
        title = "Accuracy over the classes" if prefix and name == "accuracy" else words
        found.append(Figure(title, form.format(summary["mean"]), interval, about))
    return found


def _spread(summary: dict[str, Any], form: str, results: dict[str, Any]) -> tuple[str, str]:
    seeds = summary.get("seeds", summary["n"])
    each = "folds" if "fold" in results["members"][0] else "classes"
    if seeds == summary["n"]:
        return f"± {form.format(summary['sd'])}", f"standard deviation over {seeds} seeds"
    if seeds > 1:
        of = f"mean of {summary['n'] // seeds} {each}"
        return f"± {form.format(summary['sd_seeds'])}", f"{of}; deviation over {seeds} seeds"
    return f"± {form.format(summary['sd'])}", f"standard deviation over {summary['n']} {each}, one seed"


def _lead(results: dict[str, Any]) -> str:
    counts, ood = results["dataset"]["counts"], results["ood"]["counts"]
    where = results["environment"]
    return (
        f"Trained on {counts['train']:,} images ({results['model']}), evaluated on {counts['test']:,} normal and "
        f"{ood['test']:,} anomalous test images that nothing was fitted to. {where['date']}, {where['cores']} cores of "
        f"{where['cpu']} ({where['devices']['platform']})."
    )


def _beside(results: dict[str, Any]) -> Table:
    shown = columns(results)
    first = next((name for name in shown if name.endswith("auroc")), None)  # beside the names, where a phone has room
    shown = {name: shown[name] for name in sorted(shown, key=lambda name: name != first)}
    settings = [group["hparams"] for group in results["groups"]]
    rows, kinds = [], []
    for group in results["groups"]:
        n = next(iter(group["summary"].values()))["n"]
        name = " ".join(filter(None, ("adjax", setting_name(group["hparams"], settings))))
        rows.append([f"{name} (n = {n})", *cells(group["summary"], shown)])
        kinds.append("own")
    for kind, found in (
        ("baseline", results["comparisons"].items()),
        ("reference", ((r["name"], r["metrics"]) for r in results["references"])),
    ):
        for name, metrics in found:
            rows.append([name, *cells(metrics, shown)])
            kinds.append(kind)
    caption = "Mean ± standard deviation where there are several runs; others' published figures in italics"
    return Table(["", *(title for title, _ in shown.values())], rows, kinds, caption)


def _members(results: dict[str, Any]) -> Table | None:
    shown = columns(results)
    rows = by_member(results)
    if not rows:
        return None
    return Table(["", *(title for title, _ in shown.values())], [[name, *cells(found, shown)] for name, found in rows])


def _sweep(results: dict[str, Any]) -> Sweep | None:
    groups = results["groups"]
    if len({g["hparams"].get("lam") for g in groups}) < len(groups) or len(groups) < 2:
        return None
    metrics = {
        title: [(s["mean"], s["sd"], s["n"]) for s in (g["summary"][name] for g in groups)]
        for name, title in SWEPT.items()
        if all(name in g["summary"] for g in groups)
    }
    return Sweep("λ", [g["hparams"]["lam"] for g in groups], metrics)


def _timing(results: dict[str, Any]) -> list[tuple[str, str]]:
    timing, where = results["timing"], results["environment"]
    rate, devices = timing["train_images_per_s"], where["devices"]
    return [
        ("compiling", f"{timing['compile_s']:.1f} s"),
        ("training", f"{timing['train_s']:.1f} s" + (f", {rate:,.0f} images/s" if rate else " (nothing to train)")),
        ("scoring", f"{timing['score_images_per_s']:,.0f} images/s"),
        ("in all", f"{timing['total_s']:.0f} s"),
        ("hardware", f"{where['cores']} cores of {where['cpu']}; {devices['count']} × {devices['kind']}"),
    ]


def _facts(results: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    where, data, ood, weights = results["environment"], results["dataset"], results["ood"], results.get("weights")
    sums = [(f"{data['name']}, {split}", sha) for split, sha in data["sha256"].items()]
    sums += [(f"{ood['name']}, {split}", sha) for split, sha in ood["sha256"].items()]
    if weights:
        sums.append((f"weights: {weights['source']}", weights["sha256"]))
        sums.append(("licence of the weights", weights["licence"]))
    seeds = ", ".join(str(s) for s in dict.fromkeys(m["seed"] for m in results["members"]))
    versions = [("Python", where["python"]), *where["versions"].items(), ("platform", where["platform"])]
    config = {k: v for k, v in results["config"].items() if v not in (None, [], (), "", False)}
    return {
        "Time": _timing(results),
        "Data (SHA-256)": sums,
        "Versions": [*versions, ("git revision", where["revision"] or "none"), ("seeds", seeds)],
        "Configuration": [(k, _value(v)) for k, v in config.items()],
    }


def _value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def read(directory: Path) -> tuple[dict[str, Any], list[View]]:
    """A run's results and views.

    Raises:
      ValueError: it is no finished run.
    """
    try:
        results = json.loads((directory / "results.json").read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{directory} is no finished run: {error}") from error
    return results, views.load(directory / views.FILE)


def main(argv: list[str] | None = None) -> int:
    """Writes the report of the command line; returns the exit status."""
    return surface.run(_main, sys.argv[1:] if argv is None else argv)


def _main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.report", description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run directory of experiments.run")
    parser.add_argument("--out", type=Path, help=f"the page. Unset: RUN/{PAGE}, of several runs ./{PAGE}")
    given = parser.parse_args(argv)
    found = {_name(run, given.runs): read(run) for run in given.runs}
    if len(found) == 1:
        (one,) = found.values()
        path = write(of_run(*one), given.out or given.runs[0] / PAGE)
    else:
        path = write(of_runs(found), given.out or Path(PAGE))
    print(path)
    return 0


def _name(run: Path, runs: list[Path]) -> str:
    """The directory's name; its path where two are called alike."""
    names = [r.resolve().name for r in runs]
    return run.resolve().name if names.count(run.resolve().name) == 1 else str(run)


if __name__ == "__main__":
    process.prepare()
    sys.exit(main())
