"""`python -m adjax export`: a saved detector to a program that runs where adjax's networks are not."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax import artefact
from adjax.sealed import MANIFEST

EPILOG = """\
examples:
  python -m adjax export runs/centerloss                        into runs/centerloss/exported
  python -m adjax export runs/centerloss --to onnx --out d.onnx
  python -m adjax export runs/deep_svdd/detectors/t-shirt       one detector of many

Then, with JAX and without adjax's networks:
  adjax.export.load("runs/centerloss/exported").score(images)
"""


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax export ARGUMENTS`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m adjax export",
        description="Write a detector as a program: uint8 images in; score, p-value and decision out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run directory that holds detector/, or a detector")
    parser.add_argument(
        "--to",
        choices=("stablehlo", "onnx"),
        default="stablehlo",
        help="stablehlo: a directory, for CPU, CUDA and TPU (default); onnx: a file, needs the extra onnx",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: exported/ or detector.onnx beside it")
    chosen = parser.parse_args(arguments)
    folder = find(chosen.run)
    detector = artefact.load(folder)
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
