"""`DATASETS`: the sets by name. A new one is one file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from adjax.data import digits, fashion_mnist, mnist
from adjax.data.idx import load_folder
from adjax.data.published import Published, load_published
from adjax.data.split import DataError, Split, check_split_name


class Dataset(NamedTuple):
    """Where images come from.

    Attributes:
      name: what the user calls it.
      classes: class names, in the order of the labels.
      load: `(split, data_dir) -> Split`, with split "train" or "test".
      about: one line for the list: images and shape.
      published: how its files are found and checked; None if nothing is ever fetched.
    """

    name: str
    classes: tuple[str, ...]
    load: Callable[[str, Path | None], Split]
    about: str = ""
    published: Published | None = None


def _of(source: Published, classes: tuple[str, ...], about: str) -> Dataset:
    return Dataset(source.name, classes, partial(load_published, source), about, source)


DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        "digits", digits.CLASSES, lambda split, _: digits.load_digits(split), "1,297 + 500, 8×8×1"
    ),
    "mnist": _of(mnist.MNIST, mnist.CLASSES, "60,000 + 10,000, 28×28×1"),
    "fashion_mnist": _of(fashion_mnist.FASHION_MNIST, fashion_mnist.CLASSES, "60,000 + 10,000, 28×28×1"),
}


def find(name: str, data_dir: Path | None = None) -> Dataset:
    """The data set of this name: one of `DATASETS`.

    Raises:
      DataError: unknown name; the message offers the nearest one.
    """
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(f"no data set {name!r}{hint} There are {', '.join(DATASETS)}")


def load(name: str, split: str, data_dir: str | Path | None = None) -> Split:
    """Loads one split of a data set.

    Args:
      name: see `find`.
      split: "train" or "test".
      data_dir: a folder to look in first; without one, $ADJAX_DATA_DIR.

    Returns:
      images uint8 [N, H, W, C], labels int32 [N].

    Raises:
      DataError: an unknown name or split, a set that can't be had here, or a file that isn't what it should be.

    Example:
      >>> load("digits", "train").images.shape
      (1297, 8, 8, 1)
    """
    check_split_name(split)
    folder = Path(data_dir) if data_dir is not None else None
    return find(name, folder).load(split, folder)
