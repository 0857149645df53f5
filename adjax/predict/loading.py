"""A detector from disk, ready for pictures: where it lies, which threshold it has, and what that promises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from adjax import manifest, serialization, thresholds
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.manifest import MANIFEST


class Loaded(NamedTuple):
    """A detector of picture files.

    Attributes:
      detector: with the threshold asked for.
      sha256: of its manifest, which holds those of its files.
      alpha: share of normal images that the threshold may flag; None: not known.
      interval: scores that are uncertain at that rate; None: not known.
      directory: where it lies.
    """

    detector: Detector
    sha256: str
    alpha: float | None
    interval: thresholds.ThresholdInterval | None
    directory: Path


def load(run: Path, false_positive_rate: float | None = None) -> Loaded:
    """Loads a detector.

    Args:
      run: run directory, or a detector's own.
      false_positive_rate: of the threshold; None: the detector's own threshold.

    Returns:
      A `Loaded`.

    Raises:
      DataError: it takes no pictures.
      ValueError: no detector there, or a rate that it can't promise.
      ArtefactError: it is damaged.
    """
    directory = find_detector(run)
    detector, sha256 = _whole(directory)
    shape, dtype = detector.spec.image_shape, detector.spec.dtype
    if detector.preprocessing is None:
        raise DataError(
            f"{directory} takes {dtype}[N, {', '.join(map(str, shape))}], and picture files are uint8[N, height, "
            "width, channels]: score arrays in Python, by adjax.load"
        )
    alpha = false_positive_rate
    if alpha is None:
        alpha = _rate(detector, directory)
    else:
        check_rate(len(detector.calibration_scores), alpha)
        detector = detector.with_false_positive_rate(alpha)
    interval = None if alpha is None else thresholds.threshold_interval(detector.calibration_scores, alpha)
    return Loaded(detector, sha256, alpha, interval, directory)


def find_detector(run: Path) -> Path:
    """Finds the detector in a run directory.

    Raises:
      ValueError: none, or many of them.
    """
    if (run / MANIFEST).exists():
        return run
    if (run / "detector").is_dir():
        return run / "detector"
    many = sorted(folder.name for folder in (run / "detectors").glob("*") if folder.is_dir())
    if many:
        raise ValueError(f"{run} holds {len(many)} detectors: name one, {run / 'detectors' / many[0]}")
    raise ValueError(f"{run} holds no detector/: name a run directory, or a detector that was saved")


def check_rate(held_out: int, rate: float) -> None:
    """Refuses a false-positive rate that the held-out images are too few to promise.

    Args:
      held_out: how many calibrated the detector.
      rate: asked for.

    Raises:
      ValueError: with what they can promise.
    """
    given = f"--false-positive-rate {rate:g}"
    if not held_out:
        raise ValueError(f"{given}: this detector was made without held-out normal images, so it can promise no rate")
    least = 1 / (held_out + 1)
    if not least <= rate < 1:
        raise ValueError(
            f"{given}: this detector was calibrated on {held_out} normal images, which can promise {least:.3g} or more "
            "(below 1): choose such a rate, or train with more pictures"
        )


def _whole(directory: Path) -> tuple[Detector, str]:
    """A detector and the SHA-256 of its own manifest, also if another one takes its place meanwhile."""
    if not (directory / MANIFEST).is_file():
        serialization.load(directory)  # says what is missing
    while True:
        before = manifest.digest(directory)
        try:
            detector = serialization.load(directory)
        except manifest.ArtefactError:
            if manifest.digest(directory) == before:
                raise
            continue  # its files went while they were read
        if manifest.digest(directory) == before:
            return detector, before


def _rate(detector: Detector, directory: Path) -> float | None:
    """The false-positive rate that `train` set the threshold for; None unless its record gives this very threshold."""
    try:
        alpha = float(json.loads((directory / "train.json").read_text(encoding="utf-8"))["false_positive_rate"])
        same = bool(detector.with_false_positive_rate(alpha).threshold == detector.threshold)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return alpha if same else None
