"""Histograms of oriented gradients: hand-made features, nothing to train.

Dalal & Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005). Central differences give each pixel
a gradient; each cell sums gradient lengths by direction, in bins of 180°/orientations; each block of cells, one at
every cell, is scaled to length 1, cut off at 0.2 and scaled again (L2-Hys). With several channels, a pixel counts the
channel with the longest gradient.

A direction's bin is found by the signs of cross products with the bins' edges, so there is no arctangent: exact at the
edges where pixel values put it, and several times faster.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from adjax._numerics import at_most

_EPS = 1e-5
_CLIP = 0.2
_SLACK = 3e-5
"""In radians: what rounding does to the direction of a gradient of one grey level in 255, over-estimated."""


def coarse(side: int) -> dict[str, int]:
    """Options for eight cells a side, whatever the size of the image: 784 features.

    With the default cells of 4 px an image of 64 px has 8,100, whose covariance takes minutes to decompose.

    Args:
      side: of the images, px.

    Returns:
      Keyword arguments of `HOG`.
    """
    return {"cell_px": max(side // 8, 2), "block_cells": 2, "orientations": 4}


class HOG(nnx.Module):
    """Images float32[N, H, W, C], of any range -> `features`, see `__call__`.

    `cell_px` pixels a cell's side, `block_cells` cells a block's side, `orientations` bins in 180°. Pixels beyond the
    last whole cell are left out. The scale of pixel values matters only to blocks that are almost flat.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        *,
        rngs: nnx.Rngs,
        cell_px: int = 4,
        block_cells: int = 2,
        orientations: int = 9,
    ):
        del classes, rngs
        height, width, _ = image_shape
        if min(cell_px, block_cells, orientations) < 1:
            raise ValueError(
                f"cell_px={cell_px}, block_cells={block_cells}, orientations={orientations}: must all be at least 1"
            )
        if min(height, width) < cell_px * block_cells:
            raise ValueError(
                f"HOG with blocks of {block_cells}×{block_cells} cells of {cell_px} px takes images of at least "
                f"{cell_px * block_cells} px a side, not {height}×{width}: take smaller cells"
            )
        self.cell_px, self.block_cells, self.orientations = cell_px, block_cells, orientations

    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """`features` [N, D] in 0..1, D = blocks down × blocks across × block_cells² × orientations."""
        down, across = _gradient(images)
        length = jnp.where((down == 0) & (across == 0), 0, jnp.sqrt(_positive(down**2 + across**2)))
        beyond = _beyond(down, across, self.orientations)
        bins = zip(beyond, [*beyond[1:], jnp.zeros_like(beyond[0])], strict=True)
        cells = jnp.stack([self._cells(jnp.where(low & ~high, length, 0)) for low, high in bins], -1)
        size = self.block_cells
        rows, columns = (n - size + 1 for n in cells.shape[1:3])
        shifted = [cells[:, i : i + rows, j : j + columns] for i in range(size) for j in range(size)]
        blocks = jnp.concatenate(shifted, -1)
        blocks = _unit(at_most(_unit(blocks), _CLIP))
        return {"features": blocks.reshape(blocks.shape[0], -1)}

    def _cells(self, x: jax.Array) -> jax.Array:
        """Means over cells, [N, rows, columns]."""
        n, height, width = x.shape
        side = self.cell_px
        rows, columns = height // side, width // side
        x = x[:, : rows * side, : columns * side].reshape(n, rows, side, columns, side)
        return x.mean((2, 4))


def _gradient(images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences down and across, [N, H, W] each, of the steepest channel (the first of equals); 0 at the border."""
    inner = images[:, 2:] - images[:, :-2]
    down = jnp.pad(inner, [(0, 0), (1, 1), (0, 0), (0, 0)])
    inner = images[:, :, 2:] - images[:, :, :-2]
    across = jnp.pad(inner, [(0, 0), (0, 0), (1, 1), (0, 0)])
    if images.shape[-1] == 1:
        return down[..., 0], across[..., 0]
    square = down**2 + across**2
    best = square.max(-1, keepdims=True)
    # Whole grey levels often tie, and rounding must not choose: as long as the longest, but for what it may add.
    rounding = 2.0**-21 * jnp.abs(images).max((1, 2, 3), keepdims=True)
    steepest = jnp.argmax(square >= best - rounding * jnp.sqrt(best), -1, keepdims=True)
    down, across = (jnp.take_along_axis(x, steepest, -1)[..., 0] for x in (down, across))
    return down, across


def _beyond(down: jax.Array, across: jax.Array, orientations: int) -> list[jax.Array]:
    """For each edge i · 180°/orientations, whether the direction, taken modulo 180°, has reached it."""
    turned = (down < 0) | ((down == 0) & (across < 0))
    down, across = jnp.where(turned, -down, down), jnp.where(turned, -across, across)
    slack = _SLACK * (down + jnp.abs(across))
    beyond = [jnp.ones_like(turned)]
    for i in range(1, orientations):
        angle = math.pi * i / orientations
        cross = math.cos(angle) * down - math.sin(angle) * across
        # Whole grey levels lie exactly on edges at multiples of 45°, and rounding must not push them off.
        beyond.append(cross >= (-slack if 4 * i % orientations == 0 else 0))
    return beyond


def _unit(blocks: jax.Array) -> jax.Array:
    return blocks / jnp.sqrt(jnp.square(blocks).sum(-1, keepdims=True) + _EPS**2)


def _positive(x: jax.Array) -> jax.Array:
    """Zeros made ones, so that the gradient of a square root is finite where it isn't used."""
    return jnp.where(x == 0, 1, x)
