"""Options of `python -m adjax refit`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import names, new_parser

EPILOG = """\
examples:
  python -m adjax refit runs/parts --scorer knn                   writes runs/parts-knn
  python -m adjax refit runs/parts --scorer padim --out runs/places

The network stays as RUN trained it, and another scorer is fitted to its features: the detector, its report, card and
record are those that `train` would write with this scorer and all other options of RUN, without the training. The
pictures that RUN learned from or kept aside are read again from where they were, and refused if one of them has
changed. If test pictures have, it says how many: its figures are then of others than RUN's. RUN itself is left alone.

Another rate or threshold takes no fit: see `python -m adjax threshold`, and predict --false-positive-rate.
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser("refit", "Fit another scorer to the network of a trained run.", EPILOG)
    add = options.add_argument
    add("run", type=Path, metavar="RUN", help="a detector that train wrote")
    add("--scorer", choices=names("adjax.scorers", "SCORERS"), required=True, metavar="NAME", help="of adjax.scorers")
    add("--out", type=Path, metavar="DIR", help="the new detector (default: RUN-NAME)")
    return options
