"""Distribution of normal and anomalous scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from experiments.plots.canvas import BLUE, INK, VERMILION, canvas, finish, save


def score_histogram(
    path: str | Path, normal: ArrayLike, anomalous: ArrayLike, threshold: float, *, title: str, note: str = ""
) -> Path:
    """Distribution of normal and anomalous scores, and the threshold.

    The axis turns logarithmic beyond the threshold where a tail is heavy. Bins are equally wide *as drawn*;
    heights are shares of all scores of the group, those that are NaN or infinite, in no bin, included.
    """
    return save(_figure(normal, anomalous, threshold, title, note), path)


def _figure(normal: ArrayLike, anomalous: ArrayLike, threshold: float, title: str, note: str) -> Figure:
    figure, (ax,) = canvas(1, 6.4, 3.8)
    groups = [np.asarray(x, np.float64).ravel() for x in (normal, anomalous)]
    known = [g[np.isfinite(g)] for g in groups]
    marks = np.concatenate([*known, [threshold] if np.isfinite(threshold) else []])
    low, high = min(marks, default=0.0), max(marks, default=1.0)
    bulk = np.quantile(known[0], [0.05, 0.95]) if len(known[0]) else np.zeros(2)
    spread, bend = bulk[1] - bulk[0], max(np.abs([*bulk, threshold if np.isfinite(threshold) else 0.0]))
    heavy, where = 0 < 8 * spread < high - low, ""
    if heavy and bend < 20 * spread:
        where = f" (log scale beyond {'±' * bool(low < 0)}{bend:.3g})"
        low = 0.0 if 0 < low < bend / 4 else low
        ax.set_xscale("symlog", linthresh=bend, linscale=0.8)
        near = np.array(MaxNLocator(4).tick_values(max(low, -bend), min(high, bend)))
        reach = max(high, -low)
        tens = np.outer(10.0 ** np.arange(-40, 39), (1, 2, 5) if reach < 300 * bend and low >= -bend else (1,))
        tens = tens[(tens > 1.5 * bend) & (tens <= reach)]
        tens = tens[:: 1 + len(tens) // 9]
        ticks = np.concatenate([-tens[::-1], near[np.abs(near) <= bend], tens])
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
        ax.set_xticks([], minor=True)
    elif heavy:  # far from zero a log scale would not help
        where = " (outermost bins: all beyond)"
        low = max(low, np.fmin(bulk[0] - 8 * spread, threshold))
        high = min(high, np.fmax(bulk[1] + 8 * spread, threshold))
    drawn = ax.xaxis.get_transform()
    first, last = drawn.transform(np.array([low, high]))
    air = 0.02 * (last - first) or 0.5 * max(abs(high), 1.0)
    first, last = first - air * (low != 0), last + air
    # No bin lies astride the threshold.
    split = drawn.transform(np.array([threshold]))[0] if np.isfinite(threshold) else first
    below = round(60 * (split - first) / (last - first))
    edges = np.r_[np.linspace(first, split, below + 1)[:-1], np.linspace(split, last, 61 - below)]
    edges = drawn.inverted().transform(edges)
    styles = (("normal", BLUE, "-", ""), ("OOD", VERMILION, "--", "////"))
    for every, finite, (name, colour, dash, hatch) in zip(groups, known, styles, strict=True):
        share = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)[0] * 100 / max(len(every), 1)
        label = f"{name}, n = {len(every):,}"
        label += f": {(~(every <= threshold)).sum() / max(len(every), 1):.2%} flagged" * (len(every) > 0)
        label += f"; {len(every) - len(finite):,} NaN or infinite, in no bin" * (len(every) > len(finite))
        ax.stairs(share, edges, fill=True, fc=(colour, 0.25), ec=(colour, 0.6), hatch=hatch, lw=0)
        ax.stairs(share, edges, color=colour, ls=dash, lw=1.6, label=label)
    ax.axvline(threshold, color=INK, lw=1.4, ls=":", label=f"threshold {threshold:.4g}, flagged above")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel(f"score, higher = more anomalous{where}")
    ax.set_ylabel("share of the group's scores per bin (%)")
    return finish(figure, title, note, *ax.get_legend_handles_labels())
