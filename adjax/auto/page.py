"""The report of a training with known anomalies to evaluate on, and normal pictures that it did not learn from."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adjax import distribution
from adjax.auto.fit import Evaluation
from adjax.data.io import upload
from adjax.data.io.scratch import Images
from adjax.detector import Detector
from adjax.report import Figure, Pictures, Report, View, choose

NAME = "report.html"


def of_training(
    detector: Detector,
    judged: Evaluation,
    normal: Images,
    anomalous: Images,
    files: Sequence[Path],
    *,
    folder: Path,
    about: str,
    command: str,
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
      folder: that was trained on: a row of the report for each folder in it.
      about: what was trained.
      command: makes it again.
      alpha: the share of normal pictures that the threshold may flag.
      calibrated_on: whether the normal pictures are those that the threshold was set by.
      sha256: of the detector's manifest.

    Returns:
      The `Report`.
    """
    scores = np.concatenate([np.asarray(detector.score(x), np.float32) for x in (normal, anomalous)])
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    rows = choose(scores, truth)
    of_normal = rows < len(normal)
    chosen = normal[rows[of_normal]], anomalous[rows[~of_normal] - len(normal)]
    shown = np.concatenate([np.asarray(images) for images in chosen])
    names = [upload.line(f"{files[row].parent.name}/{files[row].name}") for row in rows]
    owners = [_owner(file, folder) for file in files]
    classes = tuple(dict.fromkeys(owners))
    view = View(
        name="pictures evaluated on",
        scores=scores,
        threshold=float(detector.threshold),
        truth=truth,
        labels=np.array([classes.index(owner) for owner in owners], np.int16),
        classes=classes,
        stranger="anomaly",
        held_out=None if calibrated_on else np.asarray(detector.calibration_scores, np.float32),
        nominal=alpha,
        pictures=Pictures(rows, shown, names=names),
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
            Figure("Threshold", f"{view.threshold:.4g}", about=f"flagged if score > {view.threshold:.4g}"),
        ),
        views=[view],
        facts={
            "Pictures": [
                ("folder", upload.line(str(folder))),
                ("seen as", "×".join(map(str, detector.spec.image_shape)) + " px"),
                ("calibrated by", f"{len(detector.calibration_scores):,} normal images"),
            ],
            "Detector": [
                ("made of", ", ".join(detector.spec.names)),
                ("threshold", f"{view.threshold:.6g}"),
                ("manifest (SHA-256)", sha256),
            ],
            **({"Trivial scores of the same images": trivial} if trivial else {}),
            "Versions": [
                ("date", time.strftime("%Y-%m-%d", time.gmtime())),
                ("adjax", distribution.VERSION),
                *((name, importlib.metadata.version(name)) for name in ("jax", "flax", "numpy", "pillow")),
            ],
        },
        command=upload.line(command),
    )


def _owner(file: Path, folder: Path) -> str:
    """The folder of a picture, as the reader of the report knows it."""
    inside = file.parent.relative_to(folder) if file.is_relative_to(folder) else file.parent
    return upload.line(folder.resolve().name if inside == Path() else inside.as_posix())
