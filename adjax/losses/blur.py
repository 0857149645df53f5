"""Gaussian weights over neighbouring pixels, as matrices: two small matmuls blur a batch, fast on any device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from adjax._numerics import EXACT


def blur(images: jax.Array, sigma_px: float) -> jax.Array:
    """Gaussian blur; beyond the border lies zero.

    Args:
      images: float32[N, H, W, C].
      sigma_px: standard deviation in pixels, ≥ 0; 0 changes nothing.

    Returns:
      float32[N, H, W, C].

    Raises:
      ValueError: a negative deviation.
    """
    if sigma_px < 0:
        raise ValueError(f"blur of {sigma_px} px: must be at least 0")
    if sigma_px == 0:
        return images
    reach = int(np.ceil(3 * sigma_px))
    down, across = (bands(side + 2 * reach, 2 * reach + 1, sigma_px)[reach:-reach] for side in images.shape[1:3])
    return separable(images, down, across)


def separable(images: jax.Array, down: np.ndarray, across: np.ndarray) -> jax.Array:
    """Weighs rows and columns of images.

    Args:
      images: float[..., H, W, C].
      down: float32[H, U], weights of the rows.
      across: float32[W, V], weights of the columns.

    Returns:
      float[..., U, V, C].
    """
    y = jnp.einsum("...hwc,wv->...hcv", images, across, precision=EXACT)
    return jnp.einsum("...hcv,hu->...uvc", y, down, precision=EXACT)


def bands(side: int, window_px: int, sigma_px: float) -> np.ndarray:
    """Builds Gaussian weights of a sliding window as a matrix.

    Args:
      side: pixels of a row or column, ≥ `window_px`.
      window_px: odd, ≥ 1.
      sigma_px: standard deviation in pixels, > 0.

    Returns:
      float32[side, side − window_px + 1]: column j weighs the window that starts at pixel j; its sum is 1.
    """
    offsets = np.arange(window_px) - window_px // 2
    weights = np.exp(-0.5 * (offsets / sigma_px) ** 2)
    places = np.arange(side - window_px + 1)
    matrix = np.zeros((side, len(places)), np.float32)
    for offset, weight in enumerate(weights / weights.sum()):
        matrix[places + offset, places] = weight
    return matrix
