"""Options of `python -m adjax export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import new_parser

EPILOG = """\
examples:
  python -m adjax export runs/parts                             of `adjax train`: into runs/parts_exported
  python -m adjax export runs/parts --to onnx                   into runs/parts.onnx
  python -m adjax export runs/centerloss                        of experiments.run: into runs/centerloss/exported
  python -m adjax export runs/deep_svdd/detectors/t-shirt       one detector of many: into t-shirt_exported beside it

Then, with JAX and without adjax's networks:
  adjax.export.load("runs/parts_exported").score(images)
  adjax.export.load("runs/parts_exported").maps(images)         where, if the detector has maps
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser(
        "export", "Write a detector as a program: uint8 images in; score, p-value, decision and map out.", EPILOG
    )
    add = options.add_argument
    add("run", type=Path, metavar="RUN", help="run directory that holds detector/, or a detector")
    add(
        "--to",
        choices=("stablehlo", "onnx"),
        default="stablehlo",
        help="stablehlo: a directory, for CPU, CUDA and TPU (default); onnx: a file, needs the extra onnx",
    )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="default: beside the detector, NAME_exported or NAME.onnx; of a run's detector/, exported",
    )
    return options
