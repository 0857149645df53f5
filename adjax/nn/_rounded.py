"""Convolutions with operands rounded to a narrow dtype and sums in float32, in the gradients too."""

from __future__ import annotations

from collections.abc import Callable

import jax

from adjax.nn._geometry import Geometry
from adjax.nn._matmul import as_matrix, dot, gram


def rounded_conv(geometry: Geometry, compute: jax.typing.DTypeLike) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(image, kernel) -> convolution, operands rounded and sums in float32, in the gradients too."""

    @jax.custom_vjp
    def conv(x, kernel):
        return forward(x, kernel)[0]

    def forward(x, kernel):
        columns, flat = geometry.gather(x.astype(compute)), as_matrix(kernel).astype(compute)
        return dot(columns, flat, 1, 0).reshape(geometry.out_shape), (columns, flat)

    def backward(residuals, g):
        (columns, flat), g = residuals, g.astype(compute).reshape(-1, g.shape[3])
        return geometry.scatter(dot(g, flat, 1, 1)), gram(columns, g).reshape(geometry.kernel)

    conv.defvjp(forward, backward)
    return conv


def rounded_conv_transpose(geometry: Geometry, compute: jax.typing.DTypeLike):
    """(what a convolution of that geometry gives, kernel) -> image: its transposed, rounded likewise."""

    @jax.custom_vjp
    def conv(y, kernel):
        return forward(y, kernel)[0]

    def forward(y, kernel):
        y, flat = y.astype(compute).reshape(-1, y.shape[3]), as_matrix(kernel).astype(compute)
        return geometry.scatter(dot(y, flat, 1, 1)), (y, flat)

    def backward(residuals, g):
        (y, flat), columns = residuals, geometry.gather(g.astype(compute))
        return dot(columns, flat, 1, 0).reshape(geometry.out_shape), gram(columns, y).reshape(geometry.kernel)

    conv.defvjp(forward, backward)
    return conv
