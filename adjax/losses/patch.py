"""Patch loss: the mean error of the worst patches, where a mean over the image hides a small defect.

Kim, Jeong, Choi, Seo, "GAN-based Anomaly Detection in Imbalance Problems" (ECCV workshops 2020): the mean of |x − y|
over each of overlapping patches, then the mean over the n patches with the largest.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def patch(x: jax.Array, y: jax.Array, *, patch_px: int = 16, stride_px: int = 8, largest: int = 3) -> jax.Array:
    """Mean absolute difference over the worst patches of each pair of images.

    Args:
      x, y: float32[N, H, W, C].
      patch_px: side of a patch, ≤ H and W.
      stride_px: from one patch to the next, ≥ 1; what no whole patch fits on is left out.
      largest: how many patches count, ≥ 1; at most all.

    Returns:
      float32[N] ≥ 0.

    Raises:
      ValueError: images of unlike shapes or smaller than a patch; a size, stride or number below 1.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"images of shapes {x.shape} and {y.shape}: must be the same [N, H, W, C]")
    sides = x.shape[1:3]
    if not 1 <= patch_px <= min(sides):
        raise ValueError(f"patches of {patch_px} px: must be from 1 to the {min(sides)} px of a side")
    if stride_px < 1 or largest < 1:
        raise ValueError(f"stride of {stride_px} px, {largest} largest patches: must both be at least 1")
    down, across = (_places(side, patch_px, stride_px) for side in sides)
    means = jnp.einsum("nhw,hu,wv->nuv", jnp.abs(x - y).mean(-1), down, across).reshape(len(x), -1)
    return jax.lax.top_k(means, min(largest, means.shape[1]))[0].mean(-1)


def _places(side: int, patch_px: int, stride_px: int) -> np.ndarray:
    """float32[side, patches]: column j averages the pixels of patch j."""
    first = np.arange(0, side - patch_px + 1, stride_px)
    pixel = np.arange(side)[:, None]
    return ((pixel >= first) & (pixel < first + patch_px)).astype(np.float32) / patch_px
