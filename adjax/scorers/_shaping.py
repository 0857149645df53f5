"""The share of an image's activations that its largest ones have: what ASH, SCALE and LTS scale by."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def share(pruned: float) -> None:
    """Checks a share of the features.

    Raises:
      ValueError: not in [0, 1).
    """
    if not 0 <= pruned < 1:
        raise ValueError(f"pruned {pruned} must lie in [0, 1)")


def count(dim: int, pruned: float) -> int:
    """How many of D features are left when that share is pruned; at least 1."""
    return max(dim - round(dim * pruned), 1)


def ratio(x: jax.Array, some: jax.Array, count: int | jax.Array) -> jax.Array:
    """Sum of all features over the sum of the largest.

    Made for features ≥ 0, for which it lies between 1 and D / count; others are held to that.

    Args:
      x: float32[N, D], features.
      some: float32[N, n], the largest; anything else in it is 0.
      count: how many are the largest; of each image, float32[N, 1], if they differ.

    Returns:
      float32[N, 1].
    """
    largest = lax.stop_gradient(jnp.abs(x).max(-1, keepdims=True))  # no quotient of what underflows
    unit = jnp.where(largest == 0, 1, largest)
    part = jnp.maximum((some / unit).sum(-1, keepdims=True), 1e-6)
    return jnp.clip((x / unit).sum(-1, keepdims=True) / part, 1, x.shape[-1] / count)
