"""What keeps digits and NaNs: exact products, a point to subtract before squaring, extremes; means; eigenvalues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
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


def highest(x: jax.Array, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """Computes the maximum, NaN where there is one.

    XLA's own on CPU loses NaNs in reducing 4,096 numbers or more (jaxlib 0.10.2 and 0.12.0.1).

    Args:
      x: float[...].
      axis: to reduce.

    Returns:
      Of the remaining shape.
    """
    return jnp.where(jnp.isnan(x).any(axis), jnp.nan, x.max(axis))


def at_least(x: jax.Array, low: Any) -> jax.Array:
    """The larger of x and a bound, float[...]; NaN stays NaN, which XLA's own maximum on CPU loses in some fusions."""
    return jnp.where(x < low, low, x)


def at_most(x: jax.Array, high: Any) -> jax.Array:
    """The smaller of x and a bound, as `at_least`."""
    return jnp.where(x > high, high, x)


def clipped(x: jax.Array, limit: float) -> jax.Array:
    """x in ±limit, as `at_least`."""
    return at_most(at_least(x, -limit), limit)


def place_of_highest(x: jax.Array) -> jax.Array:
    """Finds the first of the highest along the last axis, as `argmax` does, which goes number by number on a CPU.

    Args:
      x: float[..., K].

    Returns:
      int32[...]; of a row with a NaN any place.
    """
    last = x.shape[-1] - 1
    return jnp.where(x >= x.max(-1, keepdims=True), jnp.arange(last + 1, dtype=jnp.int32), last).min(-1)


def over_places(x: jax.Array) -> jax.Array:
    """Averages maps float[N, h, w, D] over all places, to [N, D]; rows [N, D] are returned as they are."""
    return x.mean(tuple(range(1, x.ndim - 1)))


def top_mean(maps: jax.Array, share: float) -> jax.Array:
    """Averages the highest share of each map, at least one value.

    Args:
      maps: float[N, ...].
      share: in [0, 1]; 0 is the maximum.

    Returns:
      float[N]; NaN for a map with a NaN.
    """
    flat = lax.collapse(maps, 1)
    count = max(round(share * flat.shape[1]), 1)
    found = flat.max(1) if count == 1 else lax.top_k(flat, count)[0].mean(1)
    return jnp.where(jnp.isnan(flat).any(1), jnp.nan, found)


def check_top(top: float) -> None:
    """Refuses a share that `top_mean` doesn't take, as a scorer's option `top`.

    Args:
      top: the share.

    Raises:
      ValueError: it lies outside of [0, 1].
    """
    if not 0 <= top <= 1:
        raise ValueError(f"top={top}: must be a share of the places in [0, 1]")


def lowest(x: jax.Array, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """Computes the minimum, NaN where there is one, see `highest`.

    Args:
      x: float[...].
      axis: to reduce.

    Returns:
      Of the remaining shape.
    """
    return jnp.where(jnp.isnan(x).any(axis), jnp.nan, x.min(axis))


def in_bfloat16s(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Splits numbers into three that add up to them exactly, if they are not beyond 1e38 or below 1e-30.

    A matmul with zeros and ones then takes three of the passes of an exact one's six.

    Args:
      x: float32[...].

    Returns:
      bfloat16 of the same shape, three times, the largest part first.
    """
    parts = []
    for _ in range(3):
        part = lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)  # a cast there and back may be left out
        parts.append(part.astype(jnp.bfloat16))
        x = x - part
    return parts[0], parts[1], parts[2]


def rows_at(place: jax.Array, rows: jax.Array) -> jax.Array:
    """Looks rows up: on a TPU, where one by one is slow, by matmuls with zeros and ones, which are exact.

    Args:
      place: int32[N], in 0 … M − 1.
      rows: float32[M, D], finite.

    Returns:
      float32[N, D].
    """
    return lax.platform_dependent(place, rows, tpu=multiplied_rows, default=lambda place, rows: rows[place])


def multiplied_rows(place: jax.Array, rows: jax.Array) -> jax.Array:
    """`rows_at` for a TPU.

    Args:
      place, rows: as there.

    Returns:
      The same.
    """
    # One product with the parts below each other: of three, the results would be written and read. Sums of neighbouring
    # parts are exact, so it doesn't matter where a device cuts the sum.
    m = len(rows)
    ones = (jnp.arange(3 * m)[None] % m == place[:, None]).astype(jnp.bfloat16)
    return jnp.matmul(ones, jnp.concatenate(in_bfloat16s(rows)), preferred_element_type=jnp.float32)


def held(x: jax.Array) -> jax.Array:
    """The same array; on a TPU written to its fast memory, if it fits, so that what it is made of is read once.

    The compiler would sooner make it again for each of its uses, and read its input from the main memory each time.

    Args:
      x: any array.

    Returns:
      The same.
    """
    return lax.platform_dependent(x, tpu=lax.optimization_barrier, default=lambda x: x)


def averaged(x: jax.Array, *, zeros: bool = False) -> jax.Array:
    """Averages maps over the 3 × 3 places around each: slices and sums, which any device is good at.

    Args:
      x: float[N, h, w, ...].
      zeros: places beyond the edge count, as zeros; else the mean is over those that there are.

    Returns:
      Of the same shape.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        ones = jnp.ones([size if a == axis else 1 for a in range(x.ndim)], x.dtype)
        x, count = _three(x, axis), _three(ones, axis)
        x = x / (3 if zeros else count)
    return x


def _three(x: jax.Array, axis: int) -> jax.Array:
    size = x.shape[axis]
    padded = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)])
    one, two, three = (lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(3))
    return one + two + three


