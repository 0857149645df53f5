"""Options of `python -m adjax example`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import MAX_SEED, new_parser, whole

TEXTURES = ("fabric", "metal", "plaster")
EPILOG = """\
examples:
  python -m adjax example parts/                    a woven fabric
  python -m adjax example sheets/ --texture metal   a brushed sheet
  python -m adjax train parts/                      then learn it, and see in its report what is found

80 normal pictures to learn from, 20 to evaluate on, and 10 with each of three made defects, with masks, of 160×160 px,
in folders as those of MVTec AD. Nothing is fetched.
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser("example", "Write a folder of made pictures, some with defects, to try adjax on.", EPILOG)
    add = options.add_argument
    add("folder", type=Path, metavar="FOLDER", help="to write; not there yet, or empty")
    add("--texture", choices=TEXTURES, default=TEXTURES[0], help="what the pictures show (default: %(default)s)")
    add("--seed", type=whole(0, MAX_SEED), default=0, metavar="N", help="of all draws (default: %(default)s)")
    return options
