"""Local statistics of a picture: sharpness, gradients, colour and contrast of each 4×4 cell, nothing learned.

    statistics(x)_p = log(1 + mean of |Δx|, |∂₁x|, |∂₂x|) at three scales, mean colour, log(1 + sd)    over cell p

A network that was trained to name things is trained to overlook a place that is a little too smooth. A Gaussian of
these statistics sees it; `experiments.made_defects` has what the two find together.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

CELL_PX = 4
LEVELS = 58.0
"""Grey levels in a deviation of an image normalised as ImageNet's are."""


def statistics(images: jax.Array) -> jax.Array:
    """Computes the statistics of each cell.

    Args:
      images: float[N, H, W, C], normalised, as a network takes them.

    Returns:
      float32[N, ⌈H/4⌉, ⌈W/4⌉, 10 + C].
    """
    x = images.astype(jnp.float32)
    grey = LEVELS * x.mean(-1)
    scales = [grey, once := _blurred(_blurred(grey, 1), 1), _blurred(once, 2)]
    edges = [jnp.abs(e) for g in scales for e in (_laplacian(g), _slope(g, 1), _slope(g, 2))]
    mean = _cells(jnp.concatenate([x, grey[..., None], jnp.square(grey)[..., None], jnp.stack(edges, -1)], -1))
    c = x.shape[-1]
    sd = jnp.sqrt(jnp.maximum(mean[..., c + 1] - jnp.square(mean[..., c]), 0))
    return jnp.concatenate([mean[..., :c], jnp.log1p(sd)[..., None], jnp.log1p(mean[..., c + 2 :])], -1)


def _cells(x: jax.Array) -> jax.Array:
    """Means over cells; the last ones are filled up with the edge."""
    n, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % CELL_PX), (0, -width % CELL_PX), (0, 0)), mode="edge")
    return x.reshape(n, x.shape[1] // CELL_PX, CELL_PX, x.shape[2] // CELL_PX, CELL_PX, channels).mean((2, 4))


def _shifted(x: jax.Array, axis: int, step: int) -> tuple[jax.Array, jax.Array]:
    """The neighbours `step` before and after along an axis; beyond the edge it is repeated."""
    padded = jnp.pad(x, [(step, step) if a == axis else (0, 0) for a in range(x.ndim)], mode="edge")
    size = x.shape[axis]
    return lax.slice_in_dim(padded, 0, size, axis=axis), lax.slice_in_dim(padded, 2 * step, 2 * step + size, axis=axis)


def _blurred(x: jax.Array, step: int) -> jax.Array:
    """Averaged by 1, 2, 1 along both axes, places `step` apart: variance step²/2."""
    for axis in (1, 2):
        before, after = _shifted(x, axis, step)
        x = (before + 2 * x + after) / 4
    return x


def _laplacian(x: jax.Array) -> jax.Array:
    return sum(sum(_shifted(x, axis, 1)) for axis in (1, 2)) - 4 * x


def _slope(x: jax.Array, axis: int) -> jax.Array:
    before, after = _shifted(x, axis, 1)
    return (after - before) / 2
