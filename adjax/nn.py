"""Convolution and pooling: one meaning, the lowering that is fast on the device it runs on.

`conv_general_dilated` has the signature and the values of `jax.lax.conv_general_dilated`, so it is what
`flax.nnx.Conv(conv_general_dilated=...)` takes. On accelerators it *is* XLA's convolution. On CPU XLA's
convolutions are slow for small images and few channels (and slower still inside a loop), so plain NHWC
convolutions become matmuls there:

* `tiled`: the output is cut into tiles of u×v pixels; each is one row of a matrix, the product of the pixels that it
  sees and a banded matrix made of the kernel. Tiles of one pixel are the usual `im2col`: least arithmetic, most
  copying, and few columns where channels are few. Larger tiles share their pixels and multiply by more zeros.
* `winograd`, for 3×3 kernels of stride 1 with many channels: 16 products where the definition has 36, for additions.
* `depthwise`, where every channel has a kernel of its own: kh·kw shifted slices, multiplied and added, no matmul.

`conv_transpose` is the transposed of a convolution, lowered likewise: one matmul, and sums where its patches overlap.
Both take `compute=jnp.bfloat16`: operands rounded, sums in float32, forwards and in both gradients. CPUs with matrix
units for it were measured 4 times as fast so.

Which of them, and which tile, follows from shapes alone (`_tile`, `_pays_winograd`). Whether at all is decided while
lowering (`jax.lax.platform_dependent`), never by asking which device is there: one traced, exported program serves
all platforms.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from adjax._numerics import EXACT

_NHWC = ("NHWC", "HWIO", "NHWC")
_MACS_PER_COPY = 28
"""Multiply-adds that take as long as copying one float, forwards and backwards on an AVX-512 CPU; tiles trade them."""
_MACS_PER_COPY_FORWARDS = 64
"""The same of a convolution without gradients, whose matmuls are nearer the peak."""
_NARROW = 64
"""Most columns of a narrow matrix: which form of a kernel's gradient is fast depends on it."""
_MAX_COLUMNS = 2**19
"""Floats an image that `tiled` or `winograd` may write before its matmuls; larger images would fill the memory with
copies of themselves."""


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
      window_strides, padding, lhs_dilation, rhs_dilation: as in `jax.lax.conv_general_dilated`.
      dimension_numbers, feature_group_count, precision: as in `jax.lax.conv_general_dilated`.
      compute: dtype that operands are rounded to, in the gradients too; the result still has the dtype of `lhs`.
      **options: passed on (`preferred_element_type`, …); any that is not None selects XLA's convolution.

    Returns:
      [N, H_out, W_out, O]; equal to XLA's up to float rounding, gradients too. A NaN or infinite pixel may
      spoil more of its own image than the windows it lies in; never another image.

    Raises:
      TypeError, ValueError, RuntimeError: as `jax.lax.conv_general_dilated`.
    """

    def xla(lhs, rhs):
        y = lax.conv_general_dilated(
            _rounded(compute, lhs),
            _rounded(compute, rhs),
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
    each_channel = plain and 1 < feature_group_count == lhs.shape[3] == rhs.shape[3]  # and so rhs.shape[2] is 1
    if not plain or (feature_group_count > 1 and not each_channel):
        return xla(lhs, rhs)
    strides = (window_strides[0], window_strides[1])
    pads = padding
    if isinstance(pads, str):
        pads = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], strides, pads)
    tile = None if each_channel else _tile(out.shape[1:3], rhs.shape, strides)
    if tile is None and not each_channel:
        return xla(lhs, rhs)

    def padded(x):
        border = ((0, 0, 0), *((low, high, 0) for low, high in pads), (0, 0, 0))
        return lax.pad(x, jnp.zeros((), x.dtype), border)

    def matmul(lhs, rhs):
        if compute is not None and not each_channel:
            return _rounded_conv(_Geometry(lhs.shape, rhs.shape, strides, tuple(pads)), compute)(lhs, rhs)
        if compute is not None:  # no matmul, and sums of 25 narrow products lose digits for nothing
            lhs, rhs = (_rounded(compute, x).astype(lhs.dtype) for x in (lhs, rhs))
        x = padded(lhs)
        return tiled(x, rhs, strides, tile, precision) if tile else depthwise(x, rhs, strides)

    cpu = matmul
    exact = compute is None and lhs.dtype == rhs.dtype == jnp.float32  # sums of narrow pixels lose digits
    if tile and exact and strides == (1, 1) and _pays_winograd(out.shape, rhs.shape, tile):
        cpu = _with_gradients_of(matmul, lambda lhs, rhs: winograd(padded(lhs), rhs, precision))
    return lax.platform_dependent(lhs, rhs, cpu=cpu, default=xla)


def _tile(out: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """The tile (u, v) of output pixels that costs least, or None for XLA's own convolution.

    Of each tile ((u − 1)·stride + kh) · ((v − 1)·stride + kw) · C floats are copied, and each is multiplied u·v·O
    times. What it costs to put the tiles back in the order of an image is left out. `_MACS_PER_COPY` is fitted to whole
    training steps: of 64, 40, 28, 20 and 14 it gave the least time, or as little as any, to LeNet's at batch 128 and
    1024 and to the autoencoder's, 3 to 21 % less than 64.
    """
    tiles = itertools.product(_divisors(out[0]), _divisors(out[1]))
    fit = [tile for tile in tiles if _copies(tile, out, kernel, strides) <= _MAX_COLUMNS]
    return min(fit, key=lambda tile: _tiled_cost(tile, out, kernel, strides, _MACS_PER_COPY), default=None)


def _copies(tile: tuple[int, int], out: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> int:
    """Floats that `tiled` copies of one image."""
    return kernel[2] * math.prod(
        ((side - 1) * stride + k) * (pixels // side)
        for side, stride, k, pixels in zip(tile, strides, kernel[:2], out, strict=True)
    )


def _tiled_cost(
    tile: tuple[int, int], out: Sequence[int], kernel: Sequence[int], strides: Sequence[int], macs_per_copy: int
) -> int:
    """Of one image, in multiply-adds."""
    return _copies(tile, out, kernel, strides) * (macs_per_copy + math.prod(tile) * kernel[3])


def _pays_winograd(out: Sequence[Any], kernel: Sequence[int], tile: tuple[int, int]) -> bool:
    """Whether `winograd` costs less than `tiled` for a result [N, H, W, O] of stride 1.

    Before and after the matmuls it writes 16 floats a tile and channel, and 16 a pair of channels for all images: what
    2×2 pixels of 512 channels, or a single image of 4×4, don't earn back. A number of images that is not known yet
    (`jax.export`) is taken for large. Of 34 layers and batches measured, 2×2 to 28×28 px of 16 to 512 channels, all 19
    that this chooses were at least 1.1 times as fast so; of the 15 that it leaves 12 gained less than 5 %.
    """
    (kh, kw, channels, features), (n, height, width, _) = kernel, out
    tiles = -(-height // 2) * -(-width // 2)
    copies = 16 * tiles * (channels + features)
    if isinstance(n, int):
        copies += 16 * channels * features // max(n, 1)
    cost = _MACS_PER_COPY_FORWARDS * copies + 16 * tiles * channels * features
    fits = 16 * tiles * max(channels, features) <= _MAX_COLUMNS
    if (kh, kw) != (3, 3) or not fits:
        return False
    return cost < _tiled_cost(tile, (height, width), kernel, (1, 1), _MACS_PER_COPY_FORWARDS)


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]


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
    geometry = _Geometry(x.shape, kernel.shape, strides)
    if tile == (1, 1):
        return _matmul(geometry.gather(x), _flat(kernel), precision).reshape(geometry.out_shape)
    n, height, width, features = geometry.out_shape
    places = [_places(k, side, stride) for k, side, stride in zip(kernel.shape, tile, strides, strict=False)]
    band = jnp.einsum("ijco,ihu,jwv->hwcuvo", kernel, *places, precision=EXACT).astype(kernel.dtype)
    (u, v), (seen_h, seen_w) = tile, band.shape[:2]
    down, across = height // u, width // v
    rows = _shifted(x, seen_h, down, u * strides[0], axis=1)
    if across <= seen_w:  # a slice a tile, or one a column: the fewer
        starts = [t * v * strides[1] for t in range(across)]
        rows = [jnp.stack([lax.slice_in_dim(r, t, t + seen_w, axis=2) for t in starts], 2) for r in rows]
    else:
        rows = [jnp.stack(_shifted(r, seen_w, across, v * strides[1], axis=2), 3) for r in rows]
    pixels = jnp.stack(rows, 3)
    y = _matmul(pixels.reshape(n * down * across, -1), band.reshape(-1, u * v * features), precision)
    return y.reshape(n, down, across, u, v, features).swapaxes(2, 3).reshape(geometry.out_shape)


_BT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_AT = ((1, 1, 1, 0), (0, 1, -1, -1))


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
    rows = _combined(_BT, _shifted(x, 4, down, 2, axis=1))
    pixels = [d.reshape(n * down * across, -1) for r in rows for d in _combined(_BT, _shifted(r, 4, across, 2, axis=2))]
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


def _with_gradients_of(
    other: Callable[[jax.Array, jax.Array], jax.Array], f: Callable[[jax.Array, jax.Array], jax.Array]
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """`f` where no derivative is asked for, else `other`, which has the same values.

    In training, where `tiled` has its rows of pixels for the kernel's gradient anyhow, `winograd` was not measured
    reliably faster; and the transposed of its slices are slow sums of padded ones.
    """
    function = jax.custom_jvp(f)
    function.defjvp(lambda primals, tangents: jax.jvp(other, primals, tangents))
    return function


def _places(k: int, side: int, stride: int) -> np.ndarray:
    """float32[k, seen, side]: 1 where pixel `seen` meets place k of the kernel at output pixel `side` of a tile."""
    places = np.zeros((k, (side - 1) * stride + k, side), np.float32)
    for i in range(k):
        places[i, np.arange(side) * stride + i, np.arange(side)] = 1
    return places


class _Geometry(NamedTuple):
    """Which pixels a convolution's windows see: patches of an image, and what they add up to when put back.

    Pixels are taken in blocks of one stride, where a kernel is a whole number of them: then patches are that number
    of shifted slices in each direction, of contiguous pixels, and not kernel strided ones.
    """

    image: tuple[int, ...]  # N, H, W, C
    kernel: tuple[int, ...]  # kh, kw, C, O
    strides: tuple[int, int]
    pads: tuple[tuple[int, int], ...] = ((0, 0), (0, 0))

    @property
    def out_shape(self) -> tuple[int, ...]:
        n, (kh, kw, _, features) = self.image[0], self.kernel
        _, height, width, _ = self._padded
        return n, (height - kh) // self.strides[0] + 1, (width - kw) // self.strides[1] + 1, features

    @property
    def _padded(self) -> tuple[int, ...]:
        n, height, width, channels = self.image
        return n, height + sum(self.pads[0]), width + sum(self.pads[1]), channels

    def _block(self) -> tuple[int, int]:
        sh, sw = (s if k % s == 0 else 1 for k, s in zip(self.kernel[:2], self.strides, strict=True))
        return sh, sw

    def _pad(self, x: jax.Array, sign: int) -> jax.Array:
        border = ((0, 0, 0), *((sign * low, sign * high, 0) for low, high in self.pads), (0, 0, 0))
        return lax.pad(x, jnp.zeros((), x.dtype), border)

    def _windows(self):
        """For each block of the kernel, its row among them and the blocks of the image that it meets in all windows."""
        (bh, bw), (kh, kw), (sh, sw), (_, h, w, _) = self._block(), self.kernel[:2], self.strides, self.out_shape
        for i in range(kh // bh):
            for j in range(kw // bw):
                rows, columns = (
                    slice(first, first + (out - 1) * step + 1, step)
                    for first, out, step in ((i, h, sh // bh), (j, w, sw // bw))
                )
                yield i, rows, columns

    def gather(self, x: jax.Array) -> jax.Array:
        """[N, H, W, C] -> [N·h·w, kh·kw·C], the patch of each window."""
        (bh, bw), (n, height, width, channels) = self._block(), self._padded
        x = self._pad(x, 1)[:, : height // bh * bh, : width // bw * bw]
        x = x.reshape(n, height // bh, bh, width // bw, bw * channels).swapaxes(2, 3)
        rows: dict[int, list[jax.Array]] = {}
        for i, down, across in self._windows():
            rows.setdefault(i, []).append(x[:, down, across])
        columns = jnp.stack([jnp.stack(row, 4) for row in rows.values()], 3)
        return columns.reshape(n * columns.shape[1] * columns.shape[2], -1)

    def scatter(self, columns: jax.Array) -> jax.Array:
        """[N·h·w, kh·kw·C] -> [N, H, W, C], the sum of all patches at each pixel: the transposed of `gather`."""
        image = jax.ShapeDtypeStruct(self.image, columns.dtype)
        return jax.linear_transpose(self.gather, image)(columns)[0]


def _rounded_conv(geometry: _Geometry, compute: jax.typing.DTypeLike) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(image, kernel) -> convolution, operands rounded and sums in float32, in the gradients too."""

    @jax.custom_vjp
    def conv(x, kernel):
        return forward(x, kernel)[0]

    def forward(x, kernel):
        columns, flat = geometry.gather(x.astype(compute)), _flat(kernel).astype(compute)
        return _dot(columns, flat, 1, 0).reshape(geometry.out_shape), (columns, flat)

    def backward(residuals, g):
        (columns, flat), g = residuals, g.astype(compute).reshape(-1, g.shape[3])
        return geometry.scatter(_dot(g, flat, 1, 1)), _gram(columns, g).reshape(geometry.kernel)

    conv.defvjp(forward, backward)
    return conv


