"""The convolution of one channel, whose gradient by the kernel a TPU's compiler takes quickly."""

from __future__ import annotations

import functools
import operator

import jax
from jax import lax
from jax.custom_derivatives import SymbolicZero


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def one_channel(x: jax.Array, kernel: jax.Array, pads: tuple[tuple[int, int], ...], precision=None) -> jax.Array:
    """XLA's convolution of stride 1 from one channel, whose gradient by the kernel slides the image over it.

    That gradient is itself a convolution, of the image and of what comes back. XLA slides the larger over the image, a
    window of 28×28 for digits, and the TPU's compiler searched for 20 to 50 s how to do so; the other way round it
    took 1.4 s and moved a third of the bytes.

    Args:
      x: float32[N, H, W, 1].
      kernel: float32[kh, kw, 1, O].
      pads: pixels (low, high) added to each side.
      precision: of its products.

    Returns:
      float32[N, H_out, W_out, O].
    """
    return lax.conv_general_dilated(
        x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision
    )


@functools.partial(one_channel.defjvp, symbolic_zeros=True)
def _one_channel_jvp(pads, precision, primals, tangents):
    (x, kernel), (dx, d_kernel) = primals, tangents
    terms = []
    if not isinstance(dx, SymbolicZero):
        terms.append(one_channel(dx, kernel, pads, precision))
    if not isinstance(d_kernel, SymbolicZero):
        terms.append(_sliding_the_image(x, d_kernel, pads, precision))
    return one_channel(x, kernel, pads, precision), functools.reduce(operator.add, terms)


def _sliding_the_image(x: jax.Array, kernel: jax.Array, pads, precision) -> jax.Array:
    """The same convolution, with the kernel for O images and the N images for kernels; linear in the kernel."""
    sides = zip(pads, x.shape[1:3], kernel.shape, strict=False)
    return lax.conv_general_dilated(
        lax.rev(kernel, (0, 1)),
        lax.rev(x, (1, 2)),
        (1, 1),
        [(side - k + low, side - k + high) for (low, high), side, k in sides],
        dimension_numbers=("HWCN", "OHWI", "CHWN"),
        precision=precision,
    )
