"""Options of `python -m adjax data`."""

from __future__ import annotations

import argparse
from pathlib import Path

from adjax.cli.parsers._common import names, new_parser

EPILOG = """\
examples:
  python -m adjax data list                               what there is, and where it lies
  python -m adjax data fetch mnist                        into the cache
  python -m adjax data fetch mnist --data-dir /mnt/data   into /mnt/data/mnist, to carry elsewhere

Your own images need no fetching. Wherever a set is named, a path does as well:
  set.npz     arrays x_train, y_train, x_test, y_test; or images, labels
  train.csv   file,label in each line, the images in train/, in images/ or beside it; and test.csv
  folder/     IDX files under their standard names; or
              train/<class>/*.png and test/<class>/*.png; or <class>/*.png
"""


def parser() -> argparse.ArgumentParser:
    """The options and their help."""
    sets = names("adjax.data.registry", "DATASETS")
    options = new_parser("data", "Data sets: which there are, where they lie, and how to get them.", EPILOG)
    commands = options.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show all sets and whether they are on this machine")
    fetching = commands.add_parser("fetch", help="get a set and check its SHA-256")
    fetching.add_argument("name", metavar="NAME", help=f"{', '.join(sets)}, or tfds:NAME")
    for command in (listing, fetching):
        command.add_argument(
            "--data-dir",
            type=Path,
            metavar="DIR",
            help="your folder of data sets (default: look in $ADJAX_DATA_DIR, fetch into $ADJAX_CACHE)",
        )
    return options
