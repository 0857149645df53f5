"""`python -m adjax data`: which sets there are, where they lie, and fetching them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adjax.cli._common import console
from adjax.cli.parsers.data import parser
from adjax.data.download import cache
from adjax.data.download.published import provide, where
from adjax.data.registry import DATASETS, TFDS, find
from adjax.data.split import DataError


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax data ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    if chosen.command == "list":
        return show(chosen.data_dir)
    return fetch(chosen.name, chosen.data_dir)


def show(data_dir: Path | None) -> int:
    """Prints the table of data sets."""
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
    shown = console()
    shown.print(table)
    shown.print(f"cache: {cache.cache_dir()}")
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
