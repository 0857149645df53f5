"""How sure the figures of one run are: what other test images of the same kind might have given."""

from __future__ import annotations

import math

import jax
import numpy as np

from adjax import metrics, thresholds
from adjax.report import View

RESAMPLES = 200
ABOUT = {
    "auroc": "95% interval, DeLong",
    "aupr": "95% interval, bootstrap",
    "fpr95": "95% interval, bootstrap",
    "f1": "95% interval, bootstrap",
    "accuracy": "95% interval, Wilson",
    "id_rejected": "95% interval, Wilson",
}
"""Metric -> what its interval is."""


def of_view(view: View) -> dict[str, tuple[float, float]]:
    """95% limits of a run's figures by metric. They say nothing of other seeds or other kinds of anomalies."""
    assert view.truth is not None
    scores, truth = np.asarray(view.scores), np.asarray(view.truth).astype(np.int32)
    flagged = np.asarray(thresholds.is_anomalous(scores, view.threshold)).astype(np.int32)
    key = jax.random.key(0)
    found = {
        "auroc": metrics.auroc_interval(scores, truth),
        "aupr": metrics.bootstrap(metrics.aupr, key, scores, truth, resamples=RESAMPLES),
        "fpr95": metrics.bootstrap(metrics.fpr_at_tpr, key, scores, truth, resamples=RESAMPLES),
        "f1": metrics.bootstrap(metrics.f1, key, flagged, truth, resamples=RESAMPLES),
    }
    limits = {name: (float(x.low), float(x.high)) for name, x in found.items()}
    limits["id_rejected"] = wilson(int(flagged[truth == 0].sum()), int((truth == 0).sum()))
    return {name: pair for name, pair in limits.items() if all(map(math.isfinite, pair))}


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95% limits of a proportion, sensible at 0 and at 1 too (Wilson 1927); NaN of no trials."""
    if trials == 0:
        return math.nan, math.nan
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
