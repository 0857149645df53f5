"""`DATASETS`: data sets by name. A new one is one file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from adjax.data.datasets import cifar10, digits, fashion_mnist, folder, idx, imagenet30, mnist, npz, synthetic, table
from adjax.data.download import tfds
from adjax.data.download.published import Published, load_published
from adjax.data.io.idx import STEMS, find_files
from adjax.data.split import DataError, Split, check_split_name

TFDS = "tfds:"


class Dataset(NamedTuple):
    """A data set: its name, class names and the function that loads a split.

    Attributes:
      name: what the user calls it.
      classes: class names, in the order of the labels.
      load: `(split, data_dir) -> Split`, with split "train" or "test"; and with the options in `takes`.
      about: one line for the list: images and shape.
      published: how its files are found and checked; None if nothing is ever fetched.
      own: for a set that the user must bring: `(data_dir)` to the folder where it lies, None if nowhere.
      takes: options of `load`: "side_px", to bring images to one size; "classes", to read no others; "strict", to
        refuse files that can't be read instead of skipping them.
    """

    name: str
    classes: tuple[str, ...]
    load: Callable[..., Split]
    about: str = ""
    published: Published | None = None
    own: Callable[[Path | None], Path | None] | None = None
    takes: tuple[str, ...] = ()


def _of(source: Published, classes: tuple[str, ...], about: str) -> Dataset:
    return Dataset(source.name, classes, partial(load_published, source), about, source)


DATASETS: dict[str, Dataset] = {
    "digits": Dataset("digits", digits.CLASSES, lambda split, _: digits.load_digits(split), "1,297 + 500, 8×8×1"),
    "mnist": _of(mnist.MNIST, mnist.CLASSES, "60,000 + 10,000, 28×28×1"),
    "fashion_mnist": _of(fashion_mnist.FASHION_MNIST, fashion_mnist.CLASSES, "60,000 + 10,000, 28×28×1"),
    "cifar10": Dataset("cifar10", cifar10.CLASSES, cifar10.load_cifar10, "50,000 + 10,000, 32×32×3", own=cifar10.where),
    "imagenet30": Dataset(
        "imagenet30",
        imagenet30.CLASSES,
        imagenet30.load_imagenet30,
        "39,000 + 3,000, 256×256×3",
        own=imagenet30.where,
        takes=("side_px", "classes"),
    ),
    "photographs": Dataset(
        "photographs", synthetic.CLASSES, synthetic.load_photographs, "0 + 10,000, 28×28×1", takes=("side_px",)
    ),
}


def find(name: str, data_dir: str | Path | None = None, side_px: int | None = None, strict: bool = False) -> Dataset:
    """Finds a data set by its name.

    Args:
      name: one of `DATASETS`; "tfds:NAME"; or a path: an .npz file, a .csv of labels, a folder of IDX files under
        the standard names, or an image folder; see `npz`, `table`, `idx` and `folder` in `adjax.data.datasets`.
      data_dir: where tfds may keep its sets.
      side_px: for sets of image files: resize each image to a square of this side (see `adjax.data.datasets.folder`).
      strict: for your own folders and tables: a file that can't be read, or isn't 8-bit grey or RGB, is an error. Else
        it is read as `adjax train` reads it, or skipped with a warning. Published sets are always read strictly.

    Returns:
      The `Dataset`.

    Raises:
      DataError: unknown name, with the nearest known one; an empty path; a tfds set that is not available; `side_px`
        for a set whose images have one size.
    """
    dataset = _find(name, data_dir)
    if strict and "strict" in dataset.takes:
        dataset = dataset._replace(load=partial(dataset.load, strict=True))
    if side_px is None:
        return dataset
    if "side_px" not in dataset.takes:
        raise DataError(f"images of {name} have one size, and aren't resized: leave side_px unset")
    return dataset._replace(load=partial(dataset.load, side_px=side_px))


def _find(name: str, data_dir: str | Path | None) -> Dataset:
    if name in DATASETS:
        return DATASETS[name]
    if name.startswith(TFDS):
        return _of_tfds(name, Path(data_dir) if data_dir is not None else None)
    path = Path(name).expanduser()
    if path.is_dir() or path.suffix in (".npz", ".csv") or len(path.parts) > 1:
        return _of_path(name, path)
    near = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(
        f"no data set {name!r}.{hint} There are {', '.join(DATASETS)}, {TFDS}NAME, and any path to an "
        ".npz file, a .csv of labels, a folder of IDX files or an image folder"
    )


def load(
    name: str,
    split: str,
    data_dir: str | Path | None = None,
    side_px: int | None = None,
    strict: bool = False,
) -> Split:
    """Loads one split of a data set.

    Args:
      name: see `find`.
      split: "train" or "test".
      data_dir: a folder to look in first; without one, $ADJAX_DATA_DIR.
      side_px, strict: see `find`.

    Returns:
      images uint8 [N, H, W, C], labels int32 [N].

    Raises:
      DataError: an unknown name or split, a set that can't be had here, or a file that isn't what it should
        be.

    Example:
      >>> load("digits", "train").images.shape
      (1297, 8, 8, 1)
    """
    check_split_name(split)
    given = Path(data_dir) if data_dir is not None else None
    return find(name, given, side_px, strict).load(split, given)


def _of_tfds(name: str, data_dir: Path | None) -> Dataset:
    wanted = name.removeprefix(TFDS)
    known = tfds.prepared(wanted, data_dir)
    try:
        at = known or tfds.prepare(wanted, data_dir)
    except DataError as error:
        places = ", ".join(map(str, tfds.roots(data_dir)))
        raise DataError(
            f"{name} is prepared in none of {places}, and can't be now: {error}. Prepare it on a machine "
            "with a network, and name the folder that it is in: --data-dir DIR, or TFDS_DATA_DIR=DIR"
        ) from error
    return Dataset(name, tfds.class_names(at), lambda split, _: tfds.read(at, split), str(at))


def _of_path(name: str, path: Path) -> Dataset:
    if path.is_dir():
        if any(find_files(path, stems) for stems in STEMS.values()):
            return Dataset(name, idx.class_names(path), lambda split, _: idx.load_folder(path, split), "IDX files")
        listing = folder.list_folder(path)
        skipped = (listing.passed_over + listing.no_pictures).items()
        about = "image folder" + "".join(f"; skipped: {count:,} {why}" for why, count in skipped)
        load, takes = partial(_at, folder.load_folder, path), ("side_px", "classes", "strict")
        return Dataset(name, listing.classes, load, about, takes=takes)
    if not path.is_file():
        raise DataError(
            f"nothing is at {path}: give an .npz file, a .csv of labels, a folder of IDX files or an image folder"
        )
    if path.suffix == ".csv":
        classes = table.class_names(path)
        return Dataset(
            name, classes, partial(_at, table.load_table, path), "table of labels", takes=("side_px", "strict")
        )
    if path.suffix != ".npz":
        raise DataError(
            f"{path} is neither .npz nor .csv: save images and labels with numpy.savez, or give a .csv or a folder"
        )
    return Dataset(name, npz.class_names(path), partial(_at, npz.load_npz, path), ".npz file")


def _at(load: Callable[..., Split], path: Path, split: str, data_dir: Path | None, **options: object) -> Split:
    """A set at a path of its own needs no `data_dir`."""
    return load(path, split, **options)
