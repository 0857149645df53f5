"""A plane through the zero vector of feature space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from experiments.plots.canvas import CLASSES, INK, MARKERS, MAX_POINTS, NOTE, canvas, finish, save, say, some

Panels = Sequence[tuple[str, ArrayLike, ArrayLike, ArrayLike, Sequence[str]]]


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
    return save(_figure(panels, title, note), path)


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


def _figure(panels: Panels, title: str, note: str) -> Figure:
    count = max(len(panels), 1)
    figure, axes = canvas(count, *((3.9, 4.5) if count > 1 else (5.6, 6.1)))
    legend: dict[str, Line2D] = {}
    for ax, (name, features, labels, ood_features, class_names) in zip(axes, panels, strict=bool(panels)):
        view = _project(features, labels, ood_features)
        n, m = len(view.points), len(view.ood)
        inside = some(n, max(MAX_POINTS - m, MAX_POINTS // 2))
        outside = some(m, MAX_POINTS - len(inside))
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
        say(axes[0], "no features")
    legend["OOD"] = Line2D([], [], ls="", marker="o", color=INK, alpha=0.6, ms=5)
    legend["zero vector"] = Line2D([], [], ls="", marker="X", mfc=NOTE, mec="w", ms=11)
    remark = "Features f projected orthogonally, without centering, onto the two leading singular vectors"
    remark += " of the class means c (numbered circles). Equal units."
    return finish(figure, title, note, list(legend.values()), list(legend), remark=remark)


def _frame(view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Corners of a square round zero, the centers and all but the outermost 0.2 % of the points each way."""
    rows = [np.quantile(x, [0.002, 0.998], axis=0) for x in (view.points, view.ood) if len(x)]
    corners = np.concatenate([np.zeros((1, 2)), view.centers, *rows])
    low, high = corners.min(0), corners.max(0)
    half = 0.55 * max(float((high - low).max()), 1e-6)
    return (low + high) / 2 - half, (low + high) / 2 + half