def enlarged(maps: jax.Array, size: Sequence[int]) -> jax.Array:
    """Resizes maps, bilinear.

    Args:
      maps: float32[N, h, w].
      size: (H px, W px).

    Returns:
      float32[N, H, W].
    """
    if maps.shape[1:] == size:
        return maps
    rows, columns = map(_bilinear, maps.shape[1:], size)
    return jnp.einsum("ah,nhw,bw->nab", rows, maps, columns, precision=EXACT)


def _bilinear(few: int, many: int) -> np.ndarray:
    """Weights float32[many, few] of `jax.image.resize`, which jax2onnx converts for a known number of images only."""
    at = (np.arange(many) + 0.5) * few / many - 0.5
    hat = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(few)) / max(few / many, 1))
    return (hat / hat.sum(1, keepdims=True)).astype(np.float32)


def eigh(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices.

    On a TPU by Jacobi's rotations, which compile in seconds where JAX's own choice takes ten minutes, at 512 × 512;
    so a fit can't be exported for CPU and TPU in one artefact.

    Args:
      x: float32[..., D, D]; its symmetric part is decomposed.

    Returns:
      float32[..., D], and float32[..., D, D] with the eigenvectors as columns.
    """

    def jacobi(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        vectors, values = lax.linalg.eigh(x, implementation=lax.linalg.EighImplementation.JACOBI)
        return values, vectors

    def default(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        values, vectors = jnp.linalg.eigh(x)
        return values, vectors

    return lax.platform_dependent(x, cpu=_in_turn(default), tpu=jacobi, default=default)


def inverted_cholesky(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lower triangular L with x = L Lᵀ, and its inverse, of positive definite matrices.

    Args:
      x: float32[..., D, D].

    Returns:
      L and L⁻¹, float32[..., D, D]; NaN where x is not positive definite.
    """

    def of(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        lower = jnp.linalg.cholesky(x)
        unit = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)
        return lower, lax.linalg.triangular_solve(lower, unit, left_side=True, lower=True)

    return lax.platform_dependent(x, cpu=_in_turn(of), default=of)


def _in_turn(of: Callable[[jax.Array], Any]) -> Callable[[jax.Array], Any]:
    """`of` matrices one after another, under `vmap` too.

    jaxlib, seen in 0.10.2, decomposes several at once by the threads that XLA runs programs with, and waits for them on
    one of these. Where a program has more such calls than threads, all of them may wait, and for ever.
    """
    one = jax.custom_batching.sequential_vmap(of)

    def mapped(x: jax.Array) -> Any:
        if x.ndim == 2:
            return one(x)
        if len(x) == 1:
            return jax.tree.map(lambda y: y[None], mapped(x[0]))
        return lax.map(mapped, x)

    return mapped
