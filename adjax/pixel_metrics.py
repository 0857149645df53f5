"""Localisation metrics of anomaly maps: per pixel, and per region, where small defects count as much as large ones.

Pixels are sorted once, on the device. With a weight of 1/|region| for a defect's pixels, the per-region overlap (PRO:
Bergmann et al., "The MVTec anomaly detection dataset", IJCV 2021), the mean over regions of the share that is found, is
a weighted true-positive rate: one cumulative sum. A NaN ranks as the most anomalous. Masks of normal images are empty.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from scipy import ndimage

from adjax import metrics

MOST_PIXELS = 2**24
"""Beyond them counts are no longer exact in float32."""


def pixel_auroc(maps: ArrayLike, masks: ArrayLike) -> jax.Array:
    """AUROC of all pixels, float32[].

    Args:
      maps: float[N, H, W], higher = more anomalous.
      masks: bool[N, H, W], where it is anomalous.

    Returns:
      float32[]; NaN if all pixels are of one kind.

    Raises:
      ValueError: shapes that differ, or more than 2²⁴ pixels.
    """
    maps, masks = _checked(maps, masks)
    return metrics.auroc(maps.ravel(), masks.ravel())


def aupro(maps: ArrayLike, masks: ArrayLike, limit: float = 0.3) -> jax.Array:
    """Area under the per-region overlap against the false-positive rate of pixels, up to a limit, divided by it.

    Args:
      maps, masks: as of `pixel_auroc`; regions are connected by edges or corners.
      limit: of the false-positive rate, in (0, 1]; 0.3 is usual, 0.05 for small defects.

    Returns:
      float32[] in [0, 1], linear between thresholds; NaN without an anomalous or a normal pixel.

    Raises:
      ValueError: as `pixel_auroc`, or a limit out of range.
    """
    if not 0 < limit <= 1:
        raise ValueError(f"limit={limit}: must be a false-positive rate in (0, 1]")
    maps, masks = _checked(maps, masks)
    weights, regions = np.zeros(masks.shape, np.float32), 0
    for weight, mask in zip(weights, masks, strict=True):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        weight[mask] = (1 / np.maximum(np.bincount(labels.ravel()), 1))[labels[mask]]
        regions += count
    return _area(maps.ravel(), ~masks.ravel(), weights.ravel(), regions, limit)


def pixel_f1_max(maps: ArrayLike, masks: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """The highest F1 that any threshold gives pixels, and that threshold: pixels that are at least as high count.

    For comparison with what others publish: it is chosen on the test images.

    Args:
      maps, masks: as of `pixel_auroc`.

    Returns:
      Two float32[]; NaN without an anomalous pixel.
    """
    maps, masks = _checked(maps, masks)
    return _f1(maps.ravel(), masks.ravel())


def _checked(maps: ArrayLike, masks: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    maps, masks = np.asarray(maps, np.float32), np.asarray(masks).astype(bool)
    if maps.shape != masks.shape or maps.ndim != 3:
        raise ValueError(f"maps {list(maps.shape)} and masks {list(masks.shape)}: must both be [N, H, W]")
    if maps.size > MOST_PIXELS:
        raise ValueError(f"{maps.size:,} pixels: at most {MOST_PIXELS:,} can be counted exactly, shrink the maps")
    return maps, masks


def _descending(maps: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Scores, highest first, in which order they are, and whether each is the last of its ties."""
    scores = jnp.where(jnp.isnan(maps), jnp.inf, maps)
    ascending, order = lax.sort((-scores, jnp.arange(scores.size, dtype=jnp.int32)), num_keys=1)
    last = jnp.concatenate([ascending[1:] != ascending[:-1], jnp.ones(1, bool)])
    return -ascending, order, last


@jax.jit
def _area(maps: jax.Array, normal: jax.Array, weights: jax.Array, regions: jax.Array, limit: jax.Array) -> jax.Array:
    _, order, last = _descending(maps)
    false, total = jnp.cumsum(normal[order]), normal.sum()
    rate = jnp.where(last, false / jnp.maximum(total, 1), 0)
    overlap = jnp.where(last, jnp.cumsum(weights[order]) / jnp.maximum(regions, 1), 0)
    x, y = (jnp.concatenate([jnp.zeros(1), lax.cummax(v)]) for v in (rate, overlap))  # within ties: the point before
    width = jnp.clip(jnp.minimum(x[1:], limit) - x[:-1], 0)
    slope = (y[1:] - y[:-1]) / jnp.where(x[1:] > x[:-1], x[1:] - x[:-1], 1)
    area = (width * (y[:-1] + slope * width / 2)).sum() / limit
    return jnp.where((regions > 0) & (total > 0), jnp.minimum(area, 1), jnp.nan)


@jax.jit
def _f1(maps: jax.Array, masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    scores, order, last = _descending(maps)
    hits, total = jnp.cumsum(masks[order]), masks.sum()
    f1 = jnp.where(last, 2 * hits / (jnp.arange(1, scores.size + 1) + total), -1)
    best = f1.argmax()
    return jnp.where(total > 0, f1[best], jnp.nan), jnp.where(total > 0, scores[best], jnp.nan)
