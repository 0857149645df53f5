"""The report of a training with known anomalies to evaluate on, and normal pictures that it did not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adjax.auto.fit import Evaluation
from adjax.data.io import upload
from adjax.detector import Detector
from adjax.report import Figure, Pictures, Report, View, choose

NAME = "report.html"


def of_training(
    detector: Detector,
    judged: Evaluation,
    normal: np.ndarray,
    anomalous: np.ndarray,
    files: Sequence[Path],
    *,
    about: str,
    alpha: float,
    calibrated_on: bool,
    sha256: str,
) -> Report:
    """Builds the report of one detector.

    Args:
      detector: that was trained.
      judged: its figures.
      normal, anomalous: what it was evaluated on, uint8[n, H, W, C].
      files: of these images, in order.
      about: what was trained.
      alpha: the share of normal pictures that the threshold may flag.
      calibrated_on: whether the normal pictures are those that the threshold was set by.
      sha256: of the detector's manifest.

    Returns:
      The `Report`.
    """
    scores = np.concatenate([np.asarray(detector.score(x), np.float32) for x in (normal, anomalous)])
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    rows = choose(scores, truth)
    names = [upload.line(f"{files[row].parent.name}/{files[row].name}") for row in rows]
    view = View(
        name="judged",
        scores=scores,
        threshold=float(detector.threshold),
        truth=truth,
        stranger="anomaly",
        held_out=None if calibrated_on else np.asarray(detector.calibration_scores, np.float32),
        nominal=alpha,
        pictures=Pictures(rows, np.concatenate([normal, anomalous])[rows], names=names),
    )
    value, low, high = judged.auroc
    worse = f" The trivial score {judged.beaten_by!r} alone does better." if judged.beaten_by else ""
    trivial = [(f"AUROC of {name}", f"{auroc:.4f}") for name, auroc in judged.baselines.items()]
    which = "held-out normal images, which also set the threshold" if calibrated_on else "normal test images"
    return Report(
        title=about,
        lead=f"Evaluated on {len(anomalous):,} known anomalies and {len(normal):,} {which}; none of them was trained "
        f"on.{worse}",
        figures=(
            Figure("AUROC", f"{value:.4f}", f"{low:.4f}–{high:.4f}", "95% interval, DeLong"),
            Figure("FPR95", f"{judged.fpr95:.2%}", about="normal images flagged where 95% of the anomalies are"),
            Figure("Anomalies flagged", f"{judged.flagged:.1%}", about="at the threshold as saved"),
            Figure("Normal images flagged", f"{judged.false_alarms:.1%}", about=f"chosen to be at most {alpha:.2%}"),
        ),
        views=[view],
        facts={
            "Detector": [("manifest (SHA-256)", sha256)],
            **({"Trivial scores of the same images": trivial} if trivial else {}),
        },
    )
