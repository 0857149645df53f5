"""uint8 images to what a network sees: random shifts and normalising, on the device, compiled into the step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


class Normalise(NamedTuple):
    """x ↦ (x / 255 − mean) / sd, channel by channel; `mean` and `sd` float32[C], in units of the full range 0..255."""

    mean: jax.Array
    sd: jax.Array

    def __call__(self, images: jax.Array) -> jax.Array:
        """uint8 or float images [N, H, W, C] in 0..255 -> float32 of the same shape."""
        return (images.astype(jnp.float32) / 255 - self.mean) / self.sd


def normalise_of(images: np.ndarray, floor: float = 1e-3) -> Normalise:
    """Mean and standard deviation of each channel over uint8 images [N, H, W, C]; an sd below `floor` becomes 1.

    Exact (from a histogram of the 256 values), on the host.
    """
    levels = np.arange(256) / 255
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    sd = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    return Normalise(np.float32(mean), np.float32(np.where(sd < floor, 1, sd)))


def random_shift(keys: jax.Array, images: jax.Array, radius_px: int) -> jax.Array:
    """Moves each image by up to ±`radius_px` in both directions, filling with zeros; one key an image.

    A key an image, not a batch: so the draw does not depend on how a batch is spread over devices.
    """
    if radius_px == 0:
        return images
    r = radius_px
    offsets = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * r + 1))(keys)
    padded = jnp.pad(images, ((0, 0), (r, r), (r, r), (0, 0)))

    def crop(image, offset):
        return lax.dynamic_slice(image, (offset[0], offset[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, offsets)
