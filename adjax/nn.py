"""Convolution and pooling: one meaning, the lowering that is fast on the device it runs on.

`conv_general_dilated` has the signature and the values of `jax.lax.conv_general_dilated`, so it is what
`flax.nnx.Conv(conv_general_dilated=...)` takes. On accelerators it *is* XLA's convolution. On CPU XLA's
convolutions are slow for small images and few channels (and slower still inside a loop), so plain NHWC
convolutions become matmuls there:

* `banded`: the whole image row is one vector; the kernel becomes a banded matrix [kh·W·C, W_out·O] and a
  convolution one matmul on kh stacked rows. W/kw times the arithmetic, far less memory traffic: wins where
  images are narrow.
* `im2col`: kh·kw shifted copies of the image side by side, one matmul with the kernel [kh·kw·C, O].
* `depthwise`, where every channel has a kernel of its own: kh·kw shifted slices, multiplied and added, no matmul.

`conv_transpose` is `jax.lax.conv_transpose` in the same way: one matmul, whose results are added where they overlap.
Both take `compute=jnp.bfloat16`: operands rounded, sums in float32, forwards and in both gradients. CPUs with matrix
units for it were measured 4 times as fast so.

Which of them follows from shapes alone (`_form`). Whether at all is decided while lowering
(`jax.lax.platform_dependent`), never by asking which device is there: one traced, exported program serves all
platforms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

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
    *,
    compute: jax.typing.DTypeLike | None = None,
    **options,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`, lowered to matmuls on CPU where that is faster.

    Args:
      lhs: images, [N, H, W, C] for the fast lowerings; any layout that `dimension_numbers` names otherwise.
      rhs: kernel, [kh, kw, C, O] for the fast lowerings.
      window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, precision:
        as in `jax.lax.conv_general_dilated`.
      compute: dtype that operands are rounded to, in the gradients too; the result has the dtype of `lhs` still.
      **options: passed on (`preferred_element_type`, …); any that is not None selects XLA's convolution.

    Returns:
      [N, H_out, W_out, O]; equal to XLA's up to float rounding, gradients too. A NaN or infinite pixel may
      spoil more of its own image than the windows it lies in; never another image.

    Raises:
      TypeError, ValueError, RuntimeError: as `jax.lax.conv_general_dilated`.
    """

    def xla(lhs, rhs):
        y = lax.conv_general_dilated(
            *_rounded(compute, lhs, rhs),
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            precision=precision,
            **options,
        )
        return y if compute is None else y.astype(lhs.dtype)

    out = jax.eval_shape(xla, lhs, rhs)  # refuses whatever XLA refuses, in the same words
    plain = (
        lhs.ndim == 4
        and all(d == 1 for d in (*(lhs_dilation or ()), *(rhs_dilation or ())))
        and _is_nhwc(lhs.shape, rhs.shape, dimension_numbers)
        and all(v is None for v in options.values())
        and 0 not in (*out.shape[1:], *rhs.shape)
    )
    each_channel = plain and feature_group_count == lhs.shape[3] == rhs.shape[3]  # and so rhs.shape[2] is 1
    if not plain or (feature_group_count > 1 and not each_channel):
        return xla(lhs, rhs)
    strides = tuple(window_strides)
    pads = padding
    if isinstance(pads, str):
        pads = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, pads)
    form = depthwise if feature_group_count > 1 else _form(out.shape, rhs.shape, width=lhs.shape[2] + sum(pads[1]))
    if form is None:
        return xla(lhs, rhs)

    def matmul(lhs, rhs):
        border = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
        (x,) = _rounded(compute, lhs)
        x = lax.pad(x, jnp.zeros((), x.dtype), border)
        if compute is None:
            return form(x, rhs, strides, precision)
        if form is depthwise:  # no matmul, and sums of 25 narrow products lose digits for nothing
            return form(x.astype(lhs.dtype), *_rounded(lhs.dtype, *_rounded(compute, rhs)), strides).astype(lhs.dtype)
        return im2col(x, rhs, strides, dot=rounded_dot).astype(lhs.dtype)

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


