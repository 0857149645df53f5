"""Distribution of normal and anomalous scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.plots.canvas import BLUE, INK, VERMILION, canvas, finish, save
from experiments.plots.scores import Names, describe, fit_axis


def score_histogram(
    path: str | Path,
    normal: ArrayLike,
    anomalous: ArrayLike,
    threshold: float,
    *,
    title: str,
    names: Names = ("normal", "OOD"),
    note: str = "",
) -> Path:
    """Distribution of normal and anomalous scores, and the threshold.

    The axis turns logarithmic beyond the threshold where a tail is heavy. Bins are equally wide *as drawn*;
    heights are shares of all scores of the group, those that are NaN or infinite, in no bin, included.
    """
    return save(_figure(normal, anomalous, threshold, title, note, names), path)


def _figure(
    normal: ArrayLike, anomalous: ArrayLike, threshold: float, title: str, note: str, names: Names = ("normal", "OOD")
) -> Figure:
    figure, (ax,) = canvas(1, 6.4, 3.8)
    groups = [np.asarray(x, np.float64).ravel() for x in (normal, anomalous)]
    low, high, log, cut = fit_axis(ax.xaxis, groups, threshold)
    drawn = ax.xaxis.get_transform()
    first, last = drawn.transform(np.array([low, high]))
    air = 0.02 * (last - first) or 0.5 * max(abs(high), 1.0)
    first, last = first - air * (low != 0), last + air
    # No bin lies astride the threshold.
    split = drawn.transform(np.array([threshold]))[0] if np.isfinite(threshold) else first
    below = round(60 * (split - first) / (last - first))
    edges = np.r_[np.linspace(first, split, below + 1)[:-1], np.linspace(split, last, 61 - below)]
    edges = drawn.inverted().transform(edges)
    for every, name, colour, dash, hatch in zip(
        groups, names, (BLUE, VERMILION), ("-", "--"), ("", "////"), strict=True
    ):
        finite = every[np.isfinite(every)]
        share = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)[0] * 100 / max(len(every), 1)
        label = describe(name, every, threshold)
        label += f"; {len(every) - len(finite):,} NaN or infinite, in no bin" * (len(every) > len(finite))
        ax.stairs(share, edges, fill=True, fc=(colour, 0.25), ec=(colour, 0.6), hatch=hatch, lw=0)
        ax.stairs(share, edges, color=colour, ls=dash, lw=1.6, label=label)
    ax.axvline(threshold, color=INK, lw=1.4, ls=":", label=f"threshold {threshold:.4g}, flagged above")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("score, higher = more anomalous" + (" (outermost bins: all beyond)" if cut else log))
    ax.set_ylabel("share of the group's scores per bin (%)")
    return finish(figure, title, note, *ax.get_legend_handles_labels())
