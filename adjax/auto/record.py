"""The record beside a trained detector: train.json for programs, MODEL_CARD.md for people."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from adjax import atomic, data, distribution
from adjax.auto.fit import Evaluation, Fitted, Parts
from adjax.auto.plan import TrainingPlan
from adjax.auto.scan_folder import Layout
from adjax.data.io import gather, upload
from adjax.data.io.scratch import Images
from adjax.manifest import to_json
from adjax.report import Table, card
from adjax.spec import Precision

NAME = "train.json"
COMMAND = ("arguments", "directory")


class Training(NamedTuple):
    """The record of a training.

    Attributes:
      found, planned, parts, fitted, judged: what each stage gave; the last None: nothing to evaluate on.
      images, labels: what was read, uint8[N, H, W, C] and int32[N].
      rows: which of the files they are, int[N].
      unreadable: file → reason.
      options: of the command line; `arguments` are that line, and `directory` is where it was run.
      alpha: the false-positive rate promised.
      depths: see `adjax.data.io.depth.Depths.record`.
    """

    found: Layout
    planned: TrainingPlan
    parts: Parts
    fitted: Fitted
    judged: Evaluation | None
    images: Images
    labels: np.ndarray
    rows: np.ndarray
    unreadable: Mapping[Path, str]
    options: Mapping[str, Any]
    alpha: float
    depths: Mapping[str, int]

    @property
    def sha256(self) -> str:
        """SHA-256 of the pixels and labels that were read."""
        return data.digest(data.Split(self.images, self.labels))


def folder_of(directory: Path) -> Path | None:
    """Reads which folder a detector was trained on.

    Args:
      directory: of the detector.

    Returns:
      The folder, absolute and without links; None: none was trained there, or train.json doesn't say.
    """
    try:
        kept = json.loads((directory / NAME).read_text(encoding="utf-8"))
        return (Path(kept["directory"]) / kept["options"]["folder"]).resolve()
    except (OSError, ValueError, TypeError, KeyError):
        return None


def evaluated_on(found: Layout) -> dict[str, dict[str, str]]:
    """Digests what a detector is evaluated on, but for held-out normal pictures.

    Args:
      found: the files.

    Returns:
      "normal" and "anomalous" → path → SHA-256 (hex) of the file's bytes; "" for one that can't be read.
    """
    kinds = {"normal": found.test_normal, "anomalous": found.test_anomalous}
    return {
        kind: {upload.text(str(file)): sha256 for file, sha256 in zip(files, gather.each(_sha256, files), strict=True)}
        for kind, files in kinds.items()
        if files
    }


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return ""


def write(training: Training, directory: Path) -> None:
    """Writes both files into a detector's directory.

    Args:
      training: what was done.
      directory: of the detector, which is there.
    """
    atomic.write(directory / NAME, to_json(_record(training)))
    card.write(_card(training, directory), directory)


def _record(training: Training) -> dict[str, Any]:
    found, planned, weights = training.found, training.planned, training.planned.pretrained

    def names(index: np.ndarray) -> list[str]:
        return [upload.text(str(found.files[training.rows[i]])) for i in index]

    return {
        "method": planned.method,
        "model": planned.model,
        "why": planned.why,
        "options": {name: str(value) for name, value in training.options.items() if name not in COMMAND},
        **{name: training.options[name] for name in COMMAND if name in training.options},
        "steps": training.fitted.trained_steps,
        "precision": planned.precision,
        "fitted_on": jax.default_backend(),
        "weights": weights and {"source": weights.source, "sha256": weights.sha256, "licence": weights.licence},
        "classes": found.classes,
        "data_sha256": training.sha256,
        "depths": training.depths,
        "false_positive_rate": training.alpha,
        "figures": training.judged and training.judged._asdict(),
        "cross_fitted": training.parts.crossed,
        "held_out": names(training.parts.held_out),
        "trained_on": names(training.parts.train),
        "copies": training.parts.copies,
        "evaluated_on": evaluated_on(found),
        "passed_over": dict(found.passed_over),
        "unreadable": {upload.text(str(path)): why for path, why in training.unreadable.items()},
    }


def _card(training: Training, directory: Path) -> card.Card:
    planned, weights, parts = training.planned, training.planned.pretrained, training.parts
    return card.Card(
        title=directory.resolve().name,
        about=(f"Trained by python -m adjax train: {planned.name}.", *(f"{line}." for line in planned.why)),
        data=(
            ("read from", upload.text(training.found.about)),
            ("trained on", f"{len(parts.train):,} images, of {', '.join(training.found.classes[:20])}"),
            ("held out", f"{len(parts.held_out):,} images"),
            ("copies of others", parts.told() or "none"),
            *(("evaluated on", warning) for warning in (training.judged.warnings if training.judged else ())),
            ("left out, unreadable", f"{len(training.unreadable):,} files"),
            ("pixels and labels (SHA-256)", training.sha256),
        ),
        figures=None if training.judged is None else _figures(training.judged),
        calibration=(
            f"The threshold flags {'about' if parts.crossed else 'at most'} {training.alpha:.2%} of normal images on "
            f"average over draws of the {'images' if parts.crossed else 'held-out ones'} ("
            f"{'cross-fitted, each by a fit without it' if parts.crossed else 'conformal'}, n = {parts.calibrating}); "
            f"they can promise no less than {1 / (parts.calibrating + 1):.2%}.",
        ),
        weights=()
        if weights is None
        else (("source", weights.source), ("SHA-256", weights.sha256), ("licence", weights.licence)),
        made=(
            ("adjax, jax", f"{distribution.VERSION}, {importlib.metadata.version('jax')}"),
            ("date", time.strftime("%Y-%m-%d", time.gmtime())),
            ("steps", f"{training.fitted.trained_steps:,}"),
            ("precision", precision(planned.precision, jax.default_backend())),
        ),
    )


def precision(chosen: Precision, backend: str) -> str:
    """The precision of a detector's matrix products, for its card.

    Args:
      chosen: as in its spec.
      backend: that it was fitted on.

    Returns:
      A line.
    """
    if chosen == "highest":
        return f"highest: float32 on every device (fitted on {backend})"
    return f"default: as each device rounds; fitted on {backend}, and scores on other kinds differ by the rounding"


def _figures(judged: Evaluation) -> Table:
    value, low, high = judged.auroc
    return Table(
        ("AUROC", "95 % interval (DeLong)", "AUPR", "FPR95", "anomalies flagged", "normal images flagged"),
        [
            (
                f"{value:.4f}",
                f"{low:.4f}–{high:.4f}",
                f"{judged.aupr:.4f}",
                f"{judged.fpr95:.2%}",
                f"{judged.flagged:.1%} of {judged.anomalous:,}",
                f"{judged.false_alarms:.1%} of {judged.normal:,}",
            )
        ],
    )
