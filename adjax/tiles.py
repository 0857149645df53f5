"""Pictures larger than a detector's images, at their own resolution: overlapping tiles, and one map of them all.

    map_p = Σ_t w_t(p) map_t(p) / Σ_t w_t(p)        score = max_p map_p

Tiles have the side s of the detector's images and overlap by 3/8 of it. A network pads a tile's border, so that places
near it are not what they are in the whole picture: the outer eighth of a tile has no weight w, the next eighth a linear
ramp, except at the border of the picture itself. Tiles begin at multiples of `GRID_PX`, so that the strides of a
network fall on the same pixels as in the whole picture; the last ones end with the picture. Tiles of fewer
than 25 px begin at multiples of a smaller power of two.

The image score is the highest place of the map, for any scorer that has places and knows no positions. Memory is that
of a picture, of its map and of a few tiles, whatever the size of the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import jax
import numpy as np

from adjax import features, localise
from adjax.detector import Detector, outputs_of

GRID_PX = 16
"""Multiples of it are where tiles begin: the stride of the deepest maps that scorers of patches read."""
MARGIN = 1 / 8
"""Share of a tile's side that has no weight, and share of the ramp beside it."""


class Tiled(NamedTuple):
    """The score of a picture, and the map that it is the maximum of.

    Attributes:
      score: in the unit of `Detector.score`.
      places: float32[h, w], the scores of places, blended over the tiles; they cover the picture evenly.
    """

    score: float
    places: np.ndarray


def starts(length_px: int, side_px: int) -> list[int]:
    """Places tiles along a side of a picture.

    Args:
      length_px: of the picture, ≥ side_px.
      side_px: of a tile, ≥ 1.

    Returns:
      Where each begins, in px, ascending; the first at 0, the last ends with the picture.

    Raises:
      ValueError: the picture is smaller than a tile.

    Example:
      >>> starts(500, 256)
      [0, 160, 244]
    """
    if length_px < side_px:
        raise ValueError(f"a picture of {length_px} px is smaller than a tile of {side_px} px: choose smaller tiles")
    step = max(round(side_px * (1 - 3 * MARGIN)), 1)
    step -= step % min(GRID_PX, 1 << (step.bit_length() - 1))
    return [*range(0, length_px - side_px, step), length_px - side_px]


def cut(picture: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Cuts a picture into overlapping tiles, row by row.

    Args:
      picture: uint8[H, W, C], at least as large as a tile.
      shape: (h px, w px, C) of a tile.

    Yields:
      uint8[h, w, C], views of the picture.

    Raises:
      ValueError: the picture is smaller than a tile.
    """
    height, width = shape[:2]
    for top, left in product(starts(picture.shape[0], height), starts(picture.shape[1], width)):
        yield picture[top : top + height, left : left + width]


def score(detector: Detector, picture: np.ndarray) -> Tiled:
    """Scores one picture of any size by its tiles.

    Args:
      detector: one of uint8 images [h, w, C], whose scorer has places.
      picture: uint8[H, W, C], H ≥ h, W ≥ w.

    Returns:
      A `Tiled`; NaN where a place is.

    Raises:
      ValueError: a detector without places; a picture smaller than a tile, or of another dtype or number of channels.

    Example:
      >>> import adjax
      >>> rng = np.random.default_rng(0)
      >>> def network(params, images):  # a map of means of 4×4 px, and of their squares
      ...     cells = images.reshape(len(images), 4, 4, 4, 4, 3) / 255.0
      ...     return {"patches": cells.mean((2, 4))}
      >>> noise = rng.integers(0, 200, (30, 16, 16, 3), np.uint8)
      >>> detector = adjax.detector_from(network, {}, "patchwise", noise)
      >>> picture = rng.integers(0, 200, (48, 64, 3), np.uint8)
      >>> picture[20:28, 40:48] = 255
      >>> tiled = score(detector, picture)
      >>> tiled.places.shape, [int(x) for x in np.unravel_index(tiled.places.argmax(), (12, 16))]
      ((12, 16), [5, 10])
    """
    shape = detector.spec.image_shape
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2:] != shape[2:]:
        raise ValueError(f"a picture {picture.dtype}{list(picture.shape)}: must be uint8[H, W, {shape[-1]}]")
    tiles, state = list(cut(picture, shape)), jax.device_put(detector)
    size = min(features.batch_size_for(shape), 1 << (len(tiles) - 1).bit_length())
    parts = (tiles[at : at + 4 * size] for at in range(0, len(tiles), 4 * size))
    maps = [features.apply(_cells, state, np.stack(part), size) for part in parts]
    places = blend(np.concatenate(maps), picture.shape[:2], shape[:2])
    return Tiled(float(places.max()), places)


@jax.jit
def _cells(detector: Detector, images: jax.Array) -> jax.Array:
    return localise.cells(detector, outputs_of(detector, images))


def blend(maps: np.ndarray, size: tuple[int, int], tile: tuple[int, ...]) -> np.ndarray:
    """Blends the maps of a picture's tiles to one. What is not finite stays where it has a weight.

    Args:
      maps: float32[tiles, h, w], in the order of `cut`.
      size: (height px, width px) of the picture.
      tile: (height px, width px) of a tile.

    Returns:
      float32[H, W], of the cells of `maps` in the whole picture.
    """
    down, across = (_weights(*sides) for sides in zip(size, tile, maps.shape[1:], strict=True))
    finite = np.isfinite(maps)
    total = _weighted(np.where(finite, maps, 0), down, across)
    if not finite.all():  # 0 · NaN and 0 · ∞ are NaN
        for value, cells in (np.nan, np.isnan(maps)), (np.inf, maps == np.inf), (-np.inf, maps == -np.inf):
            total[_weighted(cells.astype(float), down, across) > 0] += value
    return (total / np.outer(down.sum((0, 2)), across.sum((0, 2)))).astype(np.float32)


def _weighted(maps: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Σ_t w_t map_t of all places."""
    total = np.zeros((down.shape[1], across.shape[1]))
    for weights, row in zip(down, maps.reshape(len(down), len(across), *maps.shape[1:]), strict=True):
        total += weights @ sum(each @ other.T for each, other in zip(row, across, strict=True))
    return total


def _weights(length_px: int, side_px: int, cells: int) -> np.ndarray:
    """float64[tiles, G, cells]: what each cell of a tile gives to each of the picture's G, along one side."""
    cell = side_px / cells
    number = max(round(length_px / cell), 1)
    centres = (np.arange(number) + 0.5) * length_px / number
    found = []
    for start in starts(length_px, side_px):
        inside = centres - start
        margin = side_px * MARGIN
        before = np.full(number, np.inf) if start == 0 else inside
        after = np.inf if start + side_px == length_px else side_px - inside
        weight = np.clip((np.minimum(before, after) - margin) / margin, 0, 1)
        weight[(inside < 0) | (inside > side_px)] = 0
        place = np.clip(inside / cell - 0.5, 0, cells - 1)
        low = np.minimum(place.astype(int), max(cells - 2, 0))
        share = place - low
        matrix = np.zeros((number, cells))
        rows = np.arange(number)
        matrix[rows, low] += weight * (1 - share)
        matrix[rows, np.minimum(low + 1, cells - 1)] += weight * share
        found.append(matrix)
    return np.stack(found)
