"""Gamma correction of images for one-class methods, so that bright ones count no more than dim."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def powered(images: jax.Array, gamma: float) -> jax.Array:
    """Raises pixels to a power; at 0 the slope is 0, where a root has none.

    Args:
      images: float[N, H, W, C] in 0..1.
      gamma: exponent > 0; 1 changes nothing.

    Returns:
      As `images`.
    """
    if gamma == 1:
        return images
    none = images <= 0  # written so that NaN stays NaN
    return jnp.where(none, 0, jnp.where(none, 1, images) ** gamma)


def contrast_normalised(images: jax.Array) -> jax.Array:
    """Each image minus its mean, over its mean absolute deviation (at least 0.001); float32[N, H, W, C]."""
    centred = images - images.mean((1, 2, 3), keepdims=True)
    return centred / jnp.maximum(jnp.abs(centred).mean((1, 2, 3), keepdims=True), 1e-3)
