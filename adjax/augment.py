"""Augmentation and normalisation of uint8 images, on the device, compiled into the training step.

Example:
  >>> images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
  >>> normalise_of(images)(images).ravel().tolist()
  [-1.0, 1.0]
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from adjax._numerics import EXACT
from adjax.data.io.scratch import Images

_COUNTED = 2**16
"""Pixels counted at a time: their copy stays in the cache, and most of the time went into writing a larger one."""


class Augment(NamedTuple):
    """Random changes to training images, drawn again at each step: `augment(keys, images)`. All off by default.

    Done in the order: quarter turn, mirror, crop, warp (rotation, scale, elastic), shift. Each draws from a key of its
    own, so switching one on changes no other's draws.

    Attributes:
      shift_px: moved by up to this many pixels both ways, filled with zeros.
      flip_horizontal, flip_vertical: mirrored, each with probability ½.
      rotate: turned by 0, 90, 180 or 270°, each with probability ¼; images must be square.
      crop_px: 0 … `crop_px` pixels cut from each side, resized (bilinear) to the size before.
      rotation_deg: turned about the middle by up to this many degrees either way, filled with zeros; below 180.
      scale: made larger or smaller and sheared, by up to such a share in each direction; below ½.
      elastic_px: bent, by up to this many pixels both ways.
    """

    shift_px: int = 0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    rotate: bool = False
    crop_px: int = 0
    rotation_deg: float = 0.0
    scale: float = 0.0
    elastic_px: float = 0.0

    def __call__(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """Changes each image by its own key.

        Args:
          keys: [N], one per image, so that no draw depends on how a batch is spread over devices.
          images: [N, H, W, C] in 0..255, uint8 or float32.

        Returns:
          The same shape; float32 if cropped or warped, else of the dtype that it was.

        Raises:
          ValueError: a number out of its range; a crop that may leave nothing; a quarter turn of what is not square.
        """
        if self.rotate or self.flip_vertical or self.flip_horizontal:
            images = random_turn(keys, images, self.rotate, self.flip_vertical, self.flip_horizontal)
        images = random_crop(keys, images, self.crop_px)
        images = random_warp(keys, images, self.rotation_deg, self.scale, self.elastic_px)
        return random_shift(keys, images, self.shift_px)


class Normalise(NamedTuple):
    """x ↦ (x / 255 − mean) / sd, channel by channel; `mean` and `sd` float32[C]."""

    mean: ArrayLike
    sd: ArrayLike

    def __call__(self, images: jax.Array) -> jax.Array:
        """uint8 or float images [N, H, W, C] in 0..255 -> float32 of the same shape."""
        return (images.astype(jnp.float32) / 255 - self.mean) / self.sd


def normalise_of(images: np.ndarray, floor: float = 1e-3) -> Normalise:
    """Computes mean and standard deviation of each channel; an sd below `floor` becomes 1.

    Exact (from a histogram of the 256 values), on the host.

    Args:
      images: uint8[N, H, W, C], N ≥ 1.
      floor: least standard deviation, in units of 0..1.

    Returns:
      A `Normalise` to mean 0 and standard deviation 1.

    Raises:
      ValueError: no image, another dtype or another rank.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"images {images.dtype}{list(images.shape)}: must be uint8 [N, H, W, C]")
    if images.size == 0:
        raise ValueError("images is empty: give at least 1 image")
    levels = np.arange(256) / 255
    counts = np.stack([_histogram(images[..., c].reshape(-1)) for c in range(images.shape[-1])])
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ levels
    sd = np.sqrt(np.maximum(share @ levels**2 - mean**2, 0))
    return Normalise(mean.astype(np.float32), np.where(sd < floor, 1, sd).astype(np.float32))


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """How often uint8[n] has each of the 256 values, part by part: NumPy counts in a copy of 8 bytes a pixel."""
    starts = range(0, len(pixels), _COUNTED)
    return np.sum([np.bincount(pixels[i : i + _COUNTED], minlength=256) for i in starts], axis=0)


def normalise_for(input_range: str, images: Images) -> Normalise:
    """The normalisation to the range that a method takes, see `adjax.types.Method.input_range`.

    Args:
      input_range: "standard", "unit" or "signed".
      images: the training images, uint8[N, H, W, C], N ≥ 1.

    Returns:
      The `Normalise`.

    Raises:
      ValueError: another range; images as `normalise_of`.
    """
    if input_range == "standard":
        return normalise_of(np.asarray(images))
    constants = {"unit": (0.0, 1.0), "signed": (0.5, 0.5)}
    if input_range not in constants:
        raise ValueError(f"input_range {input_range!r}: must be 'standard', 'unit' or 'signed'")
    return Normalise(*(np.full(images.shape[-1], c, np.float32) for c in constants[input_range]))


# Streams of an image's key. `random_shift` takes the key itself, which JAX splits into the streams 0 and 1.
_ROTATE, _VERTICAL, _HORIZONTAL, _CROP, _TURN, _STRETCH, _BEND = range(2, 9)


