"""`python -m adjax data`: which sets there are, where they lie, and fetching them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from adjax.data import cache
from adjax.data.published import provide, where
from adjax.data.registry import DATASETS, TFDS, find
from adjax.data.split import DataError

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


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax data ARGUMENTS`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m adjax data",
        description="Data sets: which there are, where they lie, and how to get them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show all sets and whether they are on this machine")
    fetching = commands.add_parser("fetch", help="get a set and check its SHA-256")
    fetching.add_argument("name", metavar="NAME", help=f"{', '.join(DATASETS)}, or {TFDS}NAME")
    for command in (listing, fetching):
        command.add_argument(
            "--data-dir",
            type=Path,
            metavar="DIR",
            help="your folder of data sets (default: look in $ADJAX_DATA_DIR, fetch into $ADJAX_CACHE)",
        )
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        return show(chosen.data_dir)
    return fetch(chosen.name, chosen.data_dir)


def show(data_dir: Path | None) -> int:
    """Prints the table of data sets."""
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "train + test images", "classes", "status", box=None)
    table.add_column("where, or how to get it", overflow="fold")  # a path is no use cut short
    for name, dataset in DATASETS.items():
        if dataset.own is not None:
            status, place = _brought(dataset.own, data_dir)
        elif dataset.published is None:
            status, place = "ready", "inside scikit-learn"
        elif (folder := where(dataset.published, data_dir)) is not None:
            status, place = "ready", str(folder)
        else:
            status, place = "not here", f"python -m adjax data fetch {name}"
        table.add_row(name, dataset.about, str(len(dataset.classes)), status, place)
    table.add_row(f"{TFDS}NAME", "", "", "", f"python -m adjax data fetch {TFDS}NAME")
    table.add_row("PATH", "", "", "", "your .npz file, .csv of labels, IDX folder or image folder")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(f"cache: {cache.cache_dir()}", highlight=False, soft_wrap=True)
    return 0


def fetch(name: str, data_dir: Path | None) -> int:
    """Fetches one data set and prints where it lies.

    Args:
      name: a key of `DATASETS`, or "tfds:NAME".
      data_dir: the user's folder of data; None: the cache.

    Returns:
      Exit status 0.

    Raises:
      DataError: unknown name, a path, or a set that can't be fetched.
    """
    published = DATASETS[name].published if name in DATASETS else None
    if published is not None:
        print(f"{name}: in {provide(published, data_dir)}, all SHA-256 right")
    elif name in DATASETS and (own := DATASETS[name].own) is not None:
        DATASETS[name].load("test", data_dir)  # checks the user's files, or has tfds prepare the set
        print(f"{name}: in {own(data_dir) or 'prepared tfds'}")
    elif name in DATASETS:
        print(f"{name}: nothing to fetch, it is inside scikit-learn")
    elif name.startswith(TFDS):
        print(f"{name}: in {find(name, data_dir).about}")
    else:
        find(name, data_dir)  # a typo is an error, with a hint
        raise DataError(f"{name} is a path: there is nothing to fetch, give it wherever a data set is named")
    return 0


def _brought(own: Callable[[Path | None], Path | None], data_dir: Path | None) -> tuple[str, str]:
    """(status, where) of a set that the user brings."""
    try:
        folder = own(data_dir)
    except DataError as error:
        return "not here", str(error)
    return ("ready", str(folder)) if folder is not None else ("not here", "bring its files, or tfds has them")
