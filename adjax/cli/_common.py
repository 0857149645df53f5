"""What the commands share: how they begin, how they find a detector, and which rates it can promise."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from adjax.manifest import MANIFEST


def console() -> Console:
    """Where a command prints: as wide as the terminal, or 160 columns of a file; text as it is."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, soft_wrap=True)


def start() -> Console:
    """Sets the process up for images and arrays, before the first of either; returns its `console`."""
    from adjax import process
    from adjax.data.io import upload

    upload.quiet()
    process.prepare()
    return console()


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