def random_turn(keys: jax.Array, images: jax.Array, rotate: bool, vertical: bool, horizontal: bool) -> jax.Array:
    """Turns each image by a random multiple of 90° and mirrors it at random; one key per image.

    Every such change is a transposition or none, then a mirroring of the rows or none, then of the columns or none:
    three selections, no gather and no branch.

    Args:
      keys: random keys [N].
      images: [N, H, W, C], H = W if `rotate`.
      rotate: by 0, 90, 180 or 270°, each with probability ¼.
      vertical, horizontal: upside down, left to right, each with probability ½.

    Returns:
      As `images`.

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
    """Cuts 0 … `most_px` pixels from each side and resizes to the size before, bilinear; one key per image.

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
    images = jnp.einsum("nij,njwc->niwc", down, images, precision=EXACT)
    return jnp.einsum("nij,nhjc->nhic", across, images, precision=EXACT)


def _interpolation(first: jax.Array, end: jax.Array, size: int) -> jax.Array:
    """Weights [N, size, size] that stretch the pixels `first` … `end` − 1 over all `size`; int32[N] each."""
    to = jnp.arange(size)
    place = first[:, None] + (to + 0.5) * ((end - first)[:, None] / size) - 0.5
    place = jnp.clip(place, first[:, None], end[:, None] - 1)
    return jnp.maximum(0, 1 - jnp.abs(place[:, :, None] - to))


_KNOTS = 4
"""Points per side, from edge to edge, for which bends are drawn; between them they are interpolated."""


def random_warp(keys: jax.Array, images: jax.Array, rotation_deg: float, scale: float, elastic_px: float) -> jax.Array:
    """Turns, stretches, shears and bends each image, filling with zeros; one key per image.

    Pixel p, counted from the middle, comes from place R (I + E) p + d(p), bilinear: R turns by an angle in
    ±`rotation_deg`, the four entries of E lie in ±`scale`, and d is bilinear between its values at 4×4 points, which
    lie in ±`elastic_px`; each of these numbers is uniform. Small turns and bends are how Simard, Steinkraus and Platt
    ("Best practices for convolutional neural networks applied to visual document analysis", ICDAR 2003) made digits
    out of digits.

    Args:
      keys: [N].
      images: [N, H, W, C], any real dtype; zeros beyond their edges.
      rotation_deg: in [0, 180).
      scale: in [0, ½), so that nothing is turned inside out.
      elastic_px: at least 0, pixels.

    Returns:
      float32[N, H, W, C]; `images` as they are if all three are 0.

    Raises:
      ValueError: one of the three out of its range.
    """
    limits = {"rotation_deg": (rotation_deg, 180), "scale": (scale, 0.5), "elastic_px": (elastic_px, jnp.inf)}
    for name, (value, limit) in limits.items():
        if not 0 <= value < limit:
            raise ValueError(f"{name} {value}: must be at least 0 and below {limit}")
    if rotation_deg == scale == elastic_px == 0:
        return images

    def draw(stream, shape, most):  # of no range, zeros
        own = jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
        return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32, -most, most))(own)

    height, width = images.shape[1:3]
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y, x = jnp.arange(height)[:, None] - middle_y, jnp.arange(width) - middle_x
    e = draw(_STRETCH, (4, 1, 1), scale)
    y, x = (1 + e[:, 0]) * y + e[:, 1] * x, e[:, 2] * y + (1 + e[:, 3]) * x
    angle = jnp.deg2rad(draw(_TURN, (1, 1), rotation_deg))
    y, x = jnp.cos(angle) * y - jnp.sin(angle) * x, jnp.sin(angle) * y + jnp.cos(angle) * x
    if elastic_px > 0:
        down, across = _between_knots(height), _between_knots(width)
        knots = draw(_BEND, (2, _KNOTS, _KNOTS), elastic_px)
        d = jnp.einsum("hk,nakl,wl->anhw", down, knots, across, precision=EXACT)
        y, x = y + d[0], x + d[1]
    return _sampled(images.astype(jnp.float32), y + middle_y, x + middle_x)


def _between_knots(size: int) -> jax.Array:
    """float32[size, _KNOTS]: what each knot weighs at each of `size` pixels."""
    place = jnp.linspace(0, _KNOTS - 1, size)
    return jnp.maximum(0, 1 - jnp.abs(place[:, None] - jnp.arange(_KNOTS)))


def _sampled(images: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Bilinear values of float32[N, H, W, C] at places float32[N, H, W], zeros beyond the edges: four gathers."""
    n, height, width, channels = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0))).reshape(-1, channels)
    y, x = jnp.clip(y, -1, height) + 1, jnp.clip(x, -1, width) + 1  # places in the padded image
    top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    first = (jnp.arange(n)[:, None, None] * (height + 3) + top) * (width + 3) + left
    down, right = (y - top)[..., None], (x - left)[..., None]

    def pixel(rows, columns):
        return padded.at[first + rows * (width + 3) + columns].get(mode="promise_in_bounds")

    above = (1 - right) * pixel(0, 0) + right * pixel(0, 1)
    below = (1 - right) * pixel(1, 0) + right * pixel(1, 1)
    return (1 - down) * above + down * below


def random_shift(keys: jax.Array, images: jax.Array, radius_px: int) -> jax.Array:
    """Moves each image by up to ±`radius_px` in both directions, filling with zeros; one key per image.

    With a key per image, draws do not depend on how a batch is spread over devices.

    Args:
      keys: random keys [N].
      images: [N, H, W, C].
      radius_px: ≥ 0, static.

    Returns:
      As `images`.

    Raises:
      ValueError: a negative radius.
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