def _rounded_conv_transpose(geometry: _Geometry, compute: jax.typing.DTypeLike):
    """(what a convolution of that geometry gives, kernel) -> image: its transposed, rounded likewise."""

    @jax.custom_vjp
    def conv(y, kernel):
        return forward(y, kernel)[0]

    def forward(y, kernel):
        y, flat = y.astype(compute).reshape(-1, y.shape[3]), _flat(kernel).astype(compute)
        return geometry.scatter(_dot(y, flat, 1, 1)), (y, flat)

    def backward(residuals, g):
        (y, flat), columns = residuals, geometry.gather(g.astype(compute))
        return _dot(columns, flat, 1, 0).reshape(geometry.out_shape), _gram(columns, y).reshape(geometry.kernel)

    conv.defvjp(forward, backward)
    return conv


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _matmul(rows: jax.Array, matrix: jax.Array, precision=None) -> jax.Array:
    """rows [M, K] @ matrix [K, L], M large, whose gradient by the matrix is a fast matmul on CPU, too.

    That gradient contracts the long axis of `rows` and of what comes back, [M, L]; as XLA has it by itself it ran at a
    third to three quarters of the speed of the product.
    """
    return jnp.dot(rows, matrix, precision=precision)


@functools.partial(_matmul.defjvp, symbolic_zeros=True)
def _matmul_jvp(precision, primals, tangents):
    (rows, matrix), (d_rows, d_matrix) = primals, tangents
    y = _matmul(rows, matrix, precision)
    terms = []
    if not isinstance(d_rows, SymbolicZero):
        terms.append(jnp.dot(d_rows, matrix, precision=precision))
    if not isinstance(d_matrix, SymbolicZero):
        terms.append(_by_matrix(rows, d_matrix, precision))
    return y, functools.reduce(operator.add, terms)


