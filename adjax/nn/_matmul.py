"""Matrix products, float32 and narrower, that are fast on CPU in both gradients."""

from __future__ import annotations

import functools
import operator

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

_NARROW = 64
"""Most columns of a narrow matrix: which form of a kernel's gradient is fast depends on it."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def matmul(rows: jax.Array, matrix: jax.Array, precision=None) -> jax.Array:
    """rows [M, K] @ matrix [K, L], M large, whose gradient by the matrix is a fast matmul on CPU, too.

    That gradient contracts the long axis of `rows` and of what comes back, [M, L]; as XLA has it by itself it ran at a
    third to three quarters of the speed of the product.
    """
    return jnp.dot(rows, matrix, precision=precision)


@functools.partial(matmul.defjvp, symbolic_zeros=True)
def _matmul_jvp(precision, primals, tangents):
    (rows, matrix), (d_rows, d_matrix) = primals, tangents
    y = matmul(rows, matrix, precision)
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


def as_matrix(kernel: jax.Array) -> jax.Array:
    return kernel.reshape(-1, kernel.shape[3])


def dot(a: jax.Array, b: jax.Array, i: int, j: int) -> jax.Array:
    """Contracts axis i of a matrix with axis j of another, in float32."""
    return lax.dot_general(a, b, (((i,), (j,)), ((), ())), preferred_element_type=jnp.float32)


def gram(a: jax.Array, b: jax.Array) -> jax.Array:
    """aᵀ b in float32, for a [M, K] and b [M, N] of a narrow dtype.

    XLA has fast narrow matmuls on CPU where the left operand is contracted over its last axis alone, and folds into
    the matmul any transposition that would bring it there. So the smaller operand is transposed by a product with the
    identity, which is exact; all in all that was measured 8 times as fast as the plain contraction.
    """

    def transposed(x):
        return dot(jnp.eye(x.shape[1], dtype=x.dtype), x, 1, 1).astype(x.dtype)

    if a.shape[1] <= b.shape[1]:
        return dot(transposed(a), b, 1, 0)
    # XLA's CPU runtime (0.10) has no narrow matmul with a transposed result: this one must not be folded either.
    return lax.optimization_barrier(dot(transposed(b), a, 1, 0)).T


def rounded(compute: jax.typing.DTypeLike | None, x: jax.Array) -> jax.Array:
    return x if compute is None else x.astype(compute)
