"""Whitening of covariances: W with Σ⁻¹ = W Wᵀ, and log det Σ, in float32.

    Σ = S R S,  R = V Λ Vᵀ  ⇒  W = S⁻¹ V Λ^(−½)        S the deviations, R the correlations

An eigendecomposition is off by 2⁻²³ of the *largest* eigenvalue. For correlations, unlike covariances, that is little
for every feature: one that hardly ever fires may have a millionth of another's variance, and an inverse that counts
(van der Sluis, "Condition numbers and equilibration of matrices", 1969).

What float32 can't tell from nothing counts as the noise that it may be, so that distances are finite: a feature without
a variance of its own gets D · 2⁻²³ of the largest variance, or the square of how coarse its values are if that is more;
a combination of features without one (duplicates, fewer images than features), as much of the largest eigenvalue of R.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax._numerics import eigh, inverted_cholesky

_EPS = 2.0**-23


def floored(variances: jax.Array, means: jax.Array) -> jax.Array:
    """Variances of features that can be divided by.

    Args:
      variances: float32[K, D], ≥ 0.
      means: float32[..., D], of the features as they came.

    Returns:
      float32[K, D], positive: unchanged where they are more than how coarse the feature is.
    """
    coarse = jnp.square(_EPS * jnp.abs(means).reshape(-1, means.shape[-1]).max(0))
    noise = jnp.maximum(variances.shape[-1] * _EPS * variances.max(-1, keepdims=True), coarse[None])
    return jnp.where(variances > coarse[None], variances, jnp.where(noise > 0, noise, 1))


def whitening(covariance: jax.Array, means: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whitens covariances.

    Args:
      covariance: float32[K, D, D].
      means: float32[..., D], of the features as they came.

    Returns:
      W, float32[K, D, D], and log det Σ, float32[K].
    """
    variances, deviations, correlations = _split(covariance, means)
    values, vectors = eigh(correlations)
    values = jnp.maximum(values, values.shape[-1] * _EPS * values.max(-1, keepdims=True))
    whiten = vectors / deviations[:, :, None] / jnp.sqrt(values)[:, None, :]
    return whiten, jnp.log(variances).sum(-1) + jnp.log(values).sum(-1)


def triangular(covariance: jax.Array, means: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes an upper triangular W with Σ⁻¹ = W Wᵀ, several times as fast as `whitening`.

    A Cholesky decomposition of R + ε I, for covariances that are soon replaced. ε is the noise of the largest
    eigenvalue that R may have, D: combinations of features that hardly vary count a little more.

    Args:
      covariance: float32[K, D, D].
      means: float32[..., D], of the features as they came.

    Returns:
      W, float32[K, D, D], and log det Σ, float32[K].
    """
    variances, deviations, correlations = _split(covariance, means)
    dim = deviations.shape[-1]
    noisy = correlations + dim * _EPS * jnp.linalg.norm(correlations, axis=(1, 2), keepdims=True) * jnp.eye(dim)[None]
    lower, inverse = inverted_cholesky(noisy)
    whiten = jnp.swapaxes(inverse, 1, 2) / deviations[:, :, None]
    return whiten, jnp.log(variances).sum(-1) + 2 * jnp.log(jnp.diagonal(lower, axis1=1, axis2=2)).sum(-1)


def _split(covariance: jax.Array, means: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Variances and deviations float32[K, D] that can be divided by, and correlations float32[K, D, D]."""
    variances = floored(jnp.diagonal(covariance, axis1=1, axis2=2), means)
    deviations = jnp.sqrt(variances)
    correlations = covariance / deviations[:, :, None] / deviations[:, None, :]
    return variances, deviations, jnp.where(jnp.eye(deviations.shape[-1], dtype=bool)[None], 1, correlations)
