"""Convolution and pooling: one meaning, the lowering that is fast on the device it runs on.

`conv_general_dilated` has the signature and the values of `jax.lax.conv_general_dilated`, so it is what
`flax.nnx.Conv(conv_general_dilated=...)` takes. On accelerators it *is* XLA's convolution. On CPU XLA's
convolutions are slow for small images and few channels (and slower still inside a loop), so plain NHWC
convolutions become matmuls there:

* `banded`: the whole image row is one vector; the kernel becomes a banded matrix [kh·W·C, W_out·O] and a
  convolution one matmul on kh stacked rows. W/kw times the arithmetic, far less memory traffic: wins where
  images are narrow.
* `im2col`: kh·kw shifted copies of the image side by side, one matmul with the kernel [kh·kw·C, O].

Which of them follows from shapes alone (`_form`). Whether at all is decided while lowering
(`jax.lax.platform_dependent`), never by asking which device is there: one traced, exported program serves all
platforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_NHWC = ("NHWC", "HWIO", "NHWC")
_MACS_PER_COPY = 64
"""Multiply-adds that take as long as copying one float, on an AVX-512 CPU; `banded` trades them."""
_MAX_COLUMNS = 2**19
"""Floats an image that `im2col` may write; larger images would fill the memory with copies of themselves."""


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers=None,
    feature_group_count: int = 1,
    precision=None,
    **options,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, lowered to matmuls on CPU where that is faster.

    Args:
      lhs: images, [N, H, W, C] for the fast lowerings; any layout that `dimension_numbers` names otherwise.
      rhs: kernel, [kh, kw, C, O] for the fast lowerings.
      window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, precision:
        as in `jax.lax.conv_general_dilated`.
      **options: passed on (`preferred_element_type`, …); any that is not None selects XLA's convolution.

    Returns:
      [N, H_out, W_out, O]; equal to XLA's up to float rounding, gradients too. A NaN or infinite pixel may
      spoil more of its own image than the windows it lies in; never another image.

    Raises:
      TypeError, ValueError, RuntimeError: as `jax.lax.conv_general_dilated`.
    """

    def xla(lhs, rhs):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
            **options,
        )

    out = jax.eval_shape(xla, lhs, rhs)  # refuses whatever XLA refuses, in the same words
    plain = (
        lhs.ndim == 4
        and feature_group_count == 1
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and _is_nhwc(lhs.shape, rhs.shape, dimension_numbers)
        and all(v is None for v in options.values())
        and 0 not in (*out.shape[1:], *rhs.shape)
    )
    if not plain:
        return xla(lhs, rhs)
    strides = tuple(window_strides)
    pads = padding
    if isinstance(pads, str):
        pads = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, pads)
    form = _form(out.shape, rhs.shape, width=lhs.shape[2] + sum(pads[1]))
    if form is None:
        return xla(lhs, rhs)

    def matmul(lhs, rhs):
        border = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
        return form(lax.pad(lhs, jnp.zeros((), lhs.dtype), border), rhs, strides, precision)

    return lax.platform_dependent(lhs, rhs, cpu=matmul, default=xla)


def _form(out: Sequence[int], kernel: Sequence[int], width: int) -> Callable | None:
    """The matmul form that suits a convolution, or None for XLA's own.

    An output row costs im2col kh·kw·C·W_out·(copy + O) and banded kh·C·W_out·(copy + W·O), so banded is
    faster if O·(W − kw) ≤ (kw − 1)·copy, with the cost of a copy in multiply-adds. Of 15 shapes measured
    forwards and backwards, from LeNet's to 226 px, this chose the faster of the two in 14, and lost 2 % once.
    """
    kh, kw, channels, features = kernel
    if features * (width - kw) <= _MACS_PER_COPY * (kw - 1):
        return banded
    return im2col if out[1] * out[2] * kh * kw * channels <= _MAX_COLUMNS else None


def banded(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], precision=None) -> jax.Array:
    """VALID convolution as a banded matmul over whole rows. x [N, H, W, C], kernel [kh, kw, C, O]."""
    n, height, width, channels = x.shape
    kh, kw, _, features = kernel.shape
    h_out, w_out = (height - kh) // strides[0] + 1, (width - kw) // strides[1] + 1
    # place[j, w, v] = 1 where input column w meets kernel column j at output column v
    place = np.zeros((kw, width, w_out), np.float32)
    for j in range(kw):
        place[j, np.arange(w_out) * strides[1] + j, np.arange(w_out)] = 1
    band = jnp.einsum("ijco,jwv->iwcvo", kernel, place.astype(x.dtype), precision=lax.Precision.HIGHEST)
    rows = jnp.stack(_shifted(x, kh, h_out, strides[0], axis=1), axis=2)  # [N, h_out, kh, W, C]
    rows = rows.reshape(n * h_out, kh * width * channels)
    y = jnp.dot(rows, band.reshape(kh * width * channels, w_out * features), precision=precision)
    return y.reshape(n, h_out, w_out, features)


def im2col(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], precision=None) -> jax.Array:
    """VALID convolution as one matmul over gathered patches. x [N, H, W, C], kernel [kh, kw, C, O]."""
    n, height, width, channels = x.shape
    kh, kw, _, features = kernel.shape
    h_out, w_out = (height - kh) // strides[0] + 1, (width - kw) // strides[1] + 1
    patches = [
        column
        for row in _shifted(x, kh, h_out, strides[0], axis=1)
        for column in _shifted(row, kw, w_out, strides[1], axis=2)
    ]
    columns = jnp.concatenate(patches, axis=-1).reshape(n * h_out * w_out, kh * kw * channels)
    y = jnp.dot(columns, kernel.reshape(kh * kw * channels, features), precision=precision)
    return y.reshape(n, h_out, w_out, features)


@jax.custom_jvp
def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2×2 blocks, [N, H, W, C] -> [N, H//2, W//2, C]; an odd last row or column is dropped.

    The gradient goes to the first of equal maxima, as in XLA's own pooling, but as a mask instead of a
    scatter (measured 3 times faster on CPU). NaN in a block gives NaN.
    """
    a, b, c, d = _blocks(x)
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))


@max_pool_2x2.defjvp
def _max_pool_2x2_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    y = max_pool_2x2(x)
    a, b, c, _ = _blocks(x)
    ta, tb, tc, td = _blocks(t)
    return y, jnp.where(a == y, ta, jnp.where(b == y, tb, jnp.where(c == y, tc, td)))


def _blocks(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The four corners of all 2×2 blocks, in reading order."""
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2, 2, width // 2, 2, channels)
    return x[:, :, 0, :, 0], x[:, :, 0, :, 1], x[:, :, 1, :, 0], x[:, :, 1, :, 1]


def _shifted(x: jax.Array, kernel: int, out: int, stride: int, axis: int) -> list[jax.Array]:
    """The `kernel` strided slices of `x` along `axis` which a kernel of that length meets."""
    return [lax.slice_in_dim(x, i, i + (out - 1) * stride + 1, stride, axis=axis) for i in range(kernel)]


def _is_nhwc(lhs_shape, rhs_shape, dimension_numbers) -> bool:
    given = lax.conv_dimension_numbers(lhs_shape, rhs_shape, dimension_numbers)
    return given == lax.conv_dimension_numbers(lhs_shape, rhs_shape, _NHWC)
