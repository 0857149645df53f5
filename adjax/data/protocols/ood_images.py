"""Images of the pair protocol: in-distribution ones, and OOD images of another set or of classes held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data.registry import find
from adjax.data.split import DataError, Split
from adjax.surface import words

HOLDOUT = "holdout:"
MAX_CLASSES = 100_000  # so that a slip of the hand doesn't count to 10¹²


class OODPair(NamedTuple):
    """In-distribution images and OOD images.

    Attributes:
      name, ood_name: the in-distribution set, and what the OOD images are ("fashion_mnist", "holdout:0").
      classes: names of the in-distribution classes, in the order of the labels.
      train, test: in-distribution Splits; labels 0..K-1.
      ood: the images that don't belong, of the same shape; labels are the classes of the set they come from.
    """

    name: str
    ood_name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    ood: Split


def task(
    dataset: str, ood: str, data_dir: str | Path | None = None, resize: bool = False, side_px: int | None = None
) -> OODPair:
    """Loads the images of an OOD pair.

    Args:
      dataset: the in-distribution set, as in `adjax.data.load`.
      ood: another set, whose whole test split is the OOD set; or "holdout:0", "holdout:0,3-5": those classes of
        `dataset` itself are the anomalies, left out of training (3-5 is 3, 4 and 5), and all others are normal;
        "holdout:3-5/0,1": these classes against those, and the rest is used nowhere.
      data_dir: as in `adjax.data.load`.
      resize: bring OOD images of another size or colour to the in-distribution shape (see `conform`).
      side_px: as in `adjax.data.find`, for `dataset`, and for `ood` if its images can be brought to a size.

    Returns:
      The `OODPair`, which `PROTOCOLS["pair"]` makes a benchmark of.

    Raises:
      DataError: a set that is not available, classes that don't exist, or shapes that differ without `resize`.

    Example:
      >>> digits = task("digits", "holdout:0")
      >>> digits.classes[0], len(digits.ood.images)
      ('1', 50)
    """
    folder = Path(data_dir) if data_dir is not None else None
    source = find(dataset, folder, side_px)
    if ood == dataset:
        raise DataError(f"{dataset} can't be its own OOD set: name another, or hold out a class with {HOLDOUT}0")
    if ood.startswith(HOLDOUT):
        held, among = _class_numbers(ood)
        normal = [n for n in range(len(source.classes)) if n not in held and (among is None or n in among)]
        if among is not None and sorted(among) != normal:
            raise DataError(
                f"{ood!r} is of 0 to {len(source.classes) - 1}: a class after the / is none of them, twice or held out"
            )
        only = {"classes": normal} if normal and "classes" in source.takes else {}  # what isn't used isn't decoded
        train, test, left_out = holdout(source.load("train", folder, **only), source.load("test", folder), held, among)
        names = tuple(source.classes[number] for number in normal)
        return OODPair(dataset, ood, names, train, test, left_out)
    outside = find(ood, folder)
    if side_px is not None and "side_px" in outside.takes:
        outside = find(ood, folder, side_px)
    other = outside.load("test", folder)
    train, test, other = pair(source.load("train", folder), source.load("test", folder), other, resize)
    return OODPair(dataset, ood, source.classes, train, test, other)


def pair(train: Split, test: Split, ood: Split, resize: bool = False) -> tuple[Split, Split, Split]:
    """Pairs two unrelated sets.

    Args:
      train, test: Splits of the in-distribution set.
      ood: Split of the other, all of which is used.
      resize: bring its images to the shape of `train`, see `conform`.

    Returns:
      (train, test, OOD).

    Raises:
      DataError: shapes that differ without `resize`.
    """
    images = conform(ood.images, train.images.shape[1:], resize)
    return train, test, Split(images, ood.labels)


def holdout(
    train: Split, test: Split, classes: Sequence[int] = (0,), normal: Sequence[int] | None = None
) -> tuple[Split, Split, Split]:
    """Holds classes out; the remaining classes are relabelled 0..K-1 in their order.

    Args:
      train, test: Splits of one set.
      classes: the classes to hold out. Their *test* images are the OOD set and keep their labels; their
        training images are used nowhere.
      normal: the classes that remain; None: all others.

    Returns:
      (train, test, OOD).

    Raises:
      DataError: a class that isn't in the set or has no test images, or nothing left to train or test on.

    Example:
      >>> half = Split(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 2, 2], np.int32))
      >>> [split.labels.tolist() for split in holdout(half, half, classes=(1,))]
      [[0, 1, 1], [0, 1, 1], [1]]
    """
    held = np.unique(np.asarray(classes, np.int64))
    for label in held:
        if label not in test.labels:
            raise DataError(
                f"can't hold out class {label}: the test split has classes {np.unique(test.labels).tolist()}"
            )
    kept = np.setdiff1d(np.union1d(train.labels, test.labels) if normal is None else normal, held)
    normal_train, normal_test = (np.isin(split.labels, kept) for split in (train, test))
    if not held.size or not normal_train.any() or not normal_test.any():
        raise DataError(
            f"holding out {held.tolist()} must take some of {np.unique(train.labels).tolist()} and leave some"
        )

    def keep(split: Split, rows: np.ndarray) -> Split:
        return Split(split.images[rows], np.searchsorted(kept, split.labels[rows]).astype(np.int32))

    anomalous = np.isin(test.labels, held)
    return (
        keep(train, normal_train),
        keep(test, normal_test),
        Split(test.images[anomalous], test.labels[anomalous]),
    )


def conform(images: np.ndarray, shape: tuple[int, ...], resize: bool = False) -> np.ndarray:
    """Images of another set in this set's shape.

    Args:
      images: uint8 [N, H, W, C].
      shape: (H, W, C) to bring them to.
      resize: if False, images must already have that shape: resizing leaves traces that a detector can learn
        instead of the content. If True: bilinear (Pillow), grey repeated to RGB, RGB to grey by ITU-R 601
        luma.

    Returns:
      uint8 [N, *shape].

    Raises:
      DataError: another shape, without `resize`.
    """
    if images.shape[1:] == tuple(shape):
        return images
    if not resize:
        raise DataError(
            f"OOD images are {_by(images.shape[1:])}, the in-distribution ones {_by(shape)}: "
            f"choose a set of that shape{words('', ', or ask for resizing with resize=True')}"
        )
    from PIL import Image

    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    resized = np.empty((len(images), *shape), np.uint8)
    for row, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert(mode)
        scaled = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
        resized[row] = scaled.reshape(shape)
    return resized


def _class_numbers(ood: str) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The classes in "holdout:0,3-5/1", of each side of the stroke: (0, 3, 4, 5) and (1,); None where there is none."""
    held, stroke, normal = ood.removeprefix(HOLDOUT).partition("/")
    return _numbers(ood, held), _numbers(ood, normal) if stroke else None


def _numbers(ood: str, listed: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in listed.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise DataError(f"{ood!r} names no classes: write their numbers, {HOLDOUT}0, {HOLDOUT}0,3 or {HOLDOUT}3-5")
        start, end = int(first), int(last or first)
        if not start <= end < MAX_CLASSES:
            raise DataError(f"{ood!r} names no classes: {part} must go up, and end below {MAX_CLASSES:,}")
        numbers += range(start, end + 1)
    return tuple(numbers)


def _by(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
