"""The report's plots: arrays in, one PNG out.

Each public function draws with matplotlib's object API (no pyplot, no global state, no window), writes a PNG
of at most 300 kB at 150 dpi and returns its path. Colours are Okabe & Ito's or viridis and never the only
cue: line styles, markers or labels say the same in grey print. Missing, NaN or degenerate data never raise;
what could not be drawn is counted in the plot. `note` stands in red on top, for what no reader may overlook.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from numpy.typing import ArrayLike
from PIL import Image

Records = Sequence[Mapping[str, Any]]
Curves = Sequence[tuple[str, ArrayLike, ArrayLike]]
Panels = Sequence[tuple[str, ArrayLike, ArrayLike, ArrayLike, Sequence[str]]]
References = Sequence[tuple[str, float | tuple[float, float]]]

DPI, MAX_BYTES, MAX_POINTS = 150, 300_000, 3000
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
INK, GREY, NOTE = "#222222", "#6b6b6b", "#d00000"
CLASSES = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", VERMILION, "#F0E442", "#332288", "#882255", "#999933")
MARKERS, DASHES = "osD^vPX", ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)))
METRICS = {
    "f1": "classification F1, macro",
    "ood_auroc": "OOD AUROC",
    "ood_aupr": "OOD AUPR, anomalies positive",
    "ood_f1": "OOD F1",
    "ood_f1_conformal": "OOD F1, conformal threshold",
    "ood_fpr95": "FPR95: OOD accepted where 95 % of normal is",
    "id_rejected": "normal images rejected",
    "id_rejected_conformal": "normal images rejected, conformal threshold",
}


def metric_against_lam(
    path: str | Path,
    members: Records,
    metric: str,
    *,
    title: str,
    reference: References | None = None,
    note: str = "",
) -> Path:
    """One metric against the center-loss weight λ: every run, and mean ± sample sd over the runs of each λ.

    Args:
      path: PNG to write; folders are made.
      members: as in results.json, `{"hparams": {"lam": float}, "seed": int, "metrics": {name: float}}`.
      metric: which entry of "metrics", in 0–1.
      title: what is measured on what.
      reference: others' figures: (label, value) is a broken line, (label, (low, high)) a band.
      note: printed in red on top.
    """
    return _save(_figure_metric_against_lam(members, metric, title, reference or (), note), path)


def roc_per_lam(path: str | Path, curves: Curves, *, title: str, note: str = "") -> Path:
    """Exact ROC curves, whole and enlarged for FPR ≤ 0.1, with AUROC and DeLong's 95 % half-width.

    Args:
      curves: (label, scores float[N], labels [N]), 1 = anomalous; a NaN score ranks as +inf.
    """
    return _save(_figure_roc_per_lam(curves, title, note), path)


def feature_view(
    path: str | Path,
    panels: Panels,
    *,
    title: str = "Deep features of in-distribution classes and of OOD images",
    note: str = "",
) -> Path:
    """A plane through the zero vector of feature space, one panel a model; at most 3000 points in each.

    The plane is spanned by the two leading right singular vectors of the class means, *not centered*. So the
    projection is linear and orthogonal, zero lies at (0, 0), and no point looks further from zero than it is.
    It may look nearer: therefore the median norms of the full space stand under each panel.

    Args:
      panels: (title, features float[N, D], labels int[N], ood_features float[M, D], class_names).
    """
    return _save(_figure_feature_view(panels, title, note), path)


def score_histogram(
    path: str | Path, normal: ArrayLike, anomalous: ArrayLike, threshold: float, *, title: str, note: str = ""
) -> Path:
    """Distribution of normal and anomalous scores, and the threshold.

    The axis turns logarithmic beyond the threshold where a tail is heavy. Bins are equally wide *as drawn*;
    heights are shares of all scores of the group, those that are NaN or infinite, in no bin, included.
    """
    return _save(_figure_score_histogram(normal, anomalous, threshold, title, note), path)


def training_curves(
    path: str | Path, records: Records, *, title: str = "Loss and accuracy during training", note: str = ""
) -> Path:
    """Losses (left) and accuracies (right) against the step: mean over members, band from lowest to highest.

    Args:
      records: `{"step": int, "metrics": {name: [M values]}}`; "acc" in a name sends it to the right.
    """
    return _save(_figure_training_curves(records, title, note), path)


def _figure_metric_against_lam(members: Records, metric: str, title: str, reference: References, note: str) -> Figure:
    figure, (ax,) = _canvas(1, 6.4, 3.8)
    lams = np.array([float(f"{_number(m['hparams'].get('lam')):.6g}") for m in members])  # 0.1, not float32's
    values = np.array([_number(m["metrics"].get(metric)) for m in members])
    good = np.isfinite(lams) & np.isfinite(values)
    levels = np.unique(lams[good])
    groups = [values[good & (lams == x)] for x in levels]
    bend = min(levels[levels > 0], default=1.0)
    for (label, value), colour, dash in zip(reference, cycle((VERMILION, GREEN, PURPLE)), cycle(DASHES[1:])):
        if np.ndim(value):
            low, high = np.sort(np.asarray(value, float))
            ax.axhspan(low, high, fc=(colour, 0.12), ec=colour, ls=dash, label=label)
        else:
            ax.axhline(float(np.asarray(value)), color=colour, ls=dash, lw=1.5, label=label)
    if len(levels):
        sizes = sorted({len(g) for g in groups})
        sd = [g.std(ddof=1) if len(g) > 1 else 0.0 for g in groups] if sizes[-1] > 1 else None
        runs = f"n = {'–'.join(f'{n}' for n in dict.fromkeys((sizes[0], sizes[-1])))} runs per λ"
        label = f"mean ± sample sd, {runs}" if sd else "n = 1 run per λ, spread unknown"
        mean = [g.mean() for g in groups]
        ax.errorbar(levels, mean, sd, c=BLUE, marker="o", capsize=4, lw=1.8, label=label)
        aside = ax.transData + ScaledTranslation(8 / 72, 0, figure.dpi_scale_trans)
        ax.plot(lams[good], values[good], "D", ms=4, mfc="w", mec=INK, transform=aside, label="one run")
    else:
        _say(ax, f"no finite value of {metric!r}")
    ax.set_xscale("symlog", linthresh=bend, linscale=0.8)
    drawn = ax.xaxis.get_transform()
    low, high = drawn.transform(np.array([min(levels, default=0.0), max(levels, default=0.0)]))
    air = 0.08 * (high - low) or 0.5 * bend
    ax.set_xlim(*drawn.inverted().transform(np.array([low - air, high + air])))
    decades = [x for x in levels if x <= 0 or abs(np.log10(x) - np.round(np.log10(x))) < 1e-6]
    ticks = levels if len(levels) <= 8 else decades if len(decades) > 1 else levels[::4]
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.set_xlabel(f"center-loss weight λ (no unit; log scale, linear below {bend:g})")
    ax.set_ylabel(f"{METRICS.get(metric, metric.replace('_', ' '))} (0–1)")
    missing = f"{(~good).sum()} of {len(good)} runs have no finite value: not drawn" * (not good.all())
    return _finish(figure, title, note, *ax.get_legend_handles_labels(), remark=missing)


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


def _figure_roc_per_lam(curves: Curves, title: str, note: str) -> Figure:
    figure, (whole, zoom) = _canvas(2, 4.0, 4.3)
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
        _say(whole, "no curve")
    n = "; n = {:,} normal + {:,} OOD images".format(*rocs[0].sizes) if alike else "; n = normal + OOD images"
    return _finish(figure, title, note, handles, labels, remark=f"AUROC ± 95 % half-width (DeLong){n}")


class _View(NamedTuple):
    points: np.ndarray  # [N, 2], in distribution
    labels: np.ndarray
    centers: np.ndarray  # [K, 2], of the classes
    classes: np.ndarray
    ood: np.ndarray  # [M, 2]
    shares: np.ndarray  # of the centers' squared norm, along each direction
    norms: list[float]  # medians in the full space: in distribution, OOD


def _project(features: ArrayLike, labels: ArrayLike, ood_features: ArrayLike) -> _View:
    inside, ood = (np.asarray(x, np.float64) for x in (features, ood_features))
    inside, ood = (x.reshape(len(x), -1) if x.size else np.zeros((0, 2)) for x in (inside, ood))
    dim = max(inside.shape[1], ood.shape[1], 2)
    inside, ood = (np.pad(x, ((0, 0), (0, dim - x.shape[1]))) for x in (inside, ood))
    known = np.isfinite(inside).all(1)
    inside, targets, ood = inside[known], np.ravel(labels).astype(int)[known], ood[np.isfinite(ood).all(1)]
    classes = np.unique(targets)
    centers = np.array([inside[targets == k].mean(0) for k in classes]).reshape(-1, dim)
    # Fewer than two independent class means leave the plane open: features, then any axis, complete it.
    basis = np.zeros((0, dim))
    for rows in (centers, inside, ood, np.eye(dim)):
        if len(basis) < 2 and len(rows):
            rest = np.linalg.qr(rows - rows @ basis.T @ basis, mode="r")
            _, values, vectors = np.linalg.svd(rest, full_matrices=False)
            basis = np.concatenate([basis, vectors[values > 1e-9 * np.linalg.norm(rows)][: 2 - len(basis)]])
    seen = (centers if len(centers) else ood) @ basis.T  # an SVD leaves the signs open
    basis[seen.max(0, initial=0) < -seen.min(0, initial=0)] *= -1
    at = centers @ basis.T
    shares = np.square(at).sum(0) / max(np.square(centers).sum(), 1e-30)
    norms = [float(np.median(np.linalg.norm(x, axis=1))) if len(x) else np.nan for x in (inside, ood)]
    return _View(inside @ basis.T, targets, at, classes, ood @ basis.T, shares, norms)


def _figure_feature_view(panels: Panels, title: str, note: str) -> Figure:
    count = max(len(panels), 1)
    figure, axes = _canvas(count, *((3.9, 4.5) if count > 1 else (5.6, 6.1)))
    legend: dict[str, Line2D] = {}
    for ax, (name, features, labels, ood_features, class_names) in zip(axes, panels, strict=bool(panels)):
        view = _project(features, labels, ood_features)
        n, m = len(view.points), len(view.ood)
        inside = _some(n, max(MAX_POINTS - m, MAX_POINTS // 2))
        outside = _some(m, MAX_POINTS - len(inside))
        for k, (x, y) in zip(view.classes, view.centers, strict=True):
            colour, marker = CLASSES[k % len(CLASSES)], MARKERS[k // len(CLASSES) % len(MARKERS)]
            own = view.points[inside][view.labels[inside] == k]
            ax.scatter(own[:, 0], own[:, 1], s=8, color=colour, marker=marker, lw=0, alpha=0.7)
            box = {"boxstyle": "circle,pad=0.22", "fc": "w", "ec": colour, "lw": 1.8, "alpha": 0.9}
            ax.text(x, y, f"{k}", ha="center", va="center", size=8, weight="bold", color=INK, bbox=box)
            text = class_names[k] if 0 <= k < len(class_names) else "unnamed"
            text = text if text == f"{k}" else f"{k}: {text}"
            legend.setdefault(text, Line2D([], [], ls="", marker=marker, color=colour))
        ood = view.ood[outside]
        ax.scatter(ood[:, 0], ood[:, 1], s=6, color=INK, lw=0, alpha=0.25, label="OOD")
        ax.plot(0, 0, "X", ms=12, mfc=NOTE, mec="w", mew=1.3, zorder=6, label="zero vector")
        low, high = _frame(view)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), box_aspect=1)
        ax.set_title(name, fontsize=11)
        drawn = np.concatenate([view.points[inside], ood])
        lost = len(np.asarray(features)) - n + len(np.asarray(ood_features)) - m
        cut = int(((drawn < low) | (drawn > high)).any(1).sum())
        text = f"direction 1 ({view.shares[0]:.0%} of Σ‖c‖²)\n"
        text += "median ‖f‖ in all dimensions: ID {:.3g}, OOD {:.3g}\n".format(*view.norms)
        text += f"drawn: {len(inside):,} of {n:,} ID, {len(outside):,} of {m:,} OOD"
        text += f", {cut} cut off" * (cut > 0) + f"\n{lost:,} not finite" * (lost > 0)
        ax.set_xlabel(text, fontsize=8.5)
        ax.set_ylabel(f"direction 2 ({view.shares[1]:.0%} of Σ‖c‖²)", fontsize=8.5)
    if not panels:
        _say(axes[0], "no features")
    legend["OOD"] = Line2D([], [], ls="", marker="o", color=INK, alpha=0.6, ms=5)
    legend["zero vector"] = Line2D([], [], ls="", marker="X", mfc=NOTE, mec="w", ms=11)
    remark = "Features f projected orthogonally, without centering, onto the two leading singular vectors"
    remark += " of the class means c (numbered circles). Equal units."
    return _finish(figure, title, note, list(legend.values()), list(legend), remark=remark)


def _frame(view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a square round zero, the centers and all but the outermost 0.2 % of the points each way."""
    rows = [np.quantile(x, [0.002, 0.998], axis=0) for x in (view.points, view.ood) if len(x)]
    corners = np.concatenate([np.zeros((1, 2)), view.centers, *rows])
    low, high = corners.min(0), corners.max(0)
    half = 0.55 * max(float((high - low).max()), 1e-6)
    return (low + high) / 2 - half, (low + high) / 2 + half


