"""`conv_general_dilated`, and which lowering of it costs least."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from adjax.nn._geometry import Geometry
from adjax.nn._lowerings import depthwise, tiled, winograd
from adjax.nn._matmul import rounded
from adjax.nn._one_channel import one_channel
from adjax.nn._rounded import rounded_conv

NHWC = ("NHWC", "HWIO", "NHWC")
_MACS_PER_COPY = 28
"""Multiply-adds that take as long as copying one float, forwards and backwards on an AVX-512 CPU; tiles trade them."""
_MACS_PER_COPY_FORWARDS = 64
"""The same of a convolution without gradients, whose matmuls are nearer the peak."""
_MAX_COLUMNS = 2**19
"""Floats an image that `tiled` or `winograd` may write before its matmuls; larger images would fill the memory with
copies of themselves. `tiled` may write as many as its result has: else only wide tiles were left to a network's first
layer, three channels to 32, which at 384 px took ten times the multiply-adds of the rest. A kernel of one pixel reads
the image as it lies and copies nothing: with some of them left to XLA, EfficientNet-Lite0 took 6 % more there."""


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
            rounded(compute, lhs),
            rounded(compute, rhs),
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
            return rounded_conv(Geometry(lhs.shape, rhs.shape, strides, tuple(pads)), compute)(lhs, rhs)
        if compute is not None:  # no matmul, and sums of 25 narrow products lose digits for nothing
            lhs, rhs = (rounded(compute, x).astype(lhs.dtype) for x in (lhs, rhs))
        x = padded(lhs)
        return tiled(x, rhs, strides, tile, precision) if tile else depthwise(x, rhs, strides)

    cpu = matmul
    exact = compute is None and lhs.dtype == rhs.dtype == jnp.float32  # sums of narrow pixels lose digits
    if tile and exact and strides == (1, 1) and _pays_winograd(out.shape, rhs.shape, tile):
        cpu = _with_gradients_of(matmul, lambda lhs, rhs: winograd(padded(lhs), rhs, precision))
    if lhs.shape[3] == 1 and exact and strides == (1, 1) and not each_channel:
        tpu = functools.partial(one_channel, pads=tuple(pads), precision=precision)
        return lax.platform_dependent(lhs, rhs, cpu=cpu, tpu=tpu, default=xla)
    return lax.platform_dependent(lhs, rhs, cpu=cpu, default=xla)


def _tile(out: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """The tile (u, v) of output pixels that costs least, or None for XLA's own convolution.

    Each tile copies ((u − 1)·stride + kh) · ((v − 1)·stride + kw) · C floats, and multiplies each u·v·O times.
    What it costs to put the tiles back in the order of an image is left out. `_MACS_PER_COPY` is fitted to whole
    training steps: of 64, 40, 28, 20 and 14 it gave the least time, or as little as any, to LeNet's at batch 128 and
    1024 and to the autoencoder's, 3 to 21 % less than 64.
    """
    tiles = itertools.product(_divisors(out[0]), _divisors(out[1]))
    floats = max(kernel[2:]) if math.prod(kernel[:2]) == 1 else kernel[3]
    most = max(_MAX_COLUMNS, math.prod(out) * floats)
    fit = [tile for tile in tiles if _copies(tile, out, kernel, strides) <= most]
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
    (`jax.export`) is taken for large. Among 34 layers and batches measured, 2×2 to 28×28 px of 16 to 512 channels, all
    19 that this chooses were at least 1.1 times as fast so; of the 15 that it leaves 12 gained less than 5 %.
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


def _is_nhwc(lhs_shape, rhs_shape, dimension_numbers) -> bool:
    given = lax.conv_dimension_numbers(lhs_shape, rhs_shape, dimension_numbers)
    return given == lax.conv_dimension_numbers(lhs_shape, rhs_shape, NHWC)
