"""A convolution as matmuls or sums of shifted slices: `tiled`, `winograd` and `depthwise`."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from adjax._numerics import EXACT
from adjax.nn._geometry import Geometry
from adjax.nn._matmul import as_matrix, matmul

_BT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_AT = ((1, 1, 1, 0), (0, 1, -1, -1))


def tiled(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], tile: tuple[int, int] = (1, 1), precision=None
) -> jax.Array:
    """VALID convolution as one matmul, a tile of output pixels a row.

    Args:
      x: [N, H, W, C].
      kernel: [kh, kw, C, O].
      strides: down, across.
      tile: (u, v), which divide the sides of the output.
      precision: of the matmul.

    Returns:
      [N, H_out, W_out, O].
    """
    geometry = Geometry(x.shape, kernel.shape, strides)
    if tile == (1, 1):
        return matmul(geometry.gather(x), as_matrix(kernel), precision).reshape(geometry.out_shape)
    n, height, width, features = geometry.out_shape
    places = [_places(k, side, stride) for k, side, stride in zip(kernel.shape, tile, strides, strict=False)]
    band = jnp.einsum("ijco,ihu,jwv->hwcuvo", kernel, *places, precision=EXACT).astype(kernel.dtype)
    (u, v), (seen_h, seen_w) = tile, band.shape[:2]
    down, across = height // u, width // v
    rows = shifted(x, seen_h, down, u * strides[0], axis=1)
    if across <= seen_w:  # a slice a tile, or one a column: the fewer
        starts = [t * v * strides[1] for t in range(across)]
        rows = [jnp.stack([lax.slice_in_dim(r, t, t + seen_w, axis=2) for t in starts], 2) for r in rows]
    else:
        rows = [jnp.stack(shifted(r, seen_w, across, v * strides[1], axis=2), 3) for r in rows]
    pixels = jnp.stack(rows, 3)
    y = matmul(pixels.reshape(n * down * across, -1), band.reshape(-1, u * v * features), precision)
    return y.reshape(n, down, across, u, v, features).swapaxes(2, 3).reshape(geometry.out_shape)


def _places(k: int, side: int, stride: int) -> np.ndarray:
    """float32[k, seen, side]: 1 where pixel `seen` meets place k of the kernel at output pixel `side` of a tile."""
    places = np.zeros((k, (side - 1) * stride + k, side), np.float32)
    for i in range(k):
        places[i, np.arange(side) * stride + i, np.arange(side)] = 1
    return places


def winograd(x: jax.Array, kernel: jax.Array, precision=None) -> jax.Array:
    """VALID 3×3 convolution of stride 1 as 16 matmuls, a tile of 2×2 output pixels a row: F(2×2, 3×3).

    With d the 4×4 pixels that a tile sees, g the kernel and ⊙ the product place by place, summed over the channels,

        y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A

    Each of the 4×4 places is a matmul [tiles, C] @ [C, O]: 4 multiply-adds a pixel and pair of channels instead of 9,
    and the rest additions. F(4×4, 3×3), with 2.25 of them, was measured no faster on VGG16's layers, and its rounding
    error ten times as large.

    Args:
      x: float32[N, H, W, C].
      kernel: float32[3, 3, C, O].
      precision: of the matmuls.

    Returns:
      float32[N, H − 2, W − 2, O]; tiles that stand out over an odd side are cut off.

    References:
      Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016).
    """
    (n, height, width), features = (x.shape[0], x.shape[1] - 2, x.shape[2] - 2), kernel.shape[3]
    down, across = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    rows = _combined(_BT, shifted(x, 4, down, 2, axis=1))
    pixels = [d.reshape(n * down * across, -1) for r in rows for d in _combined(_BT, shifted(r, 4, across, 2, axis=2))]
    kernels = [g for row in _combined(_G, list(kernel)) for g in _combined(_G, list(row))]
    products = [jnp.dot(d, g, precision=precision) for d, g in zip(pixels, kernels, strict=True)]
    columns = [_combined(_AT, products[j::4]) for j in range(4)]
    y = [_combined(_AT, row) for row in zip(*columns, strict=True)]
    pairs = [jnp.concatenate([pixel.reshape(n, down, across, features) for pixel in row], -1) for row in y]
    return jnp.stack(pairs, 2).reshape(n, 2 * down, 2 * across, features)[:, :height, :width]


def _combined(matrix: Sequence[Sequence[float]], arrays: Sequence[jax.Array]) -> list[jax.Array]:
    """The product of a matrix and a vector of arrays; what it multiplies by zero is not computed."""
    return [
        functools.reduce(operator.add, (a if c == 1 else c * a for c, a in zip(row, arrays, strict=True) if c))
        for row in matrix
    ]


def depthwise(x: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """VALID convolution of every channel by itself, summed in the dtype of the operands.

    Args:
      x: float[N, H, W, C].
      kernel: float[kh, kw, 1, C].
      strides: (down, across), ≥ 1.

    Returns:
      float[N, H_out, W_out, C].
    """
    kh, kw, _, _ = kernel.shape
    h_out, w_out = (x.shape[1] - kh) // strides[0] + 1, (x.shape[2] - kw) // strides[1] + 1
    y = jnp.zeros((x.shape[0], h_out, w_out, x.shape[3]), jnp.result_type(x, kernel))
    for i, row in enumerate(shifted(x, kh, h_out, strides[0], axis=1)):
        for j, column in enumerate(shifted(row, kw, w_out, strides[1], axis=2)):
            y = y + column * kernel[i, j, 0]
    return y


def shifted(x: jax.Array, kernel: int, out: int, stride: int, axis: int) -> list[jax.Array]:
    """The `kernel` strided slices of `x` along `axis` which a kernel of that length meets."""
    return [lax.slice_in_dim(x, i, i + (out - 1) * stride + 1, stride, axis=axis) for i in range(kernel)]
