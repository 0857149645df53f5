"""Gaussian mixture: negative log-likelihood of an image's features.

    score(f) = −log Σ_k π_k N(f; μ_k, Σ_k)

With one component the fit is in closed form, from the running sums of `adjax.scorers.mahalanobis`: every image counts,
and none is kept. With more, expectation maximisation (Dempster, Laird & Rubin, 1977) runs on the device, on a bounded
sample of the rows (`adjax.scorers._reservoir`), from a k-means start (`adjax.scorers._mixture`).

Every covariance may be shrunk towards the mean variance v of all features over all images, Σ_k ← (1 − s) Σ_k + s v I,
so that no component can close in on a single image.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import EXACT, anchor_of, clipped
from adjax.scorers import _reservoir
from adjax.scorers._leave_one_out import own_square, without
from adjax.scorers._mixture import Options, State, check, log_densities, maximise, of_moments
from adjax.scorers._reservoir import Sample
from adjax.scorers.mahalanobis import Stats, mahalanobis
from adjax.types import Outputs, PyTree, Scorer

_LIMIT = 1e15


class Sums(NamedTuple):
    """Statistics for one component.

    Attributes:
      counts: float32[K], images of each class.
      all: those of `adjax.scorers.mahalanobis`, all images in one class.
    """

    counts: jax.Array
    all: Stats


def gmm(
    components: int = 1,
    covariance: Literal["full", "tied", "diag"] = "full",
    shrinkage: float = 0.0,
    iterations: int = 50,
    capacity: int = 6000,
    seed: int = 0,
    feature: str = "features",
) -> Scorer:
    """Gaussian mixture on `outputs[feature]`, float [N, D], one for the images of all classes together.

    Args:
      components: M ≥ 1; a fit takes as many different images at least.
      covariance: "full", one per component; "tied", one for all; "diag", variances only.
      shrinkage: s above, in [0, 1].
      iterations: of expectation maximisation, ≥ 1; always that many.
      capacity: rows that a fit of several components may keep.
      seed: of the k-means start.
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` is a negative log-likelihood, of either sign; `distances` has one column. An image whose
      features are NaN scores NaN. Rows with a feature that is not finite (or beyond 1e15), or with a label outside of
      0 … K−1, are left out of the fit; fitted to no row at all, every score is +inf.

    Raises:
      ValueError: an option outside of its range.
    """
    options = Options(components, covariance, shrinkage, iterations, seed)
    check(options, capacity)
    one = mahalanobis("tied", feature=feature)

    def init(dim: int, classes: int) -> Sums | Sample:
        if components > 1:
            return _reservoir.init(capacity, dim, classes)
        return Sums(jnp.zeros(classes, jnp.float32), one.init(dim, 1))

    def update(stats: Sums | Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sums | Sample:
        if isinstance(stats, Sample):
            return _reservoir.update(stats, outputs[feature], labels, mask)
        classes = stats.counts.size
        known = (labels >= 0) & (labels < classes)
        member = jnp.where((mask & known)[:, None], jax.nn.one_hot(labels, classes, dtype=jnp.float32), 0)
        together = one.update(stats.all, outputs, jnp.where(known, 0, -1), mask)
        return Sums(stats.counts + member.sum(0), together)

    def merge(a: PyTree, b: PyTree) -> Sums | Sample:
        if isinstance(a, Sample):
            return _reservoir.merge(a, b)
        return Sums(a.counts + b.counts, one.merge(a.all, b.all))

    def finalize(stats: Sums | Sample) -> State:
        if isinstance(stats, Sample):
            known = _reservoir.kept(stats)
            anchor = anchor_of(stats.rows, known.sum().astype(jnp.float32))
            return maximise(options, jnp.where(known[:, None], stats.rows - anchor[None], 0), known, anchor)
        anchor, counts, mean, scatter, _ = stats.all
        cov = scatter / jnp.maximum(counts, 1)[:, None, None]
        variance = jnp.trace(cov[0]) / anchor.size
        if covariance == "diag":
            cov = jnp.diagonal(cov, axis1=1, axis2=2)
        return of_moments(options, anchor, (counts > 0).astype(jnp.float32), mean, cov, variance)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = clipped(outputs[feature].astype(jnp.float32), _LIMIT) - state.origin[None]
        return -jax.nn.logsumexp(log_densities(state, x), -1)

    def unseen(stats: Sums, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        count, whiten = stats.all.counts[0], state.whiten[0]
        r = clipped(outputs[feature].astype(jnp.float32), _LIMIT) - state.origin[None] - state.means
        z = jnp.matmul(r, whiten, precision=EXACT)
        gram = jnp.matmul(whiten.T, whiten, precision=EXACT)
        gone = without(r, z, gram, count, jnp.full(len(r), count), shrinkage)
        return (0.5 * (own_square(gone, z) + gone.log_det) - state.offset[0])[:, None]

    closed = components == 1 and covariance != "diag"
    return Scorer.single(init, update, merge, finalize, score, unseen if closed else None, fewest=components)
