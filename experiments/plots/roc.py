"""Exact ROC curves."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from experiments.plots.canvas import DASHES, GREY, canvas, finish, save, say

Curves = Sequence[tuple[str, ArrayLike, ArrayLike]]


def roc_per_lam(path: str | Path, curves: Curves, *, title: str, note: str = "") -> Path:
    """Exact ROC curves, whole and enlarged for FPR ≤ 0.1, with AUROC and DeLong's 95 % half-width.

    Args:
      curves: (label, scores float[N], labels [N]), 1 = anomalous; a NaN score ranks as +inf.
    """
    return save(_figure(curves, title, note), path)


class _Roc(NamedTuple):
    fpr: np.ndarray
    tpr: np.ndarray
    auroc: float
    half: float  # of DeLong's 95 % interval
    sizes: tuple[int, int]  # normal, anomalous


def _roc(scores: ArrayLike, labels: ArrayLike) -> _Roc:
    """Every distinct threshold, ties joined by a slope; AUROC by mid-ranks. Empty and NaN with one class."""
    values, truth = np.asarray(scores, np.float64).ravel(), np.asarray(labels).ravel().astype(bool)
    values = np.where(np.isnan(values), np.inf, values)
    normal, anomalous = np.sort(values[~truth]), np.sort(values[truth])
    n, m = len(normal), len(anomalous)
    if not (n and m):
        return _Roc(np.zeros(0), np.zeros(0), np.nan, np.nan, (n, m))
    levels = np.unique(values)[::-1]
    fpr, tpr = (np.r_[0, 1 - np.searchsorted(x, levels) / len(x)] for x in (normal, anomalous))
    wins = (np.searchsorted(normal, anomalous) + np.searchsorted(normal, anomalous, "right")) / (2 * n)
    losses = (np.searchsorted(anomalous, normal) + np.searchsorted(anomalous, normal, "right")) / (2 * m)
    half = 1.96 * np.sqrt(wins.var(ddof=1) / m + losses.var(ddof=1) / n) if min(n, m) > 1 else np.nan
    return _Roc(fpr, tpr, float(wins.mean()), float(half), (n, m))


def _figure(curves: Curves, title: str, note: str) -> Figure:
    figure, (whole, zoom) = canvas(2, 4.0, 4.3)
    rocs = [_roc(scores, labels) for _, scores, labels in curves]
    alike = len({r.sizes for r in rocs}) == 1
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, max(len(curves), 1)))
    for (name, *_), roc, colour, dash in zip(curves, rocs, colours, cycle(DASHES)):
        text = f"AUROC {roc.auroc:.4f}" if len(roc.fpr) else "no ROC, one class only"
        text += f" ± {roc.half:.4f}" * bool(np.isfinite(roc.half))
        text += "" if alike else ", n = {:,} + {:,}".format(*roc.sizes)
        for ax in (whole, zoom):
            ax.plot(roc.fpr, roc.tpr, color=colour, ls=dash, lw=1.6, label=f"{name}: {text}")
    lowest = min((float(np.interp(0.005, r.fpr, r.tpr)) for r in rocs if len(r.fpr)), default=0.0)
    floor = max(0.0, np.floor(10 * lowest - 0.5) / 10)
    handles, labels = whole.get_legend_handles_labels()
    whole.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    whole.text(0.62, 0.58, "chance", va="top", fontsize=8.5, color=GREY)
    whole.add_patch(Rectangle((0, floor), 0.1, 1 - floor, fill=False, ec=GREY, lw=0.8))
    whole.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), ylabel="true-positive rate: OOD flagged / OOD")
    zoom.set(xlim=(-0.001, 0.101), ylim=(floor - 0.01 * (1 - floor), 1 + 0.01 * (1 - floor)))
    for ax, text in ((whole, "whole curve"), (zoom, "enlarged: the framed part")):
        ax.set_title(text, fontsize=9.5, color=GREY)
        ax.set(xlabel="false-positive rate: normal flagged / normal", box_aspect=1)
    if not rocs:
        say(whole, "no curve")
    n = "; n = {:,} normal + {:,} OOD images".format(*rocs[0].sizes) if alike else "; n = normal + OOD images"
    return finish(figure, title, note, handles, labels, remark=f"AUROC ± 95 % half-width (DeLong){n}")
