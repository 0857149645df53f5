"""Options of `python -m adjax threshold`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import finite, new_parser, share

CONFIDENCE = 0.95
EPILOG = """\
examples:
  python -m adjax threshold scores.csv --false-positive-rate 0.02
  python -m adjax threshold scores.csv --false-positive-rate 0.02 --out strict.csv --report strict.html
  python -m adjax threshold scores.csv --threshold 3.5
  python -m adjax threshold scores.csv --false-positive-rate 0.02 --detector runs/parts

Nothing is scored again: SCORES is a table that predict wrote, and the new one is what predict writes with this rate.
The columns decision, uncertain and threshold change. So do boxes, which only a picture gives: without --boxes they are
left empty.

The rate is that of the detector's held-out normal images. Its folder is known from SCORES.journal, which predict leaves
beside the table; where that is gone, or the detector has moved, --detector names it. Rows of another detector are
refused. A threshold that you choose promises nothing, so that nothing is known to be uncertain.
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    options = new_parser("threshold", "Decide again on a scored table: another rate, or another threshold.", EPILOG)
    add = options.add_argument
    add("scores", type=Path, metavar="SCORES", help="that predict wrote: .csv, .jsonl or .parquet")
    either = options.add_mutually_exclusive_group(required=True)
    either.add_argument(
        "--false-positive-rate", type=share, metavar="A", help="flag a normal image with probability at most A"
    )
    either.add_argument("--threshold", type=finite, metavar="T", help="flag what has a score above T")
    add(
        "--confidence",
        type=share,
        metavar="C",
        help=f"that the rate's threshold lies among the scores that are uncertain (default: {CONFIDENCE}, predict's)",
    )
    add("--detector", type=Path, metavar="DIR", help="that scored (default: as SCORES.journal says)")
    add("--out", type=Path, metavar="FILE", help="the new table (default: beside SCORES, named by the rate)")
    add("--boxes", action="store_true", help="look at the pictures that are flagged again, for the column boxes")
    add("--report", type=Path, metavar="FILE", help="also write the page of the new table")
    add("--overwrite", action="store_true", help="replace FILE where it is there already")
    return options
