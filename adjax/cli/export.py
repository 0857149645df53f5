"""`python -m adjax export`: a saved detector to a program that runs where adjax's networks are not."""

from __future__ import annotations

from pathlib import Path

from adjax import serialization
from adjax.cli.parsers.export import parser
from adjax.predict.loading import find_detector


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax export ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    folder = find_detector(chosen.run)
    detector = serialization.load(folder)
    out = chosen.out or target(folder, chosen.to)
    if chosen.to == "onnx":
        from adjax import onnx

        onnx.save(detector, out)
    else:
        detector.export(out)
    print(f"{detector}\nwritten to {out}")
    return 0


def target(folder: Path, to: str) -> Path:
    """Where a detector is written to unless the user says so.

    Args:
      folder: of the detector.
      to: "stablehlo" or "onnx".

    Returns:
      A path beside the folder.
    """
    if to == "onnx":
        return folder.parent / f"{folder.name}.onnx"
    return folder.parent / ("exported" if folder.name == "detector" else f"{folder.name}_exported")
