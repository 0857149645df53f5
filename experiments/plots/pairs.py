"""Images, what a method makes of them, and where the two differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.plots.canvas import BLUE, INK, VERMILION, finish, save
from experiments.plots.scores import by_truth
from experiments.plots.sheet import GAP, WIDTH, below, close, heading, place, rgb, sheet, unit

GUTTER = 1.0


def reconstructions(
    path: str | Path,
    images: ArrayLike,
    reconstructed: ArrayLike,
    scores: ArrayLike,
    truth: ArrayLike,
    *,
    title: str,
    columns: int = 10,
    note: str = "",
) -> Path:
    """Images over their reconstructions over |difference|: normal ones on top, anomalous ones below.

    They are not hand-picked: each kind is sampled at equal distances in the order of the scores, from the lowest to the
    highest. All differences share one grey scale, from black at none to white at the largest shown.

    Args:
      path: PNG to write; folders are made.
      images: uint8[N, H, W, C], or floats in 0..1; 3 channels or more are the first three as RGB, fewer are grey.
      reconstructed: as images, and of the same size.
      scores: float[N], higher = more anomalous; NaN comes last.
      truth: [N], 1 = anomalous.
      title: what is reconstructed by what.
      columns: images of each kind.
      note: printed in red on top.
    """
    return save(_figure(images, reconstructed, scores, truth, title, columns, note), path)


def _spaced(scores: np.ndarray, rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spaced over the ranks of their scores, the lowest and the highest included."""
    order = rows[np.argsort(scores[rows], kind="stable")]
    return order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)]


def _figure(
    images: ArrayLike,
    reconstructed: ArrayLike,
    scores: ArrayLike,
    truth: ArrayLike,
    title: str,
    columns: int,
    note: str,
) -> Figure:
    values, *groups = by_truth(scores, truth)
    pictures, again = np.asarray(images), np.asarray(reconstructed)
    columns = max(columns, 1)
    shown = [_spaced(values, rows, columns) for rows in groups]
    pairs = [(unit(pictures[show]), unit(again[show])) for show in shown]
    apart = [np.abs(a - b).mean(-1, keepdims=True) for a, b in pairs]
    finite = np.concatenate([x[np.isfinite(x)] for x in apart])
    largest = float(finite.max(initial=0))
    figure, ax = sheet()
    pitch = min((WIDTH - GUTTER) / columns, 1.25)
    top = 0.0
    for name, rows, show, pair, difference, colour in zip(
        ("normal", "anomalous"), groups, shown, pairs, apart, (BLUE, VERMILION), strict=True
    ):
        text = f"{name.capitalize()}: {len(show):,} of {len(rows):,}, by rising score"
        top = heading(ax, top, text if len(rows) else f"No {name} image")
        if not len(show):
            continue
        for label, part in zip(
            ("image", "reconstruction", "|difference|"), (*pair, difference / (largest or 1)), strict=True
        ):
            lower = top
            for i, picture in enumerate(rgb(part, 6 * columns)):
                lower = place(ax, picture, GUTTER + i * pitch, top, pitch - min(GAP, pitch / 8), colour)
            ax.text(GUTTER - 0.08, (top + lower) / 2, label, size=8.5, ha="right", va="center", color=INK)
            top = lower + 0.06
        for i, row in enumerate(show):
            below(ax, GUTTER + (i + 0.5) * pitch - GAP / 2, top - 0.05, f"{values[row]:.3g}", pitch)
        ax.text(GUTTER - 0.08, top - 0.02, "score", size=8.5, ha="right", va="top", color=INK)
        top += 0.28
    close(figure, ax, top)
    remark = "Of each kind evenly spaced over the ranks of the scores, from the lowest to the highest. "
    remark += f"|difference|: mean over channels; black = 0, white = {largest:.3g}, where the images go from 0 to 1"
    return finish(figure, title, note, [], [], remark=remark)
