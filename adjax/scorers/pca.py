"""PCA residual: norm of the features outside the training images' principal subspace.

    score(f) = ‖(I − V Vᵀ)(f − μ)‖

with V the leading eigenvectors of the features' covariance over all classes: the reconstruction error of a linear
autoencoder (Jackson & Mudholkar, "Control procedures for residuals associated with principal component analysis",
Technometrics, 1979).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import EXACT, eigh
from adjax.scorers._vectors import length, within
from adjax.scorers.mahalanobis import Stats, mahalanobis, pooled
from adjax.types import Outputs, PyTree, Scorer


class State(NamedTuple):
    """Fitted state. All D directions are kept, so that shapes are known before a share of variance is.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      mean: float32[D], less the origin.
      vectors: float32[D, D], one direction per column, most variance first.
      outside: float32[D], 0 for the leading directions, 1 for the others.
      present: bool[1], whether there was any image.
    """

    origin: jax.Array
    mean: jax.Array
    vectors: jax.Array
    outside: jax.Array
    present: jax.Array


def pca(components: int | float = 0.95, feature: str = "features") -> Scorer:
    """Principal component residual on `outputs[feature]`, float [N, D].

    Args:
      components: leading directions: how many, an int from 0 to D − 1; or as many as it takes to explain that share of
        the variance, a float between 0 and 1, but not all D.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is a length ≥ 0; `distances` has one column. An image whose features are NaN scores NaN. Rows
      with a feature that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit;
      fitted to no row at all, every score is +inf.

    Raises:
      ValueError: components out of range; `init` for no more features than components.
    """
    share = isinstance(components, float)
    if not (0 < components < 1 if share else components >= 0):
        raise ValueError(f"components {components}: must be an int ≥ 0, or a float between 0 and 1")
    inner = mahalanobis("tied", feature=feature)

    def init(dim: int, classes: int) -> PyTree:
        if not share and components >= dim:
            raise ValueError(f"{components} components of {dim} features leave no residual: must be fewer")
        return inner.init(dim, classes)

    def finalize(stats: Stats) -> State:
        anchor, counts, mean, scatter, _ = pooled(stats)
        values, vectors = eigh(scatter[0] / jnp.maximum(counts, 1)[:, None])
        values, vectors = jnp.maximum(values[::-1], 0), vectors[:, ::-1]
        place = jnp.arange(anchor.size)
        if share:
            before = jnp.concatenate([jnp.zeros(1, jnp.float32), jnp.cumsum(values)[:-1]])
            leading = (before < components * values.sum()) & (place < anchor.size - 1)
        else:
            leading = place < components
        return State(anchor, mean[0], vectors, 1 - leading.astype(jnp.float32), counts > 0)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, feature) - state.origin[None] - state.mean[None]
        residual = jnp.matmul(x, state.vectors, precision=EXACT) * state.outside[None]
        return jnp.where(state.present | jnp.isnan(residual).any(-1), length(residual), jnp.inf)

    return Scorer.single(init, inner.update, inner.merge, finalize, score)
