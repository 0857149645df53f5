"""Options of `python -m adjax doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

SHOWN = 10
EPILOG = """\
examples:
  python -m adjax doctor               devices, speed, caches, data sets; idle GPUs, and what to do
  python -m adjax doctor photos/       also: which files can't be read and why, sizes, modes, duplicates, classes
  python -m adjax doctor photos/ --all-names    every unreadable file and duplicate by name

It looks, and changes nothing.
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = argparse.ArgumentParser(
        prog="python -m adjax doctor",
        description="Look at this machine, and at a folder of pictures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = options.add_argument
    add("folder", type=Path, nargs="?", metavar="FOLDER", help="of pictures")
    add("--all-names", action="store_true", help=f"name all files, not the first {SHOWN} of a kind")
    return options
