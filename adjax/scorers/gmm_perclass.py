"""Gaussian mixture with components for each class: negative log-likelihood of an image's features.

    score(f) = −log Σ_k π_k Σ_m π_km N(f; μ_km, Σ_km)

with π_k the share of the training images that are of class k, and M components fitted to the images of each class. With
one component per class, the default, this is the generative classifier of class-conditional Gaussians, and the fit is
in closed form, from the running sums of `adjax.scorers.mahalanobis`: every image counts, and none is kept. With more,
expectation maximisation runs in each class, on a bounded sample of the rows of all (`adjax.scorers._reservoir`).

Covariances are shrunk towards the mean variance of their class, by the share that `mahalanobis_perclass` takes: a
feature that never fires in a class would have the last word otherwise.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import anchor_of
from adjax.scorers import _reservoir
from adjax.scorers._mixture import Options, State, check, log_densities, maximise, of_moments
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import within
from adjax.scorers.mahalanobis import Stats, mahalanobis
from adjax.types import Outputs, PyTree, Scorer


def gmm_perclass(
    components: int = 1,
    covariance: Literal["full", "tied", "diag"] = "full",
    shrinkage: float = 0.1,
    iterations: int = 50,
    capacity: int = 6000,
    seed: int = 0,
    feature: str = "features",
) -> Scorer:
    """Gaussian mixtures of each class's `outputs[feature]`, float [N, D].

    Args:
      components: M ≥ 1 per class.
      covariance: "full", one per component; "tied", with M = 1 one for all classes, else one per class; "diag",
        variances only.
      shrinkage: towards the mean variance, in [0, 1]; with M = 1 and "tied", that of all classes together.
      iterations, seed, feature: as of `gmm`.
      capacity: rows of all classes together that a fit of several components may keep.

    Returns:
      A `Scorer`, whose state is that of `gmm` with K · M components. `score` is a negative log-likelihood, of either
      sign; `distances` has one column. An image whose features are NaN scores NaN. Rows with a feature that is not
      finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit; fitted to no row at all,
      every score is +inf.

    Raises:
      ValueError: an option outside of its range.
    """
    options = Options(components, covariance, shrinkage, iterations, seed)
    check(options, capacity)
    one = mahalanobis("tied" if covariance == "tied" else "class", feature=feature)

    def init(dim: int, classes: int) -> Stats | Sample:
        return one.init(dim, classes) if components == 1 else _reservoir.init(capacity, dim + 1, classes)

    def update(stats: Stats | Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats | Sample:
        if isinstance(stats, Stats):
            return one.update(stats, outputs, labels, mask)
        rows = jnp.concatenate([outputs[feature], labels[:, None]], -1, dtype=jnp.float32)
        return _reservoir.update(stats, rows, labels, mask)

    def merge(a: PyTree, b: PyTree) -> Stats | Sample:
        return one.merge(a, b) if isinstance(a, Stats) else _reservoir.merge(a, b)

    def finalize(stats: Stats | Sample) -> State:
        share = stats.counts / jnp.maximum(stats.counts.sum(), 1)
        if isinstance(stats, Sample):
            return _maximised(stats, share)
        counts = stats.counts.sum(keepdims=True) if covariance == "tied" else stats.counts
        cov = stats.scatter / jnp.maximum(counts, 1)[:, None, None]
        variance = jnp.trace(cov, axis1=1, axis2=2) / stats.anchor.size
        if covariance == "diag":
            cov = jnp.diagonal(cov, axis1=1, axis2=2)
        return of_moments(options, stats.anchor, share, stats.mean, cov, variance)

    def _maximised(stats: Sample, share: jax.Array) -> State:
        rows, labels, known = stats.rows[:, :-1], stats.rows[:, -1], _reservoir.kept(stats)
        anchor = anchor_of(rows, known.sum().astype(jnp.float32))

        def one_class(of: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            k, share = of
            mine = known & (labels == k)
            origin = anchor_of(jnp.where(mine[:, None], rows, 0), mine.sum().astype(jnp.float32))
            fitted = maximise(options, jnp.where(mine[:, None], rows - origin[None], 0), mine, origin)
            repeats = components // len(fitted.whiten)
            whiten = jnp.repeat(fitted.whiten, repeats, 0)
            return fitted.means + (origin - anchor)[None], whiten, fitted.offset + jnp.log(share)

        every = jnp.arange(len(share), dtype=jnp.float32)
        parts = lax.map(one_class, (every, share))
        return State(anchor, *(x.reshape(-1, *x.shape[2:]) for x in parts))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return -jax.nn.logsumexp(log_densities(state, within(outputs, feature) - state.origin[None]), -1)

    return Scorer.single(init, update, merge, finalize, score, fewest=components)