def _figure_score_histogram(normal: ArrayLike, anomalous: ArrayLike, threshold: float, title: str, note: str) -> Figure:
    figure, (ax,) = _canvas(1, 6.4, 3.8)
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
    return _finish(figure, title, note, *ax.get_legend_handles_labels())


def _figure_training_curves(records: Records, title: str, note: str) -> Figure:
    figure, axes = _canvas(2, 4.2, 3.6)
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
            _say(ax, "nothing recorded")
        low, high = ax.dataLim.intervaly
        log = ax is axes[0] and bool(0 < 30 * low < high < np.inf)
        ax.set(xlabel="training step", ylabel=label + ", log scale" * log, yscale="log" if log else "linear")
    handles, labels = (a + b for a, b in zip(*(ax.get_legend_handles_labels() for ax in axes), strict=True))
    remark = "line: mean over n members, band: from lowest to highest"
    return _finish(figure, title, note, handles, labels, remark=remark)


def _canvas(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Up to three panels a row, each `width` × `height` inches; `_finish` adds what stands round them."""
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(columns * width, rows * height), dpi=DPI, layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", lw=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def _finish(figure: Figure, title: str, note: str, handles: list, labels: list[str], remark: str = "") -> Figure:
    """Note and title above the panels, the legend, headed by `remark`, below; the figure grows by these."""
    wide, tall = figure.get_size_inches()
    warning = textwrap.wrap(note, int(8 * wide))
    heading = textwrap.wrap(title, int(9 * wide), break_on_hyphens=False)
    caption = textwrap.wrap(remark, int(14 * wide))
    columns = min(max(1, int(15 * wide / (max(map(len, labels), default=0) + 9))), max(1, len(labels)))
    above = 0.21 * len(warning) + 0.1
    room = above + 0.22 * len(heading)
    tall += room + 0.17 * len(caption) + 0.19 * -(-len(labels) // columns)
    figure.set_size_inches(wide, tall)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, 1 - room / tall), w_pad=0.06, h_pad=0.08)
    style: dict[str, Any] = {"weight": "bold", "ha": "center", "va": "top"}
    figure.text(0.5, 1 - 0.05 / tall, "\n".join(warning), size=11, color=NOTE, **style)
    figure.text(0.5, 1 - above / tall, "\n".join(heading), size=12, color=INK, **style)
    style = {"fontsize": 8.5, "title_fontsize": 8.5, "frameon": False, "handlelength": 3, "ncols": columns}
    legend = figure.legend(handles, labels, loc="outside lower center", title="\n".join(caption), **style)
    legend.get_title().set_multialignment("center")
    return figure


def _say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _some(n: int, most: int) -> np.ndarray:
    """At most `most` of n row numbers, the same ones every time."""
    return np.sort(np.random.default_rng(0).choice(n, min(n, most), replace=False))


def _save(figure: Figure, path: str | Path) -> Path:
    """Writes the PNG. One that is too large gives up shades, not pixels: rounded ones, then 256 of them."""
    path, buffer = Path(path), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    if buffer.tell() > MAX_BYTES:
        rounded = np.round(np.asarray(Image.open(buffer).convert("RGB")) / 15) * 15
        picture = Image.fromarray(rounded.astype(np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "png", optimize=True, dpi=(DPI, DPI))
    if buffer.tell() > MAX_BYTES:
        buffer, method = io.BytesIO(), Image.Quantize.MAXCOVERAGE
        palette = picture.quantize(256, method, kmeans=3, dither=Image.Dither.NONE)
        palette.save(buffer, "png", optimize=True, dpi=(DPI, DPI))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path
