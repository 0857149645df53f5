"""What keeps the digits of float32: exact matrix products, and a point to subtract before sums of squares."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

EXACT = lax.Precision.HIGHEST
"""Of a matrix product, in which accelerators round the inputs to fewer bits otherwise."""


def anchor_of(x: jax.Array, count: jax.Array) -> jax.Array:
    """Computes the mean of rows, to 16 bits.

    A compiler computes a mean again in each loop that it is fused into. Where the mean is subtracted, the product with
    1/n may never be rounded to float32: what one loop subtracted differed from what another stored, and class means
    near 10,000 were off by 5e-4. To 16 bits it is one number wherever it is computed, and differences from it are
    exact.

    Args:
      x: float32[N, D]; rows that don't count are zeros.
      count: float32[], how many count; of none, the anchor is zero.

    Returns:
      float32[D].
    """
    return lax.reduce_precision(x.sum(0) / jnp.maximum(count, 1), exponent_bits=8, mantissa_bits=16)
