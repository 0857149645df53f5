"""Muon for kernels, Adam for all else.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024): the momentum X of each matrix is
brought to singular values near 1, so that directions that few gradients point to are learned as fast as the others, by
five Newton–Schulz steps

    X ← X · (a I + b G + c G²)        G = XᵀX

optax has them as they stand. But each step's matrix is a polynomial of the first G, so the five are multiplied first,
no wider than the narrow side of X, and X by their product at the end, in a fraction of the time
(`python -m benchmarks.run --only muon`). G has the square of X's condition number: where some singular values are
thousands of times the others, rounding moves values by up to a hundredth, and elsewhere by 1e-5. The five steps alone
leave them between 0.7 and 1.2.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from adjax._numerics import EXACT
from adjax.types import PyTree

_RMS = 0.2
"""Of the updates, as of Adam's: Liu et al., "Muon is scalable for LLM training" (2025), section 2.2."""
_BETA, _EPS = 0.95, 1e-8
_STEPS, _COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
"""Jordan's, as optax has them."""


def muon_or_adam(b1: float = 0.9, classes: int | None = None) -> optax.GradientTransformation:
    """Builds the transformation: Muon for the kernels of dense and convolutional layers, Adam for the rest.

    Args:
      b1: what Adam's first moment keeps of itself at each step, in [0, 1).
      classes: width of the layer of logits, which is left to Adam, as Muon's authors do; a dense layer before it that
        is as wide is, too. None: there is none.

    Returns:
      An optax transformation of gradients.
    """

    def kind(w: jax.Array) -> str:
        return "matrix" if w.ndim == 4 or (w.ndim == 2 and w.shape[-1] != classes) else "other"

    each = {"matrix": _scale_by_muon(), "other": optax.scale_by_adam(b1)}
    return optax.partition(each, partial(jax.tree.map, kind))


def count(state: Any) -> jax.Array:
    """The steps that the state of `muon_or_adam` has done, int32[]."""
    return state.inner_states["other"].inner_state.count


def _scale_by_muon() -> optax.GradientTransformation:
    """`optax.contrib.scale_by_muon` with its state, and all updates of one size an entry, whatever a matrix's shape."""

    def update(grads: PyTree, state: contrib.MuonState, params: PyTree | None = None):
        del params
        done = optax.safe_increment(state.count)
        momentum = jax.tree.map(lambda m, g: _BETA * m + (1 - _BETA) * g, state.mu, grads)
        now, ahead = 1 - _BETA**done, 1 - _BETA ** (done + 1)
        nesterov = jax.tree.map(lambda m, g: _BETA * m / ahead + (1 - _BETA) * g / now, momentum, grads)
        return jax.tree.map(_alike, nesterov), state._replace(count=done, mu=momentum)

    return optax.GradientTransformation(contrib.scale_by_muon(beta=_BETA).init, update)


def _alike(kernel: jax.Array) -> jax.Array:
    x = kernel.reshape(-1, kernel.shape[-1])  # from all of its inputs to its channels
    return (_RMS * max(x.shape) ** 0.5 * orthogonal(x)).reshape(kernel.shape)


def orthogonal(x: jax.Array) -> jax.Array:
    """Brings the singular values of a matrix to about 1: to 0.7 to 1.2, but those below a five hundredth of its norm.

    Args:
      x: float[M, N].

    Returns:
      float32[M, N]; zeros of zeros, NaN of a matrix with a number that is not finite.
    """
    a, b, c = _COEFFICIENTS
    x = x.astype(jnp.float32)  # of narrower numbers G has no digits left
    x = x / (jnp.linalg.norm(x) + _EPS)
    wide = x.shape[0] < x.shape[1]
    gram = _dot(x, x.T) if wide else _dot(x.T, x)
    eye = product = jnp.eye(len(gram), dtype=x.dtype)
    for step in range(_STEPS):
        factor = a * eye + b * gram + c * _dot(gram, gram)
        product = _dot(product, factor) if step else factor
        gram = _dot(_dot(factor, gram), factor)  # of the new X; the last one is not used, and not computed
    return _dot(product, x) if wide else _dot(x, product)


def _dot(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, precision=EXACT)
