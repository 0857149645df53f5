"""Thumbnails: which images to show, and images as PNG data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

SIDES = (256, 192, 128, 96, 64, 48, 32, 24)
"""Longest sides that thumbnails may have, pixels; the first at which all of them fit."""


def choose(scores: np.ndarray, truth: np.ndarray | None = None, worst: int = 24, between: int = 36) -> np.ndarray:
    """Chooses the images of the gallery.

    Whatever the threshold, the worst false alarms are the normal images with the highest scores, and the worst misses
    the anomalies with the lowest: `worst` of each. `between` more are spread over the ranks of each kind, most of them
    where the kinds meet, so that there is something on either side of any threshold. Without truth: the highest scores,
    and some of the others.

    Args:
      scores: float[n]; NaN counts as +inf.
      truth: int[n], 1 = anomalous; None: not known.
      worst: images of each kind of error.
      between: further images.

    Returns:
      int[k], ascending.
    """
    ranked = np.where(np.isnan(scores), np.inf, scores)
    order = np.argsort(ranked, kind="stable")
    if truth is None:
        rest = order[: max(len(order) - worst, 0)]
        return np.unique(np.concatenate([order[len(rest) :], _spread(rest, between), rest[-between // 3 :]]))
    normal, anomalous = order[truth[order] == 0], order[truth[order] == 1]
    # By rank from the end where the kinds meet, evenly in the logarithm: 1, 2, 4, … images from it.
    steps = [np.unique(np.geomspace(1, max(len(x), 1), between // 2).astype(int)) - 1 for x in (normal, anomalous)]
    near = [x[: len(x)][s] for x, s in zip((normal[::-1], anomalous), steps, strict=True) if len(x)]
    return np.unique(np.concatenate([normal[::-1][:worst], anomalous[:worst], *near]).astype(int))


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    return rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), most).astype(int))] if len(rows) else rows


def uris(images: Sequence[np.ndarray], side: int) -> list[str]:
    """Encodes images as data URIs of PNG files.

    Args:
      images: k of uint8[h, w, c].
      side: the longest side allowed, in px; larger images are shrunk.

    Returns:
      k strings.
    """
    return [_uri(shrunk(image, side)) for image in images]


def extent(maps: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest value in anomaly maps, of those that are finite."""
    known = maps[np.isfinite(maps)]
    return (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)


def heat(maps: np.ndarray, low: float, high: float) -> np.ndarray:
    """Colours anomaly maps from dark, at `low`, to bright, at `high`.

    Args:
      maps: float[k, a, b]; NaN counts as `high`.
      low, high: in the unit of the maps.

    Returns:
      uint8[k, a, b, 3].
    """
    x = np.clip((np.nan_to_num(maps, nan=high) - low) / max(high - low, 1e-12), 0, 1)
    stops = np.array([[8, 8, 30], [90, 20, 110], [200, 60, 70], [250, 150, 40], [255, 250, 190]], float)
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(x, at, stops[:, k]) for k in range(3)], -1).round().astype(np.uint8)


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Shrinks an image in its proportions, each pixel the mean of what it stands for.

    Args:
      image: uint8[h, w, c].
      side: the longest side allowed, in px.

    Returns:
      uint8 of that size; the image itself, where it is no larger.
    """
    from PIL import Image

    if max(image.shape[:2]) <= side:
        return image
    scale = side / max(image.shape[:2])
    size = [max(1, round(n * scale)) for n in image.shape[1::-1]]
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image[..., :3])
    return np.asarray(picture.resize((size[0], size[1]), Image.Resampling.BOX)).reshape(size[1], size[0], -1)


def _uri(image: np.ndarray) -> str:
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] < 3 else image[..., :3])
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
