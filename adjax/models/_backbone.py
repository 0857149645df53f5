"""Shared parts of the ImageNet networks: preparation of images, initialisers and pooling."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

CHANNELS = 3  # of every network with published weights
Sides = int | tuple[int, int] | None
"""What images are resized to: both sides, px; (height, width), px; None: they keep their own."""


def check(name: str, image_shape: tuple[int, int, int], classes: int, side_px: Sides, smallest_px: int = 1) -> None:
    """Refuses images that a network can't take.

    Args:
      name: of the network, for the message.
      image_shape: (height px, width px, channels): 1 (grey) or 3 channels.
      classes: of the head, at least 1.
      side_px: what images are resized to.
      smallest_px: the smallest side that the network takes.

    Raises:
      ValueError: any of these out of range.
    """
    height, width, channels = image_shape
    if channels not in (1, CHANNELS):
        raise ValueError(f"{name} takes grey (1) or RGB ({CHANNELS}) images, not {channels} channels")
    if classes < 1:
        raise ValueError(f"{classes} classes: {name} needs at least 1")
    seen = wanted(height, width, side_px)
    if min(seen) < 1:
        raise ValueError(f"side_px {side_px}: must be at least 1, or None for images as they are")
    if min(seen) < smallest_px:
        raise ValueError(
            f"{name} takes images of at least {smallest_px}×{smallest_px} px, not {seen[0]}×{seen[1]}: "
            f"enlarge them by side_px={max(smallest_px, 32)} or more"
        )


def wanted(height: int, width: int, side_px: Sides) -> tuple[int, int]:
    """(height px, width px) that images of height × width px are resized to."""
    if side_px is None:
        return height, width
    if isinstance(side_px, int):
        return side_px, side_px
    down, across = side_px
    return down, across


def prepare(images: jax.Array, side_px: Sides, multiple: int = 1) -> jax.Array:
    """Resizes images to the sides that a network takes, and repeats a grey channel three times.

    Bilinear, anti-aliased when it shrinks. A `Normalise` of three means has given three channels already.

    Args:
      images: float32[N, H, W, 1 or 3].
      side_px: what they are resized to; None: H and W.
      multiple: sides are rounded to the nearest multiple, at least one; of two equally near, the larger.

    Returns:
      float32[N, h, w, 3].
    """
    n, height, width, channels = images.shape
    sides = wanted(height, width, side_px)
    down, across = (max(1, (side + multiple // 2) // multiple) * multiple for side in sides)
    if (height, width) != (down, across):
        images = jax.image.resize(images, (n, down, across, channels), "bilinear")
    return jnp.broadcast_to(images, (*images.shape[:3], CHANNELS)) if channels == 1 else images


def dropout(module: nnx.Dropout, x: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
    """Applies dropout in training.

    Args:
      module: the layer.
      x: float[N, ...].
      rngs: keys; None, as in inference: x is returned as it is.

    Returns:
      As `x`.
    """
    return x if rngs is None else module(x, rngs=rngs)


def max_pool_3x3(x: jax.Array) -> jax.Array:
    """Maximum over the 3×3 windows that fit, 2 px apart, as slices: XLA's CPU pooling has a slow gradient."""
    for axis in (1, 2):
        out = (x.shape[axis] - 3) // 2 + 1
        parts = [lax.slice_in_dim(x, i, i + 2 * out - 1, 2, axis=axis) for i in range(3)]
        x = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
    return x