def im2col(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], precision=None, dot=None) -> jax.Array:
    """VALID convolution as one matmul over gathered patches. x [N, H, W, C], kernel [kh, kw, C, O].

    Pixels are gathered in blocks of one stride, where a kernel is a whole number of them: so a gradient adds up
    kernel / stride slices in each direction and not kernel strided ones.
    """
    dot = dot or partial(jnp.dot, precision=precision)
    n, height, width, channels = x.shape
    (kh, kw, _, features), (sh, sw) = kernel.shape, strides
    h_out, w_out = (height - kh) // sh + 1, (width - kw) // sw + 1
    bh, bw = sh if kh % sh == 0 else 1, sw if kw % sw == 0 else 1
    x = x[:, : height // bh * bh, : width // bw * bw]
    x = x.reshape(n, height // bh, bh, width // bw, bw * channels).swapaxes(2, 3)
    rows = [
        jnp.concatenate(_shifted(row, kw // bw, w_out, sw // bw, axis=2), axis=-1)
        for row in _shifted(x, kh // bh, h_out, sh // bh, axis=1)
    ]
    columns = jnp.concatenate(rows, axis=3).reshape(n * h_out * w_out, kh * kw * channels)
    return dot(columns, kernel.reshape(kh * kw * channels, features)).reshape(n, h_out, w_out, features)


def depthwise(x: jax.Array, kernel: jax.Array, strides: tuple[int, int], precision=None) -> jax.Array:
    """VALID convolution of every channel by itself. x [N, H, W, C], kernel [kh, kw, 1, C]; exact, so no precision."""
    kh, kw, _, _ = kernel.shape
    h_out, w_out = (x.shape[1] - kh) // strides[0] + 1, (x.shape[2] - kw) // strides[1] + 1
    y = jnp.zeros((x.shape[0], h_out, w_out, x.shape[3]), jnp.result_type(x, kernel))
    for i, row in enumerate(_shifted(x, kh, h_out, strides[0], axis=1)):
        for j, column in enumerate(_shifted(row, kw, w_out, strides[1], axis=2)):
            y = y + column * kernel[i, j, 0]
    return y


def conv_transpose(
    lhs: jax.Array,
    rhs: jax.Array,
    strides: tuple[int, int],
    padding: Sequence[tuple[int, int]],
    *,
    compute: jax.typing.DTypeLike | None = None,
) -> jax.Array:
    """`jax.lax.conv_transpose`: on CPU one matmul, whose results are added where they overlap.

    Args:
      lhs: images, [N, H, W, C].
      rhs: kernel, [kh, kw, C, O].
      strides: zeros that XLA would put between pixels, plus one.
      padding: (low, high) for each side, as XLA pads what it has stretched. Kernel 4, stride 2, "pad 1" as PyTorch
        counts it, which doubles the size, is ((2, 2), (2, 2)).
      compute: as in `conv_general_dilated`.

    Returns:
      [N, H_out, W_out, O] with H_out = (H − 1)·stride + low + high − kh + 2.
    """

    def xla(lhs, rhs):
        y = lax.conv_general_dilated(*_rounded(compute, lhs, rhs), (1, 1), padding, strides, dimension_numbers=_NHWC)
        return y.astype(lhs.dtype)

    def matmul(lhs, rhs):
        (kh, kw, channels, features), (sh, sw) = rhs.shape, strides
        n, height, width, _ = lhs.shape
        qh, qw = -(-kh // sh), -(-kw // sw)  # strides that a kernel spans
        (x,) = _rounded(compute, lhs)
        w = jnp.pad(rhs[::-1, ::-1], ((0, qh * sh - kh), (0, qw * sw - kw), (0, 0), (0, 0))).transpose(2, 0, 1, 3)
        dot = jnp.dot if compute is None else rounded_dot
        y = dot(x.reshape(n * height * width, channels), w.reshape(channels, -1))
        y = _overlapped(y.reshape(n, height, width, qh, sh * qw * sw * features), axis=1)
        y = _overlapped(y.reshape(n, height + qh - 1, width, sh, qw, sw * features).swapaxes(3, 4), axis=2)
        y = y.swapaxes(2, 3).reshape(n, (height + qh - 1) * sh, (width + qw - 1) * sw, features)
        crop = [(0, 0, 0)]
        for (low, high), kernel, side, stride, full in zip(
            padding, (kh, kw), (height, width), strides, y.shape[1:3], strict=True
        ):
            first = low + 1 - kernel  # XLA's first window sees the kernel's last row
            crop.append((first, (side - 1) * stride + low + high - kernel + 2 - first - full, 0))
        return lax.pad(y, jnp.zeros((), y.dtype), (*crop, (0, 0, 0))).astype(lhs.dtype)

    return lax.platform_dependent(lhs, rhs, cpu=matmul, default=xla)


def _overlapped(y: jax.Array, axis: int) -> jax.Array:
    """Adds slice i of axis 3, moved on by i along `axis`, for all i."""
    q = y.shape[3]

    def moved(i):
        pads = [(0, 0)] * (y.ndim - 1)
        pads[axis] = (i, q - 1 - i)
        return jnp.pad(y[:, :, :, i], pads)

    return sum((moved(i) for i in range(1, q)), moved(0))


def _rounded(compute: jax.typing.DTypeLike | None, *operands: jax.Array) -> tuple[jax.Array, ...]:
    return operands if compute is None else tuple(x.astype(compute) for x in operands)


@jax.custom_vjp
def rounded_dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """a [M, K] @ b [K, N] in float32 from operands of the dtype of `a`, a narrow one; so are the gradients.

    XLA has fast narrow matmuls for a left operand that is contracted over its last axis alone, and folds into the
    matmul any transposition that would bring it there. So the gradient by `b` transposes the smaller operand by a
    product with the identity, which is exact; the whole was measured 8 times as fast as the plain contraction.
    """
    return _dot(a, b.astype(a.dtype), 1, 0)


def _dot(a, b, i: int, j: int):
    return lax.dot_general(a, b, (((i,), (j,)), ((), ())), preferred_element_type=jnp.float32)


def _rounded_dot_forward(a, b):
    return rounded_dot(a, b), (a, b.astype(a.dtype))


def _rounded_dot_backward(operands, g):
    a, b = operands
    g = g.astype(a.dtype)

    def transposed(x):
        return _dot(jnp.eye(x.shape[1], dtype=x.dtype), x, 1, 1).astype(x.dtype)

    if a.shape[1] <= b.shape[1]:
        db = _dot(transposed(a), g, 1, 0)
    else:  # XLA 0.10's CPU runtime has no narrow matmul with a transposed result: it must not be folded
        db = lax.optimization_barrier(_dot(transposed(g), a, 1, 0)).T
    return _dot(g, b, 1, 1).astype(a.dtype), db


rounded_dot.defvjp(_rounded_dot_forward, _rounded_dot_backward)


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
