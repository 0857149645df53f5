"""The transposed of a convolution."""

from __future__ import annotations

import jax
from jax import lax

from adjax.nn._conv import NHWC
from adjax.nn._geometry import Geometry
from adjax.nn._matmul import as_matrix, dot, rounded
from adjax.nn._rounded import rounded_conv_transpose


def conv_transpose(
    lhs: jax.Array,
    rhs: jax.Array,
    strides: tuple[int, int],
    padding: tuple[tuple[int, int], tuple[int, int]],
    *,
    compute: jax.typing.DTypeLike | None = None,
) -> jax.Array:
    """The transposed of a convolution; on CPU one matmul, whose results are added where they overlap.

    Args:
      lhs: images, [N, h, w, O].
      rhs: kernel [kh, kw, C, O] of the convolution from C to O channels whose transposed this is.
      strides, padding: of that convolution: what it steps by, and pixels (low, high) that it adds to each side.
      compute: as in `conv_general_dilated`.

    Returns:
      [N, H, W, C] with H = (h − 1)·stride + kh − low − high; `jax.lax.conv_transpose` of `transpose_kernel` and a
      padding of (kh − 1 − low, kh − 1 − high). Kernel 4, stride 2, padding 1 double the sides.
    """
    (kh, kw, channels, _), (n, h, w, _) = rhs.shape, lhs.shape
    height, width = (
        (side - 1) * stride + k - sum(pads)
        for side, stride, k, pads in zip((h, w), strides, (kh, kw), padding, strict=True)
    )
    geometry = Geometry((n, height, width, channels), rhs.shape, (strides[0], strides[1]), tuple(padding))

    def xla(lhs, rhs):
        pads = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip((kh, kw), padding, strict=True)]
        images, kernel = rounded(compute, lhs), rounded(compute, rhs)
        y = lax.conv_transpose(images, kernel, strides, pads, dimension_numbers=NHWC, transpose_kernel=True)
        return y.astype(lhs.dtype)

    def matmul(lhs, rhs):
        if compute is not None:
            return rounded_conv_transpose(geometry, compute)(lhs, rhs)
        return geometry.scatter(dot(lhs.reshape(-1, lhs.shape[3]), as_matrix(rhs), 1, 1))

    return lax.platform_dependent(lhs, rhs, cpu=matmul, default=xla)
