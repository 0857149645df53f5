"""Losses and accuracies during training."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from experiments.plots.canvas import (
    BLUE,
    DASHES,
    GREEN,
    ORANGE,
    PURPLE,
    VERMILION,
    Records,
    canvas,
    finish,
    save,
    say,
)


def training_curves(
    path: str | Path, records: Records, *, title: str = "Loss and accuracy during training", note: str = ""
) -> Path:
    """Losses (left) and accuracies (right) against the step: mean over members, band from lowest to highest.

    Args:
      records: `{"step": int, "metrics": {name: [M values]}}`; "acc" in a name sends it to the right.
    """
    return save(_figure(records, title, note), path)


def _figure(records: Records, title: str, note: str) -> Figure:
    figure, axes = canvas(2, 4.2, 3.6)
    records = sorted(records, key=lambda r: r["step"])
    found = dict.fromkeys(name for r in records for name in r["metrics"])
    names = sorted(found, key=lambda name: "acc" in name)
    for name, colour in zip(names, cycle((BLUE, VERMILION, GREEN, PURPLE, ORANGE))):
        ax = axes["acc" in name]
        dash = DASHES[len(ax.lines) % len(DASHES)]
        steps = [r["step"] for r in records if name in r["metrics"]]
        rows = [np.ravel(np.asarray(r["metrics"][name], float)) for r in records if name in r["metrics"]]
        table = np.full((len(rows), max(1, *map(len, rows))), np.nan)
        for i, row in enumerate(rows):
            table[i, : len(row)] = row
        lost = int((~np.isfinite(table)).any(0).sum())
        known = np.ma.masked_invalid(table)
        mean, low, high = (np.ma.filled(f(axis=1), np.nan) for f in (known.mean, known.min, known.max))
        text = f"{name.replace('_', ' ')}, n = {table.shape[1]}" + f", {lost} not always finite" * (lost > 0)
        ax.plot(steps, mean, c=colour, ls=dash, lw=1.6, marker="o" * (len(steps) < 20), ms=4, label=text)
        ax.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
    for ax, label in zip(axes, ("loss (no unit)", "accuracy (0–1)"), strict=True):
        if not ax.lines:
            say(ax, "nothing recorded")
        low, high = ax.dataLim.intervaly
        log = ax is axes[0] and bool(0 < 30 * low < high < np.inf)
        ax.set(xlabel="training step", ylabel=label + ", log scale" * log, yscale="log" if log else "linear")
    handles, labels = (a + b for a, b in zip(*(ax.get_legend_handles_labels() for ax in axes), strict=True))
    remark = "line: mean over n members, band: from lowest to highest"
    return finish(figure, title, note, handles, labels, remark=remark)
