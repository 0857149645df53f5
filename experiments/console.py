"""What a person sees: a progress bar with images/s (plain lines where there is no terminal) and a closing table."""

from __future__ import annotations

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
    "id_rejected": ("normals rejected", "{:.2%}"),
}


def cells(figures: dict[str, Any]) -> list[str]:
    """One row under `COLUMNS`: mean ± sd of a summary, a published range as it stands, or nothing."""
    row = []
    for name, (_, form) in COLUMNS.items():
        value = figures.get(name)
        if isinstance(value, dict):
            spread = f" ±{form.format(value['sd'])}" if value["n"] > 1 else ""
            row.append(form.format(value["mean"]) + spread)
        else:
            row.append("" if value is None else value if isinstance(value, str) else form.format(value))
    return row


def closing_table(results: dict[str, Any]) -> Table:
    """Mean ± sd of each setting, beside baselines and the published figures."""
    table = Table(title=f"{results['dataset']['name']} → {results['ood']['name']}, {results['model']}, test sets")
    table.add_column("")
    for title, _ in COLUMNS.values():
        table.add_column(title, justify="right")

    for group in results["groups"]:
        n = group["summary"]["accuracy"]["n"]
        setting = " ".join(f"{'λ' if k == 'lam' else k}={v:g}" for k, v in group["hparams"].items() if k == "lam")
        table.add_row(f"adjax {setting} (n={n})", *cells(group["summary"]), style="bold")
    table.add_section()
    for name, figures in results["comparisons"].items():
        table.add_row(name, *cells(figures))
    table.add_section()
    for reference in results["references"]:
        table.add_row(reference["name"], *cells(reference["metrics"]), style="dim")
    return table
