"""The form that every source of images returns, a `Split`; its digest; and the error of data sets."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

SPLITS = ("train", "test")
_BLOCK = 64


class DataError(ValueError):
    """A data set is not available or invalid; the message names the value, what is allowed and what to do."""


class Split(NamedTuple):
    """One half of a data set, whole and in memory.

    Attributes:
      images: uint8 [N, H, W, C], values 0..255, C = 1 (grey) or 3 (RGB).
      labels: int32 [N], classes 0..K-1.
    """

    images: np.ndarray
    labels: np.ndarray


def digest(split: Split) -> str:
    """SHA-256 (hex) over shape, dtype and bytes of images and labels: splits agree if and only if it does.

    It stands in results.json and in checkpoints, so that a run can be told from one on other data.

    Example:
      >>> split = Split(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32))
      >>> digest(split) == digest(split._replace(labels=np.ones(2, np.int32)))
      False
    """
    sha = hashlib.sha256()
    for name, array in zip(split._fields, split, strict=True):
        little = array.dtype.newbyteorder("<")
        sha.update(f"{name}:{little.str}:{array.shape};".encode())
        for start in range(0, len(array), _BLOCK):  # images may lie in a file, see `adjax.data.io.scratch`
            sha.update(np.ascontiguousarray(array[start : start + _BLOCK], little).data)
    return sha.hexdigest()


def check_split_name(split: str) -> None:
    """Raises DataError unless `split` is "train" or "test"."""
    if split not in SPLITS:
        raise DataError(f"no split {split!r}: choose one of {', '.join(SPLITS)}")


def make_split(images: np.ndarray, labels: np.ndarray, where: object) -> Split:
    """Checks what a file held, and makes a Split of it.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C].
      labels: integers [N] or [N, 1], none negative.
      where: what to name in an error: a path or a data set.

    Returns:
      The `Split`, images [N, H, W, C] and labels int32[N].

    Raises:
      DataError: other dtypes, ranks or lengths, an empty set, or a channel count that isn't 1 or 3.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise DataError(
            f"{where}: images are {images.dtype}, but must be uint8 in 0..255; "
            "scale them yourself, for example (255 * x).round().astype('uint8') for floats in 0..1"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"{where}: images have shape {images.shape}, but must be [N, H, W], [N, H, W, 1] or [N, H, W, 3] "
            "with nothing zero; transpose or reshape them"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{where}: labels are {labels.dtype}{list(labels.shape)}, but must be integers [{len(images)}]")
    if labels.min() < 0 or labels.max() > np.iinfo(np.int32).max:
        raise DataError(f"{where}: labels run from {labels.min()} to {labels.max()}, but must be classes 0..K-1")
    return Split(images, labels.astype(np.int32))