def _by_matrix(rows: jax.Array, d: jax.Array, precision) -> jax.Array:
    """rows @ d, its transposed by d a fast matmul, held apart where XLA would rewrite it in its own way."""
    k, features = d.shape
    if min(k, features) > _NARROW:  # the rows are turned over in memory: [K, M] @ [M, L] is a matmul like any other
        turned = lax.optimization_barrier(lax.optimization_barrier(rows).T)
        return lax.dot_general(turned, d, (((0,), (0,)), ((), ())), precision=precision)
    if features < k:  # [L, K], with the narrower operand first, and turned over
        return lax.dot_general(rows, lax.optimization_barrier(d.T), (((1,), (1,)), ((), ())), precision=precision)
    return jnp.dot(rows, d, precision=precision)


def _flat(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[3])


def _dot(a: jax.Array, b: jax.Array, i: int, j: int) -> jax.Array:
    """Contracts axis i of a matrix with axis j of another, in float32."""
    return lax.dot_general(a, b, (((i,), (j,)), ((), ())), preferred_element_type=jnp.float32)


def _gram(a: jax.Array, b: jax.Array) -> jax.Array:
    """aᵀ b in float32, for a [M, K] and b [M, N] of a narrow dtype.

    XLA has fast narrow matmuls on CPU where the left operand is contracted over its last axis alone, and folds into
    the matmul any transposition that would bring it there. So the smaller operand is transposed by a product with the
    identity, which is exact; all in all that was measured 8 times as fast as the plain contraction.
    """

    def transposed(x):
        return _dot(jnp.eye(x.shape[1], dtype=x.dtype), x, 1, 1).astype(x.dtype)

    if a.shape[1] <= b.shape[1]:
        return _dot(transposed(a), b, 1, 0)
    # XLA's CPU runtime (0.10) has no narrow matmul with a transposed result: this one must not be folded either.
    return lax.optimization_barrier(_dot(transposed(b), a, 1, 0)).T


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
    for i, row in enumerate(_shifted(x, kh, h_out, strides[0], axis=1)):
        for j, column in enumerate(_shifted(row, kw, w_out, strides[1], axis=2)):
            y = y + column * kernel[i, j, 0]
    return y


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
    geometry = _Geometry((n, height, width, channels), rhs.shape, (strides[0], strides[1]), tuple(padding))

    def xla(lhs, rhs):
        pads = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip((kh, kw), padding, strict=True)]
        images, kernel = _rounded(compute, lhs), _rounded(compute, rhs)
        y = lax.conv_transpose(images, kernel, strides, pads, dimension_numbers=_NHWC, transpose_kernel=True)
        return y.astype(lhs.dtype)

    def matmul(lhs, rhs):
        if compute is not None:
            return _rounded_conv_transpose(geometry, compute)(lhs, rhs)
        return geometry.scatter(_dot(lhs.reshape(-1, lhs.shape[3]), _flat(rhs), 1, 1))

    return lax.platform_dependent(lhs, rhs, cpu=matmul, default=xla)


