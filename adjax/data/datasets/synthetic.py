"""Synthetic OOD images: crops of scikit-learn's photographs, and digits corrupted in several ways.

They stand in for OOD images that no training has seen and no published test set holds: for choosing settings without
touching a test set, and for asking how a detector trained on labelled OOD images does on kinds it was never shown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adjax.data.split import DataError, Split, make_split

CLASSES = ("china", "flower")
"""scikit-learn's two photographs."""
TEST_IMAGES, SEED = 10_000, 0
SHORTEST_PX, MAX_SCALE = 427, 4


def load_photographs(split: str, data_dir: Path | None = None, *, side_px: int = 28) -> Split:
    """The data set "photographs": 10,000 grey crops, by `photograph_crops`; a test split only.

    Args:
      split: "test".
      data_dir: not used.
      side_px: of the crops, 1 … 106.

    Returns:
      images uint8 [10000, side, side, 1]; labels int32, which of `CLASSES` each was cut from.

    Raises:
      DataError: the training split; another side.
    """
    if split != "test":
        raise DataError("photographs is an OOD set without training images: use its test split")
    limit = SHORTEST_PX // MAX_SCALE
    if not 1 <= side_px <= limit:
        raise DataError(f"photographs can't be cut to {side_px} px: must be 1 to {limit}")
    return make_split(*_crops(TEST_IMAGES, side_px, np.random.default_rng(SEED)), "photographs")


def photograph_crops(n: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Grey crops of scikit-learn's two photographs at 1 to 4 times the side, shrunk by averaging.

    Args:
      n: how many.
      side: of the crops, 1 … 106 px.
      rng: what draws them.

    Returns:
      uint8 [n, side, side, 1].
    """
    return _crops(n, side, rng)[0]


def outliers(images: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Images that don't belong, made from those that do or cut from photographs.

    Args:
      images: uint8 [N, H, H, 1], H a multiple of 4.
      seed: of all draws.

    Returns:
      name -> uint8 of the shape of `images`.
    """
    rng = np.random.default_rng(seed)
    n, side = len(images), images.shape[1]

    def shuffled(tile: int) -> np.ndarray:
        k = side // tile
        tiles = images.reshape(n, k, tile, k, tile).transpose(0, 1, 3, 2, 4).reshape(n, k * k, tile, tile)
        tiles = np.stack([t[rng.permutation(k * k)] for t in tiles]).reshape(n, k, k, tile, tile)
        return tiles.transpose(0, 1, 3, 2, 4).reshape(images.shape)

    return {
        "photograph crops": photograph_crops(n, side, rng),
        "7 px tiles shuffled": shuffled(side // 4),
        "two digits overlaid": np.maximum(images, images[rng.permutation(n)]),
        "inverted": 255 - images,
        "uniform noise": rng.integers(0, 256, images.shape, np.uint8),
    }


def _crops(n: int, side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(crops, which photograph each was cut from)."""
    from sklearn.datasets import load_sample_images

    photographs = [image.mean(-1) for image in load_sample_images().images]
    crops, labels = np.empty((n, side, side, 1), np.uint8), np.empty(n, np.int32)
    for i in range(n):
        labels[i], scale = rng.integers(len(photographs)), int(rng.integers(1, MAX_SCALE + 1))
        photograph, size = photographs[labels[i]], side * scale
        top, left = (int(rng.integers(0, limit - size + 1)) for limit in photograph.shape)
        crop = photograph[top : top + size, left : left + size]
        crops[i, ..., 0] = crop.reshape(side, scale, side, scale).mean((1, 3))
    return crops, labels
