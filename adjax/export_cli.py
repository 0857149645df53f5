"""`python -m adjax export`: a saved detector to a program that runs where adjax's networks are not."""

from __future__ import annotations

from pathlib import Path

from adjax import serialization
from adjax.cli.export import parser
from adjax.manifest import MANIFEST


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax export ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    folder = find(chosen.run)
    detector = serialization.load(folder)
    if chosen.to == "onnx":
        from adjax import onnx

        out = chosen.out or folder.parent / f"{folder.name}.onnx"
        onnx.save(detector, out)
    else:
        out = chosen.out or folder.parent / ("exported" if folder.name == "detector" else f"{folder.name}_exported")
        detector.export(out)
    print(f"{detector}\nwritten to {out}")
    return 0


def find(run: Path) -> Path:
    """The detector in a run directory.

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
