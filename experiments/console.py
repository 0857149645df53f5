"""What a person sees: a progress bar with images/s (plain lines where there is no terminal) and a closing table."""

from __future__ import annotations

import statistics
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

LINE_EVERY_S = 10.0


class Training:
    """Progress of a training. A context manager; call `start` once and `advance` after every dispatch."""

    def __init__(self, console: Console, steps: int, images_per_step: int, description: str):
        """`steps`: optimiser steps in all; `images_per_step`: over all members."""
        self.console, self.steps, self.images_per_step = console, steps, images_per_step
        self.bar = None
        self.description = description
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[rate]} images/s  {task.fields[news]}"),
                console=console,
            )

    def __enter__(self) -> Training:
        if self.bar is not None:
            self.bar.start()
            self.task = self.bar.add_task(self.description, total=self.steps, rate="…", news="")
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.stop()

    def start(self, step: int) -> None:
        """Training starts from this step, now."""
        self.first, self.began = step, time.perf_counter()
        self.line_at = self.began + LINE_EVERY_S
        if step:
            self.console.print(f"resuming from step {step:,} of {self.steps:,}")

    def advance(self, step: int, news: str) -> None:
        """`step` steps are done; `news` is shown behind the rate."""
        now = time.perf_counter()
        rate = (step - self.first) * self.images_per_step / (now - self.began)
        if self.bar is not None:
            self.bar.update(self.task, completed=step, rate=f"{rate:,.0f}", news=news)
        elif now >= self.line_at or step >= self.steps:
            self.line_at = now + LINE_EVERY_S
            left = (now - self.began) / (step - self.first) * (self.steps - step)
            self.console.print(
                f"step {step:,}/{self.steps:,}  {rate:,.0f} images/s  {left:,.0f} s left  {news}",
                highlight=False,
                soft_wrap=True,
            )


COLUMNS = {
    "accuracy": ("accuracy", "{:.4f}"),
    "f1": ("class F1", "{:.4f}"),
    "ood_auroc": ("OOD AUROC", "{:.4f}"),
    "ood_fpr95": ("FPR95", "{:.2%}"),
    "ood_fpr95_ood_positive": ("FPR95, OOD positive", "{:.2%}"),
    "ood_f1": ("OOD F1", "{:.4f}"),
    "id_rejected": ("false positive rate", "{:.2%}"),
}
"""Where the classes of normal images are told apart."""
ANOMALY_COLUMNS = {
    "auroc": ("AUROC", "{:.4f}"),
    "aupr": ("AUPR", "{:.4f}"),
    "fpr95": ("FPR95", "{:.2%}"),
    "f1": ("F1", "{:.4f}"),
    "accuracy": ("accuracy", "{:.4f}"),
    "id_rejected": ("false positive rate", "{:.2%}"),
}
"""Where an image is normal or not, and that is all."""
_LIMITS = {"auroc_low": ("from", "{:.4f}"), "auroc_high": ("to", "{:.4f}")}
"""DeLong's 95 % limits of the AUROC; shown where scorers are compared."""


def columns(results: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Metric -> (title, format) of the columns that a run's tables have."""
    prefix = "ood_" if "ood_auroc" in results["summary"] else ""
    shown = COLUMNS if prefix else ANOMALY_COLUMNS
    if "r2" in results["summary"]:  # a regressor's own measure, on the test images
        shown = {"auroc": shown["auroc"], "r2": ("R²", "{:.4f}"), **shown}
    if not results["config"].get("scorers"):
        return shown
    limits = {f"{prefix}{name}": column for name, column in _LIMITS.items()}
    own = {name: column for name, column in shown.items() if name not in ("accuracy", "f1")} if prefix else shown
    order = [name for key in own for name in ((key, *limits) if key == f"{prefix}auroc" else (key,))]
    return {name: {**shown, **limits}[name] for name in order}


def cells(figures: dict[str, Any], columns: dict[str, tuple[str, str]] = COLUMNS) -> list[str]:
    """One row under `columns`: mean ± sd of a summary, a published range as it stands, or nothing.

    The deviation is that of the mean from seed to seed; over classes or folds if there is but one seed.
    """
    row = []
    for name, (_, form) in columns.items():
        value = figures.get(name)
        if isinstance(value, dict):
            sd = value["sd_seeds"] if value.get("seeds", 1) > 1 else value["sd"]
            spread = f" ±{form.format(sd)}" if value["n"] > 1 else ""
            row.append(form.format(value["mean"]) + spread)
        else:
            row.append("" if value is None else value if isinstance(value, str) else form.format(value))
    return row


def setting_name(setting: dict[str, float], settings: list[dict[str, float]]) -> str:
    """The hyper-parameters that differ between settings; λ in any case."""
    shown = {k: v for k, v in setting.items() if k == "lam" or len({s.get(k) for s in settings}) > 1}
    return " ".join(f"{'λ' if k == 'lam' else k}={v:g}" for k, v in shown.items())


def member_name(name: dict[str, Any]) -> str:
    """A trial's name in words."""
    return " ".join(f"{k}={v}" for k, v in name.items())


def by_member(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A row for each class or fold of the kept setting, over its seeds; none where there are only seeds."""
    first, each = results["kept"]["member"], len(results["members"]) // len(results["groups"])
    given = results["members"][first : first + each]
    kinds = ("class", "against", "fold")
    rows: dict[str, list] = {}
    for member in given:
        name = member_name({k: member[k] for k in kinds if k in member})
        if name:
            rows.setdefault(name, []).append(member["metrics"])
    if len(rows) < 2:
        return []
    return [(name, {k: spread([m[k] for m in found]) for k in found[0]}) for name, found in rows.items()]


def spread(values: list[float]) -> dict[str, float]:
    """Mean, standard deviation (n − 1; 0 for n = 1) and n."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
        "n": len(values),
    }


def closing_table(results: dict[str, Any]) -> Table:
    """Mean ± sd of each setting, beside baselines and the published figures; and each class or fold, if there are."""
    shown = columns(results)
    table = Table(title=f"{results['dataset']['name']} → {results['ood']['name']}, {results['model']}, test sets")
    table.add_column("")
    for title, _ in shown.values():
        table.add_column(title, justify="right")

    for name, figures in by_member(results):
        table.add_row(name, *cells(figures, shown))
    table.add_section()
    settings = [group["hparams"] for group in results["groups"]]
    for group in results["groups"]:
        n = next(iter(group["summary"].values()))["n"]
        name = " ".join(filter(None, ("adjax", setting_name(group["hparams"], settings))))
        table.add_row(f"{name} (n={n})", *cells(group["summary"], shown), style="bold")
    table.add_section()
    for name, figures in results["comparisons"].items():
        table.add_row(name, *cells(figures, shown))
    table.add_section()
    for reference in results["references"]:
        table.add_row(reference["name"], *cells(reference["metrics"], shown), style="dim")
    return table
