"""The score of every sample in its place: drift, blocks and single outliers, which a histogram hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.plots.canvas import BLUE, INK, MAX_POINTS, VERMILION, canvas, finish, save
from experiments.plots.scores import Names, by_truth, describe, fit_axis


def scores_by_sample(
    path: str | Path,
    scores: ArrayLike,
    truth: ArrayLike,
    threshold: float,
    *,
    title: str,
    names: Names = ("normal", "anomalous"),
    note: str = "",
) -> Path:
    """Score against sample index, normal and anomalous apart, and the threshold.

    The axis turns logarithmic beyond the threshold where a tail is heavy. With more than 3000 samples each group
    shows an evenly spaced part; a small group shows at least 300. What lies beyond the axis, or is NaN, stands at its
    edge.

    Args:
      path: PNG to write; folders are made.
      scores: float[N], higher = more anomalous; NaN counts as flagged and stands at the upper edge.
      truth: [N], 1 = anomalous.
      threshold: flagged above.
      title: what is scored by what.
      names: of the two groups.
      note: printed in red on top.
    """
    return save(_figure(scores, truth, threshold, title, names, note), path)


def _figure(scores: ArrayLike, truth: ArrayLike, threshold: float, title: str, names: Names, note: str) -> Figure:
    figure, (ax,) = canvas(1, 7.2, 3.8)
    values, *groups = by_truth(scores, truth)
    low, high, log, cut = fit_axis(ax.yaxis, [values[rows] for rows in groups], threshold)
    drawn = ax.yaxis.get_transform()
    first, last = drawn.transform(np.array([low, high]))
    air = 0.04 * (last - first) or 0.5 * max(abs(high), 1.0)
    bottom, top = drawn.inverted().transform(np.array([first - air, last + air]))
    shown = [np.zeros(0, int)] * 2
    for k in np.argsort([len(rows) for rows in groups]):  # what the smaller group leaves is the larger one's
        fair = max(round(MAX_POINTS * len(groups[k]) / max(len(values), 1)), MAX_POINTS // 10)
        most = min(len(groups[k]), fair, MAX_POINTS - len(shown[1 - k]))
        shown[k] = groups[k][np.linspace(0, len(groups[k]) - 1, most).round().astype(int)]
    marks: tuple[dict[str, Any], ...] = (
        {"marker": "o", "s": 11, "lw": 0, "alpha": 0.8},
        {"marker": "x", "s": 13, "lw": 0.8, "alpha": 0.75},
    )
    for every, part, name, colour, mark in zip(groups, shown, names, (BLUE, VERMILION), marks, strict=True):
        over = 2.2 if 2 * len(part) < sum(map(len, shown)) else 2.1  # the smaller group is not buried
        lost = int((~np.isfinite(values[every])).sum())
        label = describe(name, values[every], threshold)
        label += f"; {lost:,} NaN or infinite, at the edge where drawn" * (lost > 0)
        at = np.where(np.isnan(values[part]), np.inf, values[part])
        ax.scatter(part, np.clip(at, bottom, top), color=colour, zorder=over, clip_on=False, label=label, **mark)
    ax.axhline(threshold, color=INK, lw=1.4, ls="--", zorder=3, label=f"threshold {threshold:.4g}, flagged above")
    ax.set_xlim(-0.5 - 0.01 * len(values), max(len(values), 1) - 0.5 + 0.01 * len(values))
    ax.set_ylim(bottom, top)
    ax.set_xlabel("sample index")
    ax.set_ylabel(
        "score, higher = more anomalous" + ("\n(at the edges: all beyond)" if cut else log.replace(" (", "\n("))
    )
    few = sum(map(len, shown)) < len(values)
    remark = "drawn, evenly spaced: " + ", ".join(
        f"{len(part):,} of {len(rows):,} {name}" for part, rows, name in zip(shown, groups, names, strict=True)
    )
    return finish(figure, title, note, *ax.get_legend_handles_labels(), remark=remark * few)
