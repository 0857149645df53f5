"""What the commands share: how they begin, and how they find and name a detector."""

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
