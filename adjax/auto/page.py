"""The report of a training with known anomalies to evaluate on."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adjax import distribution, overlays
from adjax.auto.fit import Evaluation
from adjax.data.io import upload
from adjax.data.io.preprocessing import FRAMES
from adjax.data.io.scratch import Images
from adjax.detector import Detector
from adjax.report import Figure, Pictures, Report, View, choose

NAME = "report.html"
Look = Callable[[np.ndarray], Pictures]
"""Row numbers, int[k], to the pictures of these rows, without their names."""


def of_training(
    detector: Detector,
    judged: Evaluation,
    scores: np.ndarray,
    files: Sequence[Path | None],
    look: Look,
    *,
    folder: Path,
    about: str,
    command: str,
    alpha: float,
    calibrated_on: bool,
    crossed: bool,
    sha256: str,
) -> Report:
    """Builds the report of one detector.

    Args:
      detector: that was trained.
      judged: its figures.
      scores: float32[n] of what it was evaluated on, the normal pictures first.
      files: of these pictures, in order; None: not to be shown.
      look: see `Look`.
      folder: that was trained on: a row of the report for each folder in it.
      about: what was trained.
      command: makes it again.
      alpha: the share of normal pictures that the threshold may flag.
      calibrated_on: whether the normal pictures are those that the threshold was set by.
      crossed: whether those were learned from, and each scored by a fit without it.
      sha256: of the detector's manifest.

    Returns:
      The `Report`.
    """
    truth = np.repeat([0, 1], [judged.normal, judged.anomalous])
    rows = np.array([row for row in choose(scores, truth) if files[row] is not None], int)
    own = f"{'cross-fitted' if crossed else 'held-out'} normal images"
    owners = [own if file is None else _owner(file, folder) for file in files]
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
        pictures=dataclasses.replace(look(rows), names=[_name(file) for row in rows if (file := files[row])]),
    )
    (value, low, high), spec = judged.auroc, detector.spec
    worse = f" The trivial score {judged.beaten_by!r} alone does better." if judged.beaten_by else ""
    trivial = [(f"AUROC of {name}", f"{auroc:.4f}") for name, auroc in judged.baselines.items()]
    which = f"{own}, which also set the threshold" if calibrated_on else "normal test images"
    apart = "these each scored by a fit without it" if crossed and calibrated_on else "none of them was trained on"
    return Report(
        title=about,
        note=" ".join(f"{warning}." for warning in judged.warnings),
        lead=f"Evaluated on {judged.anomalous:,} known anomalies and {judged.normal:,} {which}; {apart}.{worse}",
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
                ("seen as", "×".join(map(str, spec.image_shape)) + f" px: {FRAMES[spec.frame]}"),
                ("calibrated by", f"{len(detector.calibration_scores):,} normal images"),
            ],
            "Detector": [
                ("made of", ", ".join(spec.names)),
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


def images_of(detector: Detector, scores: np.ndarray, normal: Images | None, anomalous: Images) -> Look:
    """Shows images as the detector takes them, and where they are odd.

    Args:
      detector: that was trained.
      scores: float32[n] of all, the normal ones first.
      normal, anomalous: uint8[…, H, W, C]; None: the normal ones are not shown.

    Returns:
      What `of_training` asks for pictures.
    """
    first = len(scores) - len(anomalous)

    def look(rows: np.ndarray) -> Pictures:
        chosen = [] if normal is None else [normal[rows[rows < first]]]
        shown = np.concatenate([np.asarray(images) for images in (*chosen, anomalous[rows[rows >= first] - first])])
        drawn = overlays.of_images(detector, shown, list(~(scores[rows] <= float(detector.threshold))))
        return Pictures(rows, shown, overlays=drawn)

    return look


def tiled_of(detector: Detector, files: Sequence[Path | None]) -> Look:
    """Shows pictures whole and in their own proportions, and where they are odd; scores those again.

    Args:
      detector: of tiles.
      files: of all pictures; None: not to be shown.

    Returns:
      What `of_training` asks for pictures.
    """

    def look(rows: np.ndarray) -> Pictures:
        pairs = [overlays.of_tiled(detector, file) for row in rows if (file := files[row]) is not None]
        return Pictures(rows, [image for image, _ in pairs], overlays=[drawn for _, drawn in pairs])

    return look


def _name(file: Path) -> str:
    return upload.line(f"{file.parent.name}/{file.name}")


def _owner(file: Path, folder: Path) -> str:
    """The folder of a picture, as the reader of the report knows it."""
    inside = file.parent.relative_to(folder) if file.is_relative_to(folder) else file.parent
    return upload.line(folder.resolve().name if inside == Path() else inside.as_posix())
