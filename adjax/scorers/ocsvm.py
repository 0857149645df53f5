"""One-class SVM: scikit-learn fits it to a bounded sample, JAX scores.

    score(f) = log ρ − log Σ_i α_i exp(−γ ‖f − v_i‖²)

Schölkopf et al., "Estimating the support of a high-dimensional distribution" (Neural Computation, 2001): the smallest
region of feature space, in the kernel's sense, that leaves out a share ν of the images. The score is
−log(1 + d/ρ) of scikit-learn's decision_function d, so it ranks images as −d does, and 0 is the same boundary.

Why not −d itself: it ends at ρ. Where γ is large for the features, nearly all images lie there, to the last bit of
float32; and each fit of a cross-fit has a ρ of its own, so a threshold from one could lie above every score of another.
The logarithm grows as the squared distance to the nearest support vector, and is in the same unit in every fit.

libsvm's time grows as the square of the rows, so rows beyond `capacity` are sampled (`adjax.scorers._reservoir`). It
runs on the host, by a callback: fitting works inside `jit` like any other scorer's, only not where there is no host
Python.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT, at_least, clipped
from adjax.scorers import _reservoir
from adjax.scorers._reservoir import Sample
from adjax.types import Outputs, Scorer

_LIMIT = 1e15


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      scale: float32[], √γ.
      vectors: float32[capacity, D], √γ (v_i − origin); of the sampled rows, support vectors or not.
      weights: float32[capacity], α_i/ρ; 0 for rows that are no support vectors.
      rho: float32[], 0. In detectors of earlier files it is ρ, and `weights` are α_i: these score −d, as they did.
    """

    origin: jax.Array
    scale: jax.Array
    vectors: jax.Array
    weights: jax.Array
    rho: jax.Array


def ocsvm(
    nu: float = 0.5, gamma: float | Literal["scale"] = "scale", capacity: int = 6000, feature: str = "features"
) -> Scorer:
    """One-class SVM with an RBF kernel on `outputs[feature]`, float [N, D].

    Args:
      nu: ν in (0, 1]: at most that share of the images lies outside, and at least that share are support vectors.
      gamma: γ > 0, or "scale": 1 / (D · variance of all numbers in the sample).
      capacity: rows that the fit may keep. Fitting takes time in its square, scoring and memory in it.
      feature: name of the network output to score.

    Returns:
      A `Scorer`; `distances` has one column, whatever the classes. An image whose features are NaN scores NaN. Rows
      with a feature that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit;
      fitted to no row at all, every score is +inf.

    Raises:
      ValueError: an option outside of its range.
    """
    if not 0 < nu <= 1:
        raise ValueError(f"nu {nu} must lie in (0, 1]")
    if gamma != "scale" and not (isinstance(gamma, int | float) and 0 < gamma < np.inf):
        raise ValueError(f"gamma {gamma!r}: must be 'scale' or a positive number")
    if capacity < 1:
        raise ValueError(f"capacity {capacity} must be at least 1 row")

    def init(dim: int, classes: int) -> Sample:
        return _reservoir.init(capacity, dim, classes)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        return _reservoir.update(stats, outputs[feature], labels, mask)

    def finalize(stats: Sample) -> State:
        known = _reservoir.kept(stats)
        count = jnp.maximum(known.sum(), 1).astype(jnp.float32)
        origin = stats.rows.sum(0) / count
        rows = jnp.where(known[:, None], stats.rows - origin[None], 0)
        if gamma == "scale":  # about the mean of all numbers, as scikit-learn has it
            level = origin - origin.mean()
            variance = (jnp.square(rows).sum() / count + jnp.square(level).sum()) / rows.shape[1]
            width = rows.shape[1] * variance
            scale = lax.rsqrt(jnp.where(width > 0, width, 1))
        else:
            scale = jnp.float32(gamma**0.5)
        rows = rows * scale
        shape = jax.ShapeDtypeStruct((capacity,), jnp.float32)
        weights = jax.pure_callback(_fit, shape, rows, known, nu, vmap_method="sequential")
        return State(origin, scale, rows, weights, jnp.float32(0))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = clipped(outputs[feature].astype(jnp.float32), _LIMIT)
        x = (x - state.origin[None]) * state.scale
        # The expanded square: what it loses of a distance, the kernel does not feel.
        inner = jnp.matmul(x, state.vectors.T, precision=EXACT)
        square = jnp.square(x).sum(-1)[:, None] - 2 * inner + jnp.square(state.vectors).sum(-1)[None]
        far = -jax.nn.logsumexp(jnp.log(state.weights)[None] - at_least(square, 0), -1)
        return jnp.where(state.rho > 0, state.rho - jnp.exp(-far), far)

    return Scorer.single(init, update, _reservoir.merge, finalize, score)


def _fit(given: ArrayLike, known: ArrayLike, nu: ArrayLike) -> np.ndarray:
    """On the host: α/ρ of each row, with γ = 1."""
    from sklearn.svm import OneClassSVM  # when called: scoring needs no scikit-learn

    rows, places = np.asarray(given), np.flatnonzero(np.asarray(known))
    weights = np.zeros(len(rows), np.float32)
    if len(places) == 0:
        return weights
    kept = rows[places].astype(np.float64)
    inner = kept @ kept.T
    square = np.diag(inner)
    kernel = np.exp(-np.maximum(square[:, None] - 2 * inner + square[None], 0))
    machine = OneClassSVM(kernel="precomputed", nu=float(np.asarray(nu)), tol=1e-5).fit(kernel)
    weights[places[machine.support_]] = machine.dual_coef_[0] / -machine.intercept_[0]
    return weights
