"""AUROC of each class: a mean hides which one is hard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.plots.canvas import (
    BLUE,
    GREY,
    INK,
    Records,
    References,
    canvas,
    draw_references,
    finish,
    number,
    save,
    say,
)


def auroc_by_class(
    path: str | Path, members: Records, *, title: str, references: References | None = None, note: str = ""
) -> Path:
    """A dot for each class and seed, the hardest class on top; the mean over classes as a line.

    The mean gives each class the same weight, whatever its number of seeds. ± is the sample sd, over seeds, of the mean
    over classes; it is given where at least two seeds have all classes.

    Args:
      path: PNG to write; folders are made.
      members: as in results.json, `{"class": str, "seed": int, "metrics": {"auroc": float}}`.
      title: what is measured on what.
      references: others' means over classes: (label, value) is a broken line, (label, (low, high)) a band.
      note: printed in red on top.
    """
    return save(_figure(members, title, references or (), note), path)


def _figure(members: Records, title: str, references: References, note: str) -> Figure:
    table: dict[str, dict[int, float]] = {}
    for i, m in enumerate(members):
        own = table.setdefault(str(m.get("class", "no name")), {})
        own[i] = number(m["metrics"].get("auroc"))
    known = {name: np.array([x for x in own.values() if np.isfinite(x)]) for name, own in table.items()}
    means = {name: float(x.mean()) if len(x) else np.inf for name, x in known.items()}
    order = sorted(means, key=lambda name: means[name])  # those without a value last
    seeds = _by_seed(members, len(order))
    figure, (ax,) = canvas(1, 6.4, min(max(0.27 * len(order) + 0.7, 1.6), 12.0))
    draw_references(ax, references, "x")
    style: dict[str, Any] = {"ls": "", "mfc": (BLUE, 0.35), "mec": BLUE, "mew": 1.0}
    right = ax.get_yaxis_transform()
    size = min(8.5, 72 * 10 / max(len(order), 1))
    for row, name in enumerate(order):
        ax.plot(known[name], np.full(len(known[name]), row), "o", ms=6, clip_on=False, **style)
        text = f"{means[name]:.4f}" if len(known[name]) else "no value"
        ax.text(1.01, row, text, transform=right, va="center", size=size, color=INK if len(known[name]) else GREY)
    values = np.concatenate([*known.values(), np.zeros(0)])
    if len(values):
        if len(values) > sum(len(x) > 0 for x in known.values()):
            ticks = [(means[name], row) for row, name in enumerate(order) if len(known[name])]
            ax.plot(*zip(*ticks, strict=True), "|", ms=13, mew=1.8, color=INK, label="mean of a class")
        total = float(np.mean([x for x in means.values() if np.isfinite(x)]))
        label = f"mean of {sum(len(x) > 0 for x in known.values())} classes {total:.4f}"
        label += f" ± {seeds.std(ddof=1):.4f}, n = {len(seeds)} seeds" if len(seeds) > 1 else ""
        ax.axvline(total, color=INK, lw=1.6, label=label)
        ax.plot([], [], "o", ms=6, label="one class and seed", **style)
    else:
        say(ax, "no finite AUROC")
    lines = [x for _, value in references for x in np.ravel(np.asarray(value, float)) if np.isfinite(x)]
    low, high = min([*values, *lines], default=0.0), max([*values, *lines], default=1.0)
    air = 0.05 * (high - low) or 0.02
    ax.set(xlim=(low - air, high + air), ylim=(max(len(order), 1) - 0.4, -0.6))
    ax.set_yticks(range(len(order)), order, size=size)
    ax.set_xlabel("AUROC (0–1), the class against all others")
    lost = len(members) - len(values)
    remark = f"{lost} of {len(members)} runs have no finite AUROC: not drawn" * (lost > 0)
    return finish(figure, title, note, *ax.get_legend_handles_labels(), remark=remark)


def _by_seed(members: Records, classes: int) -> np.ndarray:
    """The mean over classes of each seed that has all of them."""
    table: dict[int, list[float]] = {}
    for m in members:
        table.setdefault(m.get("seed", 0), []).append(number(m["metrics"].get("auroc")))
    whole = [np.mean(x) for x in table.values() if len(x) == classes and np.isfinite(x).all()]
    return np.array(whole, float)
