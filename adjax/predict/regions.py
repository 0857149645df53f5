"""Anomalous regions of a picture: boxes for the table; a map and an overlay for people."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from adjax import atomic
from adjax.data.io import reading, upload
from adjax.data.io.pixels import seen_part
from adjax.overlays import enlarged, level, overlay
from adjax.spec import FunctionSpec, Spec

MOST_BOXES = 20
LONGEST_PX = 4096
"""Of an overlay; a larger picture is shrunk to it, and its map with it."""
LEAST_PX = 224
"""Of the longer side of an overlay; a smaller picture is enlarged by a whole number."""


class Box(NamedTuple):
    """A region above the threshold, px of the picture as a viewer shows it, and the highest score in it."""

    left: int
    top: int
    width: int
    height: int
    peak: float


def boxes(
    places: np.ndarray,
    threshold: float | None,
    size: tuple[int, int],
    spec: Spec | FunctionSpec,
    score: float | None = None,
) -> list[Box]:
    """Finds connected places above the threshold, the highest first, at most `MOST_BOXES`.

    A picture may be flagged as a whole, by a pooled feature, without a place above the threshold. Then there is one
    box, of all that the detector saw of it, with the picture's own score.

    Args:
      places: float32[h, w], scores, or errors of a reconstruction; a NaN is above every threshold.
      threshold: of the score; None: the map has another unit.
      size: (height px, width px) of the picture.
      spec: of the detector, for the part of the picture that it saw.
      score: of the picture; None: the highest of its places.

    Returns:
      Boxes in px of the picture.
    """
    scores = np.where(np.isnan(places), np.inf, places)
    limit = level(places, threshold)
    labels, _ = ndimage.label(scores > limit, np.ones((3, 3)))
    top, left, height, width = seen_part(*size, spec.image_shape, spec.frame)
    each = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        y0, y1 = (_within(top + height * y / places.shape[0], size[0]) for y in (rows.start, rows.stop))
        x0, x1 = (_within(left + width * x / places.shape[1], size[1]) for x in (columns.start, columns.stop))
        y0, x0 = min(y0, size[0] - 1), min(x0, size[1] - 1)  # a region of the bars alone has its place at the edge
        own = scores[rows, columns][labels[rows, columns] == number]  # another region may lie within the box
        peak = float(own.max()) if score is None or np.isfinite(limit) else score
        each.append(Box(x0, y0, max(x1 - x0, 1), max(y1 - y0, 1), peak))
    return sorted(each, key=lambda box: -box.peak)[:MOST_BOXES]


def _within(place: float, side: int) -> int:
    """The nearest whole px of a picture's side."""
    return min(max(round(place), 0), side)


def told(found: list[Box]) -> str:
    """Boxes in a cell of a table: "left,top,width,height,peak; …"."""
    return "; ".join(f"{b.left},{b.top},{b.width},{b.height},{b.peak:.4g}" for b in found)


def write(
    source: upload.Source,
    into: Path,
    places: np.ndarray,
    threshold: float | None,
    size: tuple[int, int],
    spec: Spec | FunctionSpec,
) -> None:
    """Writes `into`.map.tif and `into`.overlay.png, see `drawn`.

    Args:
      source: the picture, a path or an open file.
      into: path of both files without their ends; its folder is made.
      places, threshold, size, spec: as of `boxes`.
    """
    import tifffile
    from PIL import Image

    scores, painted = drawn(source, places, threshold, size, spec)
    into.parent.mkdir(parents=True, exist_ok=True)
    with atomic.replacing(into.with_name(f"{into.name}.map.tif")) as fresh:
        tifffile.imwrite(fresh, scores, photometric="minisblack", compression="zlib", metadata=None)
    with atomic.replacing(into.with_name(f"{into.name}.overlay.png")) as fresh:
        Image.fromarray(painted).save(fresh, "png")


def drawn(
    source: upload.Source,
    places: np.ndarray,
    threshold: float | None,
    size: tuple[int, int],
    spec: Spec | FunctionSpec,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws a map of a picture, and the picture with the map on it and what is above the threshold outlined.

    Args:
      source: the picture.
      places, threshold, size, spec: as of `boxes`.

    Returns:
      float32[height, width] of the picture's own size, at most `LONGEST_PX`, in the unit of its places, NaN where the
      detector does not look; and uint8[H, W, 3], at least `LEAST_PX`, to look at.
    """
    height, width = map_size(size)
    picture = _shown(source, (height, width, 3), spec)
    scores = full = enlarged(places, (height, width), spec)
    times = max(LEAST_PX // max(height, width), 1)
    if times > 1:
        picture = picture.repeat(times, 0).repeat(times, 1)
        full = enlarged(places, picture.shape[:2], spec)
    return scores, overlay(picture, full, level(places, threshold))


def map_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture's map.

    Args:
      size: (height px, width px) of the picture.

    Returns:
      (height px, width px), neither above `LONGEST_PX`.
    """
    scale = min(1.0, LONGEST_PX / max(size))
    height, width = (max(round(side * scale), 1) for side in size)
    return height, width


def _shown(source: upload.Source, shape: tuple[int, int, int], spec: Spec | FunctionSpec) -> np.ndarray:
    """The picture, resized to that size; as large a one as the detector takes."""
    if spec.frame != "tiles":
        return upload.read(source, shape, "whole", **reading.of(spec)).pixels
    from PIL import Image

    full = upload.read(source, (1, 1, 3), "tiles", **reading.of(spec)).pixels
    return np.asarray(Image.fromarray(full).resize(shape[1::-1], Image.Resampling.BILINEAR))
