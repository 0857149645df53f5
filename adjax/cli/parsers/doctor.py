"""Options of `python -m adjax doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import add_reading, new_parser

SHOWN = 10
EPILOG = """\
examples:
  python -m adjax doctor               devices, speed, caches; idle GPUs, and what to do
  python -m adjax doctor photos/       also: which files can't be read and why, sizes, modes, duplicates, classes; what
                                       is black, white, over-exposed, blurred, nearly the same, of few bits, HEIC,
                                       DICOM or raw, or in training and in test; each with what to do
  python -m adjax doctor photos/ --csv findings.csv    all of that as a list: path, finding, value, about, what to do
  python -m adjax doctor photos/ --all-names    every unreadable file and duplicate by name

It looks, and changes nothing.
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser("doctor", "Look at this machine, and at a folder of pictures.", EPILOG)
    add = options.add_argument
    add("folder", type=Path, nargs="?", metavar="FOLDER", help="of pictures")
    add("--all-names", action="store_true", help=f"name all files, not the first {SHOWN} of a kind")
    add("--csv", type=Path, metavar="FILE", help="write all findings to FILE, one row each")
    add_reading(options)
    add("--detector", type=Path, metavar="DIR", help="also say how this machine's rounding moves a detector's scores")
    add("--datasets", action="store_true", help="also list the data sets, and which are here")
    return options
