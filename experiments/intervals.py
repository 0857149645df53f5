"""How sure the figures of one run are: what other test images of the same kind might have given."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
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
    flagged = np.asarray(thresholds.is_anomalous(scores, view.threshold))
    key, both = jax.random.key(0), np.stack([scores, flagged.astype(np.float32)], -1)
    drawn = metrics.bootstrap(_figures, key, both, truth, resamples=RESAMPLES)
    auroc = metrics.auroc_interval(scores, truth)
    limits = {"auroc": (float(auroc.low), float(auroc.high))}
    limits |= zip(("aupr", "fpr95", "f1"), zip(drawn.low.tolist(), drawn.high.tolist(), strict=True), strict=True)
    limits["id_rejected"] = wilson(int(flagged[truth == 0].sum()), int((truth == 0).sum()))
    return {name: pair for name, pair in limits.items() if all(map(math.isfinite, pair))}


def _figures(both: jax.Array, truth: jax.Array) -> jax.Array:
    """AUPR, FPR95 and F1 of scores and flags float32[n, 2]: together, so that each draw is ranked once."""
    scores, flagged = both[:, 0], both[:, 1] > 0
    return jnp.stack([metrics.aupr(scores, truth), metrics.fpr_at_tpr(scores, truth), metrics.f1(flagged, truth)])


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95% limits of a proportion, sensible at 0 and at 1 too (Wilson 1927); NaN of no trials."""
    if trials == 0:
        return math.nan, math.nan
    share, spread = successes / trials, z * z / trials
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / trials + spread / (4 * trials))
    return max(0.0, middle - half), min(1.0, middle + half)
