"""Small versions of pictures, by means over cells: what noise hardly moves and a comparison can afford."""

from __future__ import annotations

import numpy as np


def thumbnails(images: np.ndarray, side_px: int) -> np.ndarray:
    """Shrinks images to at most that many cells each way, of the mean of their pixels; smaller ones stay as they are.

    Args:
      images: uint8[N, H, W, C].
      side_px: cells in a row and in a column, ≥ 1.

    Returns:
      float32[N, min(H, side_px), min(W, side_px), C], 0 … 255.

    Example:
      >>> thumbnails(np.array([[[[0], [10], [20], [30]]]], np.uint8), 2).tolist()
      [[[[5.0], [25.0]]]]
    """
    small = images
    for axis in (1, 2):
        size = images.shape[axis]
        if size <= side_px:
            continue
        edges = np.linspace(0, size, min(size, side_px) + 1).round().astype(int)
        small = np.add.reduceat(small, edges[:-1], axis=axis, dtype=np.float32)
        small /= np.diff(edges).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(4)])
    return small.astype(np.float32, copy=False)
