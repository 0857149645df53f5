"""Lengths, directions and neighbours of feature vectors, in float32; no NaN arises from finite numbers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from adjax._numerics import EXACT, clipped
from adjax.types import Outputs

LIMIT = 1e15
"""Features are held within ± this, so that no square of one overflows to an inf − inf."""
ROWS = 256
"""Rows whose distances from all others are in memory at a time."""
_NEVER = -(2.0**126)
"""Below any −‖r‖² of rows within ±`LIMIT`; −∞ would be NaN where a product is made of parts."""
_STRIPS = 32
"""Strips that memory is cut into where the nearest alone is looked for."""


def within(outputs: Outputs, feature: str) -> jax.Array:
    """Reads an output in float32, clipped to ±1e15 so that infinities are finite.

    Args:
      outputs: named arrays.
      feature: name of the one to read, float[N, ...].

    Returns:
      float32[N, ...]; NaN stays NaN.
    """
    return clipped(outputs[feature].astype(jnp.float32), LIMIT)


def length(x: jax.Array) -> jax.Array:
    """float32[..., D] -> [...]; the gradient at zero is 0."""
    square = jnp.square(x).sum(-1)
    zero = square <= 0  # written so that NaN stays NaN
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def direction(x: jax.Array) -> jax.Array:
    """float32[..., D] -> the same of length 1; zeros stay zeros."""
    largest = lax.stop_gradient(jnp.abs(x).max(-1, keepdims=True))  # no square over- or underflows then
    x = x / jnp.where(largest == 0, 1, largest)
    size = length(x)[..., None]
    return x / jnp.where(size == 0, 1, size)


def directed(distance: jax.Array, x: jax.Array) -> jax.Array:
    """Replaces distances between directions by +inf where a feature is infinite.

    An infinity would outweigh all other features, as if the image had no others.

    Args:
      distance: float[N] or [N, K].
      x: float[N, D], the features.

    Returns:
      As `distance`; NaN stays NaN.
    """
    infinite = jnp.isinf(x).any(-1).reshape(-1, *[1] * (distance.ndim - 1))
    return jnp.where(infinite & ~jnp.isnan(distance), jnp.inf, distance)


def nearest(x: jax.Array, rows: jax.Array, known: jax.Array, k: int) -> jax.Array:
    """Finds the k nearest rows, nearest first, in memory that is flat in N.

    They are told by 2 x·r − ‖r‖², one matmul, whose error is 2⁻²³ of the largest square: subtract a large common
    offset before, and take the distances themselves from differences, after.

    Args:
      x: float32[N, D].
      rows: float32[M, D], M ≥ k.
      known: bool[M], rows that there are; others come last.
      k: static, ≥ 1.

    Returns:
      int32[N, k].
    """
    if k == 1:
        return _closest(x, rows, known)[:, None]
    square = jnp.where(known, jnp.square(rows).sum(-1), jnp.inf)

    def block(x: jax.Array) -> jax.Array:
        return lax.top_k(2 * jnp.matmul(x, rows.T, precision=EXACT) - square[None], k)[1]

    return _by_blocks(block, x)


def _closest(x: jax.Array, rows: jax.Array, known: jax.Array) -> jax.Array:
    """The nearest alone, int32[N]: of (x, 1) · (2 r, −‖r‖²), so that nothing is done to the product but compare it."""
    rows, known = (jnp.pad(y, [(0, -len(y) % _STRIPS)] + [(0, 0)] * (y.ndim - 1)) for y in (rows, known))
    square = jnp.where(known, jnp.square(rows).sum(-1), -_NEVER)
    both = jnp.concatenate([2 * rows, -square[:, None]], 1).T
    x = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1)
    return _by_blocks(lambda x: _first(jnp.matmul(x, both, precision=EXACT)), x)


def _by_blocks(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """A function of rows float32[n, D], on all of them in blocks."""
    n = x.shape[0]
    blocks = -(-n // ROWS)
    size = -(-n // max(blocks, 1)) if isinstance(n, int) else ROWS  # as even as can be, if it isn't a symbol
    x = jnp.pad(lax.stop_gradient(x), ((0, blocks * size - n), (0, 0))).reshape(blocks, size, x.shape[1])
    y = lax.map(function, x)
    return y.reshape(blocks * size, *y.shape[2:])[:n]


def _first(near: jax.Array) -> jax.Array:
    """A place int32[N] of the highest of float32[N, M], M a multiple of `_STRIPS`.

    A CPU compares strips lane by lane, and looks for a place in the highest of them and in what lies there in each
    strip; `argmax` and `top_k` of the whole go number by number.
    """
    strips = near.reshape(len(near), _STRIPS, near.shape[1] // _STRIPS)
    best = strips.max(1).argmax(-1)
    strip = jnp.take_along_axis(strips, best[:, None, None], 2)[:, :, 0].argmax(-1)
    return (strip * strips.shape[2] + best).astype(jnp.int32)
