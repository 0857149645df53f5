"""`python -m adjax export`: a saved detector to a program that runs where adjax's networks are not."""

from __future__ import annotations

from adjax import serialization
from adjax.cli._common import find_detector
from adjax.cli.parsers.export import parser


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax export ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    folder = find_detector(chosen.run)
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