def _rounded(compute: jax.typing.DTypeLike | None, x: jax.Array) -> jax.Array:
    return x if compute is None else x.astype(compute)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Maximum over 2×2 blocks, [N, H, W, C] -> [N, H//2, W//2, C]; an odd last row or column is dropped.

    The larger of two columns, then of two rows. The gradient goes to the first of equal maxima, as in XLA's own
    pooling, but by masks instead of a scatter (measured 3 times faster on CPU; one mask of four for blocks, not of two
    for pairs, took a quarter longer). NaN in a block gives NaN.
    """
    n, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2].reshape(n, height // 2 * 2, width // 2, 2, channels)
    x = _larger(x[:, :, :, 0], x[:, :, :, 1]).reshape(n, height // 2, 2, width // 2, channels)
    return _larger(x[:, :, 0], x[:, :, 1])


@jax.custom_jvp
def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """Their maximum, whose gradient goes to `a` where they are equal."""
    return jnp.maximum(a, b)


@_larger.defjvp
def _larger_jvp(primals, tangents):
    (a, b), (ta, tb) = primals, tangents
    return jnp.maximum(a, b), jnp.where(a >= b, ta, tb)


def _shifted(x: jax.Array, kernel: int, out: int, stride: int, axis: int) -> list[jax.Array]:
    """The `kernel` strided slices of `x` along `axis` which a kernel of that length meets."""
    return [lax.slice_in_dim(x, i, i + (out - 1) * stride + 1, stride, axis=axis) for i in range(kernel)]


def _is_nhwc(lhs_shape, rhs_shape, dimension_numbers) -> bool:
    given = lax.conv_dimension_numbers(lhs_shape, rhs_shape, dimension_numbers)
    return given == lax.conv_dimension_numbers(lhs_shape, rhs_shape, _NHWC)
