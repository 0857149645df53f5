"""Structural similarity of two images in local brightness, contrast and structure.

Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity" (IEEE
Transactions on Image Processing 2004), equation 13, under a Gaussian window of 11×11 px with σ = 1.5 px:

    SSIM = (2 μ_x μ_y + c₁)(2 σ_xy + c₂) / ((μ_x² + μ_y² + c₁)(σ_x² + σ_y² + c₂)),  c₁ = (0.01 L)², c₂ = (0.03 L)²

averaged over all windows that lie within the image.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax.losses.blur import bands, separable


def ssim(
    x: jax.Array, y: jax.Array, *, data_range: float = 1.0, window_px: int = 11, sigma_px: float = 1.5
) -> jax.Array:
    """Mean structural similarity of each pair of images.

    Args:
      x, y: float32[N, H, W, C], both sides at least `window_px`.
      data_range: L, the largest minus the smallest value that a pixel can have, > 0.
      window_px: side of the window, odd.
      sigma_px: standard deviation of the window, > 0.

    Returns:
      float32[N] in [−1, 1]; 1 = equal.

    Raises:
      ValueError: images of unlike shapes or smaller than the window; an even window; a range or deviation of zero.
    """
    if x.shape != y.shape or x.ndim != 4:
        raise ValueError(f"images of shapes {x.shape} and {y.shape}: must be the same [N, H, W, C]")
    height, width = x.shape[1:3]
    if window_px % 2 == 0 or not 0 < window_px <= min(height, width):
        raise ValueError(f"a window of {window_px} px: must be odd and at most the {min(height, width)} px of a side")
    if data_range <= 0 or sigma_px <= 0:
        raise ValueError(f"data range {data_range}, σ {sigma_px} px: both must be positive")
    down, across = (bands(side, window_px, sigma_px) for side in (height, width))
    moments = jnp.stack([x, y, x * x, y * y, x * y])  # all five in the same two matmuls
    mean_x, mean_y, xx, yy, xy = separable(moments, down, across)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    brightness = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * (xy - mean_x * mean_y) + c2) / (xx - mean_x**2 + yy - mean_y**2 + c2)
    return (brightness * structure).mean((1, 2, 3))
