"""What the plots of scores share: an axis that shows bulk and tail, and who is flagged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from matplotlib.axis import XAxis, YAxis
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

Names = tuple[str, str]
"""What the normal and the anomalous images are called."""


class Reach(NamedTuple):
    low: float
    high: float
    log: str  # for the axis label: where the log scale begins; empty on a linear axis
    cut: bool  # scores lie beyond low or high


def fit_axis(axis: XAxis | YAxis, groups: Iterable[np.ndarray], threshold: float) -> Reach:
    """Makes the axis logarithmic beyond the threshold where a tail is heavy; returns from where to where it goes.

    The first of the groups, the normal scores, tells how wide the bulk is.

    Far from zero, where a log scale would not help, the axis stays linear and ends 8 spreads beyond the bulk.
    """
    known = [x[np.isfinite(x)] for x in groups]
    marks = np.concatenate([*known, [threshold] if np.isfinite(threshold) else []])
    low, high = min(marks, default=0.0), max(marks, default=1.0)
    bulk = np.quantile(known[0], [0.05, 0.95]) if len(known[0]) else np.zeros(2)
    spread, bend = bulk[1] - bulk[0], max(np.abs([*bulk, threshold if np.isfinite(threshold) else 0.0]))
    if not 0 < 8 * spread < high - low:
        return Reach(low, high, "", False)
    if bend >= 20 * spread:
        ends = np.fmin(bulk[0] - 8 * spread, threshold), np.fmax(bulk[1] + 8 * spread, threshold)
        return Reach(max(low, ends[0]), min(high, ends[1]), "", True)
    where = f" (log scale beyond {'±' * bool(low < 0)}{bend:.3g})"
    low = 0.0 if 0 < low < bend / 4 else low
    scale = SymmetricalLogScale(axis, linthresh=bend, linscale=0.8)
    axis.axes.set(**{f"{axis.axis_name}scale": scale})
    near = np.array(MaxNLocator(4).tick_values(max(low, -bend), min(high, bend)))
    reach = max(high, -low)
    tens = np.outer(10.0 ** np.arange(-40, 39), (1, 2, 5) if reach < 300 * bend and low >= -bend else (1,))
    tens = tens[(tens > 1.5 * bend) & (tens <= reach)]
    tens = tens[:: 1 + len(tens) // 9]
    ticks = np.concatenate([-tens[::-1], near[np.abs(near) <= bend], tens])
    ticks = ticks[(ticks >= low) & (ticks <= high)]
    axis.set_ticks(ticks, [f"{x:g}" for x in ticks])
    axis.set_ticks([], minor=True)
    return Reach(low, high, where, False)


def flagged(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Above the threshold, or NaN."""
    return ~(scores <= threshold)


def describe(name: str, scores: np.ndarray, threshold: float) -> str:
    share = f": {flagged(scores, threshold).mean():.2%} flagged" if len(scores) else ""
    return f"{name}, n = {len(scores):,}{share}"


def by_truth(scores: ArrayLike, truth: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores as float64[N], and the row numbers of normal and of anomalous ones."""
    values, anomalous = np.asarray(scores, np.float64).ravel(), np.asarray(truth).ravel().astype(bool)
    if len(values) != len(anomalous):
        raise ValueError(f"{len(values)} scores, but {len(anomalous)} labels: give one label for each score")
    return values, np.flatnonzero(~anomalous), np.flatnonzero(anomalous)
