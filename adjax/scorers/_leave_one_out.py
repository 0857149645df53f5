"""Distances from a Gaussian that was fitted without the row: leave-one-out in closed form.

Without a row whose residual is r, of n rows and n_k of its class, the scatter loses a r rᵀ, a = n_k / (n_k − 1). With
the covariance shrunk by s as in `adjax.scorers.mahalanobis`, and τ = n / (n − 1),

    Σ' = τ (Σ − δ I − β r rᵀ),   β = (1 − s) a / n,   δ = s a ‖r‖² / (n D)

and Σ⁻¹ = W Wᵀ is known: the rank-one part by Sherman & Morrison (1950), and the shrinkage's, δ, which is a 1/n of Σ,
by its first terms and the geometric series that they begin. A covariance that the row is in with another weight v, as
one that classes share, loses v times as much. Cook & Weisberg, "Residuals and influence in regression"
(1982), section 2.2, have the unshrunk case.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from adjax._numerics import EXACT

_LEAST = 1e-3
"""Of 1 − β rᵀ (Σ − δ I)⁻¹ r: below, too few of its digits are left in float32."""


class Without(NamedTuple):
    """The change of the covariance when each of N rows is left out.

    Attributes:
      grown: float32[] or float32[N], τ.
      residual: float32[N], what r grows by, since the mean lacks the row: n_k / (n_k − 1).
      rounder: float32[N], rᵀ (Σ − δ I)⁻¹ r / rᵀ Σ⁻¹ r, ≥ 1.
      left: float32[N], 1 − β rᵀ (Σ − δ I)⁻¹ r, in (0, 1]; NaN where float32 can't tell.
      gain: float32[N], what the squared distance of u grows by, but for τ, is gain · (uᵀ Σ⁻¹ r)².
      log_det: float32[N], what log det Σ grows by.
    """

    grown: jax.Array
    residual: jax.Array
    rounder: jax.Array
    left: jax.Array
    gain: jax.Array
    log_det: jax.Array


def without(
    r: jax.Array,
    z: jax.Array,
    gram: jax.Array,
    count: jax.Array,
    own: jax.Array,
    shrinkage: float,
    weight: jax.Array | float = 1.0,
    grown: jax.Array | None = None,
) -> Without:
    """Computes, for each row, what leaving it out changes.

    Args:
      r: float32[N, D], residuals to the mean of the row's class.
      z: float32[N, D], r W.
      gram: float32[D, D], Wᵀ W.
      count: float32[], n, rows behind the covariance.
      own: float32[N], n_k, rows of the row's class.
      shrinkage: s, in [0, 1].
      weight: v, float32[N] or one number ≥ 0.
      grown: float32[N], τ; None: count / (count − 1).

    Returns:
      A `Without`; NaN for a row without which float32 can't tell the covariance.
    """
    dim = r.shape[-1]
    residual = own / jnp.maximum(own - 1, 1)
    gone = weight * residual
    square = jnp.square(z).sum(-1)
    rounder, lost = jnp.ones_like(square), jnp.zeros_like(square)
    if shrinkage > 0:
        delta = shrinkage * gone * jnp.square(r).sum(-1) / (count * dim)
        twice = jnp.matmul(z, gram, precision=EXACT)
        first, second = jnp.maximum((twice * z).sum(-1), 0), jnp.square(twice).sum(-1)  # rᵀ Σ⁻² r, rᵀ Σ⁻³ r
        ratio = jnp.minimum(delta * second / jnp.where(first > 0, first, 1), 0.99)
        rounder = 1 + delta * first / jnp.where(square > 0, square, 1) / (1 - ratio)
        lost = delta * jnp.trace(gram)
    beta = (1 - shrinkage) * gone / count
    left = 1 - beta * rounder * square
    left = jnp.where(left >= _LEAST, left, jnp.nan)
    grown = count / jnp.maximum(count - 1, 1) if grown is None else grown
    return Without(
        grown, residual, rounder, left, beta * rounder**2 / left, dim * jnp.log(grown) - lost + jnp.log(left)
    )


def own_square(gone: Without, z: jax.Array) -> jax.Array:
    """Computes the squared distance of each row to the mean of its class, mean and covariance without the row.

    Args:
      gone: as of `without`.
      z: float32[N, D], r W.

    Returns:
      float32[N], ≥ 0 or NaN.
    """
    return jnp.square(gone.residual) * gone.rounder * jnp.square(z).sum(-1) / gone.left / gone.grown
