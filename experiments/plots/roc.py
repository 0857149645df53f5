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

from experiments.plots.canvas import DASHES, GREY, INK, canvas, finish, save, say

Curves = Sequence[tuple[str, ArrayLike, ArrayLike]]


def roc_per_lam(path: str | Path, curves: Curves, *, title: str, note: str = "") -> Path:
    """Exact ROC curves, whole and enlarged for FPR ≤ 0.1, with AUROC and DeLong's 95 % half-width.

    Args:
      curves: (label, scores float[N], labels [N]), 1 = anomalous; a NaN score ranks as +inf.
    """
    return save(_figure(curves, title, note), path)


def roc_by_member(path: str | Path, curves: Curves, *, title: str, note: str = "") -> Path:
    """As `roc_per_lam`, for members in no order of their own, such as classes: the lowest AUROC first, and the mean.

    The mean curve is the mean true-positive rate at each false-positive rate. So the area below it is the mean AUROC;
    a member with one class only, and without a curve, has no part in it.

    Args:
      curves: (label, scores float[N], labels [N]), 1 = anomalous; a NaN score ranks as +inf.
    """
    return save(_figure(curves, title, note, "anomalous", mean=True), path)


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


def _mean(rocs: Sequence[_Roc]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of curves, exactly: both ends of each step that one of them takes."""
    rates = np.unique(np.concatenate([r.fpr for r in rocs]))
    # np.interp gives a step its upper end; seen from the other side, its lower one.
    upper = np.mean([np.interp(rates, r.fpr, r.tpr) for r in rocs], axis=0)
    lower = np.mean([np.interp(-rates, -r.fpr[::-1], r.tpr[::-1]) for r in rocs], axis=0)
    return np.repeat(rates, 2), np.stack([lower, upper], axis=1).ravel()


def _figure(curves: Curves, title: str, note: str, other: str = "OOD", mean: bool = False) -> Figure:
    figure, (whole, zoom) = canvas(2, 4.0, 4.3)
    rocs = [_roc(scores, labels) for _, scores, labels in curves]
    if mean:
        order = sorted(range(len(rocs)), key=lambda i: (np.isnan(rocs[i].auroc), rocs[i].auroc))
        curves, rocs = [curves[i] for i in order], [rocs[i] for i in order]
    alike = len({r.sizes for r in rocs}) == 1
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, max(len(curves), 1)))
    for (name, *_), roc, colour, dash in zip(curves, rocs, colours, cycle(DASHES)):
        text = f"AUROC {roc.auroc:.4f}" if len(roc.fpr) else "no ROC, one class only"
        text += f" ± {roc.half:.4f}" * bool(np.isfinite(roc.half))
        text += "" if alike else ", n = {:,} + {:,}".format(*roc.sizes)
        for ax in (whole, zoom):
            ax.plot(roc.fpr, roc.tpr, color=colour, ls=dash, lw=1.6, label=f"{name}: {text}")
    drawn = [r for r in rocs if len(r.fpr)]
    if mean and drawn:
        text = f"mean of {len(drawn)}: AUROC {np.mean([r.auroc for r in drawn]):.4f}"
        for ax in (whole, zoom):
            ax.plot(*_mean(drawn), color=INK, lw=3.0, alpha=0.8, label=text)
    lowest = min((float(np.interp(0.005, r.fpr, r.tpr)) for r in drawn), default=0.0)
    floor = max(0.0, np.floor(10 * lowest - 0.5) / 10)
    handles, labels = whole.get_legend_handles_labels()
    whole.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    whole.text(0.62, 0.58, "chance", va="top", fontsize=8.5, color=GREY)
    whole.add_patch(Rectangle((0, floor), 0.1, 1 - floor, fill=False, ec=GREY, lw=0.8))
    whole.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), ylabel=f"true-positive rate: {other} flagged / {other}")
    zoom.set(xlim=(-0.001, 0.101), ylim=(floor - 0.01 * (1 - floor), 1 + 0.01 * (1 - floor)))
    for ax, text in ((whole, "whole curve"), (zoom, "enlarged: the framed part")):
        ax.set_title(text, fontsize=9.5, color=GREY)
        ax.set(xlabel="false-positive rate: normal flagged / normal", box_aspect=1)
    if not rocs:
        say(whole, "no curve")
    sizes = "{:,} normal + {:,}".format(*rocs[0].sizes) if alike else "normal +"
    n = f"; n = {sizes} {other} images"
    return finish(figure, title, note, handles, labels, remark=f"AUROC ± 95 % half-width (DeLong){n}")
