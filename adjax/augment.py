"""uint8 images to what a network sees: random changes, normalising; on the device, compiled into the step."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike


class Augment(NamedTuple):
    """Random changes to training images, drawn anew at each step: `augment(keys, images)`. All off by default.

    Done in the order: turn, mirror, crop, shift. Each draws from a key of its own, so switching one on changes no
    other's draws.

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
        """Changes each image by its own key.

        Args:
          keys: [N], one an image, so that no draw depends on how a batch is spread over devices.
          images: [N, H, W, C] in 0..255, uint8 or float32.

        Returns:
          The same shape; float32 if `crop_px` is set, else of the dtype that it was.

        Raises:
          ValueError: a negative number of pixels; a crop that may leave nothing; turning what is not square.
        """
        if self.rotate or self.flip_vertical or self.flip_horizontal:
            images = random_turn(keys, images, self.rotate, self.flip_vertical, self.flip_horizontal)
        return random_shift(keys, random_crop(keys, images, self.crop_px), self.shift_px)


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


# Streams of an image's key. `random_shift` takes the key itself, which JAX splits into the streams 0 and 1.
_ROTATE, _VERTICAL, _HORIZONTAL, _CROP = range(2, 6)


def random_turn(keys: jax.Array, images: jax.Array, rotate: bool, vertical: bool, horizontal: bool) -> jax.Array:
    """Turns each image by a random multiple of 90° and mirrors it at random; one key an image.

    Every such change is a transposition or none, then a mirroring of the rows or none, then of the columns or none:
    three selections, no gather and no branch.

    Args:
      keys: [N].
      images: [N, H, W, C], H = W if `rotate`.
      rotate: by 0, 90, 180 or 270°, each with probability ¼.
      vertical, horizontal: upside down, left to right, each with probability ½.

    Raises:
      ValueError: `rotate`, and H ≠ W.
    """
    if rotate and images.shape[1] != images.shape[2]:
        raise ValueError(f"images of {images.shape[1]}×{images.shape[2]} px can't be rotated: they must be square")

    def draw(stream, sides):  # a power of two, so a remainder favours no side
        return jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, stream)) % sides)(keys)[:, None, None, None]

    rows = draw(_VERTICAL, 2) == 1 if vertical else False
    columns = draw(_HORIZONTAL, 2) == 1 if horizontal else False
    if rotate:
        quarters = draw(_ROTATE, 4)
        images = jnp.where(quarters % 2 == 1, images.swapaxes(1, 2), images)
        rows ^= (quarters == 1) | (quarters == 2)
        columns ^= quarters >= 2
    if rotate or vertical:
        images = jnp.where(rows, images[:, ::-1], images)
    if rotate or horizontal:
        images = jnp.where(columns, images[:, :, ::-1], images)
    return images


def random_crop(keys: jax.Array, images: jax.Array, most_px: int) -> jax.Array:
    """Cuts 0 … `most_px` pixels from each side and resizes to the size before, bilinear; one key an image.

    Pixel i of H comes from place (i + ½) · h / H − ½ of the h that are left (half-pixel centers), at most from the
    middle of the outermost one. It is a product with one matrix for the rows and one for the columns, of two non-zeros
    a row: no gather.

    Args:
      keys: [N].
      images: [N, H, W, C], any real dtype.
      most_px: at least 0, below half of H and of W.

    Returns:
      float32[N, H, W, C]; `images` as they are if `most_px` is 0.

    Raises:
      ValueError: `most_px` out of its range.
    """
    height, width = images.shape[1:3]
    if most_px < 0:
        raise ValueError(f"crop of {most_px} px: must be 0 or more")
    if 2 * most_px >= min(height, width):
        raise ValueError(f"crop of {most_px} px from each side leaves nothing of {height}×{width} px: lower it")
    if most_px == 0:
        return images
    draw = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, _CROP), (4,), 0, most_px + 1))
    top, bottom, left, right = draw(keys).T
    images = images.astype(jnp.float32)
    down = _interpolation(top, height - bottom, height)
    across = _interpolation(left, width - right, width)
    exact = lax.Precision.HIGHEST
    images = jnp.einsum("nij,njwc->niwc", down, images, precision=exact)
    return jnp.einsum("nij,nhjc->nhic", across, images, precision=exact)


def _interpolation(first: jax.Array, end: jax.Array, size: int) -> jax.Array:
    """Weights [N, size, size] that stretch the pixels `first` … `end` − 1 over all `size`; int32[N] each."""
    to = jnp.arange(size)
    place = first[:, None] + (to + 0.5) * ((end - first)[:, None] / size) - 0.5
    place = jnp.clip(place, first[:, None], end[:, None] - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[:, :, None] - to))


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
