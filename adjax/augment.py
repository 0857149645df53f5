"""uint8 images to what a network sees: random shifts, normalising; on the device, compiled into the step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike


class Augment(NamedTuple):
    """Random changes to training images, drawn anew at each step: `augment(keys, images)`. All off by default.

    Attributes:
      shift_px: moved by up to so many pixels both ways, filled with zeros.
      flip_horizontal, flip_vertical: mirrored, each with probability ½.
      rotate: turned by 0, 90, 180 or 270°, each with probability ¼; images must be square.
      crop_px: 0 … so many pixels cut from each side, resized (bilinear) to the size before.
    """

    shift_px: int = 0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotate: bool = False
    crop_px: int = 0

    def __call__(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """`keys` [N], one an image, so that no draw depends on how a batch is spread over devices; images
        uint8[N, H, W, C] -> the same shape, uint8 or float32 in 0..255."""
        return random_shift(keys, images, self.shift_px)


class Normalise(NamedTuple):
    """x ↦ (x / 255 − mean) / sd, channel by channel; `mean` and `sd` float32[C]."""

    mean: ArrayLike
    sd: ArrayLike

    def __call__(self, images: jax.Array) -> jax.Array:
        """uint8 or float images [N, H, W, C] in 0..255 -> float32 of the same shape."""
        return (images.astype(jnp.float32) / 255 - self.mean) / self.sd


def normalise_of(images: np.ndarray, floor: float = 1e-3) -> Normalise:
    """Mean and deviation of each channel over uint8 images [N, H, W, C]; an sd below `floor` becomes 1.

    Exact (from a histogram of the 256 values), on the host.

    Raises:
      ValueError: no image, another dtype or another rank.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images {images.dtype}{list(images.shape)}: must be uint8 [N, H, W, C]")
    if images.size == 0:
        raise ValueError("no image has no mean: give at least 1")
    levels = np.arange(256) / 255
    counts = np.stack([np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])])
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    sd = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    return Normalise(mean.astype(np.float32), np.where(sd < floor, 1, sd).astype(np.float32))


def normalise_for(pixels: str, images: np.ndarray) -> Normalise:
    """The normalisation to the range that a method takes, see `adjax.types.Method.pixels`.

    Args:
      pixels: "standard", "unit" or "signed".
      images: the training images, uint8[N, H, W, C], N ≥ 1.

    Raises:
      ValueError: another range; images as `normalise_of`.
    """
    if pixels == "standard":
        return normalise_of(images)
    constants = {"unit": (0.0, 1.0), "signed": (0.5, 0.5)}
    if pixels not in constants:
        raise ValueError(f"pixels {pixels!r}: must be 'standard', 'unit' or 'signed'")
    return Normalise(*(np.full(images.shape[-1], c, np.float32) for c in constants[pixels]))


def random_shift(keys: jax.Array, images: jax.Array, radius_px: int) -> jax.Array:
    """Moves each image by up to ±`radius_px` in both directions, filling with zeros; one key an image.

    A key an image, not a batch: so the draw does not depend on how a batch is spread over devices.
    """
    if radius_px < 0:
        raise ValueError(f"shift of {radius_px} px: must be 0 or more")
    if radius_px == 0:
        return images
    r = radius_px
    offsets = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2 * r + 1))(keys)
    padded = jnp.pad(images, ((0, 0), (r, r), (r, r), (0, 0)))

    def crop(image, offset):
        return lax.dynamic_slice(image, (offset[0], offset[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, offsets)
