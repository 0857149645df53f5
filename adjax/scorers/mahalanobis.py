"""Mahalanobis distance to class means in feature space, with a covariance per class, one for all, or between.

    d_i(f) = sqrt((f − μ_i)ᵀ Σ_i⁻¹ (f − μ_i))

with Σ_i class i's own covariance ("Anomaly Detection in Image Datasets Using CNN, Center Loss, and
Mahalanobis Distance", section II) or the tied one, pooled within classes (Lee et al., "A simple unified framework for
detecting out-of-distribution samples", NeurIPS 2018). Between the two is the partially pooled one, where a class's own
S_i counts by its images and the tied S by as many as there are features:

    Σ_i = (n_i S_i + D S) / (n_i + D)

So of many images it is the class's own, of fewer than features mostly the tied one (Friedman, "Regularized discriminant
analysis", JASA 1989, equations 15 and 16, with a weight that falls with n_i). Each may be shrunk towards its mean
variance, Σ ← (1 − s) Σ + s · tr(Σ)/D · I: directions in which training features hardly vary then no longer drown all
others.

Float32 carries it because nothing large is ever subtracted from something as large:

* Fitting is one pass of mergeable sums, counts, means and scatter about the means (Chan, Golub, LeVeque
  1979), never Σ f fᵀ − n μ μᵀ; and means are kept relative to an anchor among the data. What rounding takes
  from each sum is kept beside it: after millions of merges it would be more than what is added.
* Scoring whitens by one matmul, Σ⁻¹ = W Wᵀ, and then takes differences to the means before squaring. The
  square expanded, ‖z‖² − 2 z·m + ‖m‖², would lose a small distance from a mean that is far out; the compiler
  fuses the differences into the sum, so they cost a quarter more time on CPU and no memory.
* What has no variance that float32 can tell from none counts as noise (`adjax.scorers._whiten`). So a singular
  covariance (duplicate or dead features, fewer images than features) gives large finite distances.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import EXACT, anchor_of, at_least, clipped, lowest, rows_at
from adjax.scorers._blocks import by_blocks
from adjax.scorers._leave_one_out import own_square, without
from adjax.scorers._whiten import triangular, whitening
from adjax.types import Outputs, Scorer

_MANY, _NEAR = 64, 4
"""From 64 classes on, only the 4 nearest are taken by differences."""
_EPS = 2.0**-23
_LIMIT = 1e15
"""Features are held within ± this, so that no square of one overflows to an inf − inf."""


class Lost(NamedTuple):
    """Compensation of each running sum for rounding, float32 of its shape: together they have twice the digits."""

    counts: jax.Array
    mean: jax.Array
    scatter: jax.Array


class Stats(NamedTuple):
    """Running sums.

    Attributes:
      anchor: float32[D], a point among the data; the mean of the first batch.
      counts: float32[K].
      mean: float32[K, D], class means less the anchor.
      scatter: float32[K or 1, D, D], about the class means.
      lost: by counts, mean and scatter.
    """

    anchor: jax.Array
    counts: jax.Array
    mean: jax.Array
    scatter: jax.Array
    lost: Lost


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      whiten: float32[K or 1, D, D], W with Σ⁻¹ = W Wᵀ.
      means: float32[K, D], class means less the origin; whitened if the covariance is tied.
      present: bool[K], classes that had images; no image is near the others.
    """

    origin: jax.Array
    whiten: jax.Array
    means: jax.Array
    present: jax.Array


def pooled(stats: Stats) -> Stats:
    """Tied statistics with all classes taken as one: what lies between their means joins the scatter."""
    count = stats.counts.sum(keepdims=True)
    mean = jnp.matmul((stats.counts / jnp.maximum(count, 1))[None], stats.mean, precision=EXACT)
    step = stats.mean - mean
    between = jnp.matmul((stats.counts[:, None] * step).T, step, precision=EXACT)
    return _fresh(stats.anchor, count, mean, stats.scatter + between[None])


def _fresh(anchor: jax.Array, counts: jax.Array, mean: jax.Array, scatter: jax.Array) -> Stats:
    return Stats(anchor, counts, mean, scatter, Lost(*map(jnp.zeros_like, (counts, mean, scatter))))


def _add(a: jax.Array, b: jax.Array, lost: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a + b + lost in float32, and what rounding takes from it (Knuth's two-sum). |lost| is less than half a digit."""
    total = a + b
    back = total - a
    lost = lost + ((a - (total - back)) + (b - back))
    whole = total + lost
    return whole, lost - (whole - total)


def _squares(z: jax.Array, means: jax.Array) -> jax.Array:
    """Squared distances float32[N, K] of rows float32[N, D] from each of the means float32[K, D].

    From differences. With many classes only to the nearest few, where ‖z‖² − 2 z·m + ‖m‖², which is a matmul, would
    cancel: to the others it is as good, and up to ten times as fast.
    """
    if len(means) < _MANY:
        return jnp.square(z[:, None] - means[None]).sum(-1)
    cross = jnp.matmul(z, means.T, precision=EXACT)
    square = at_least(jnp.square(z).sum(-1)[:, None] - 2 * cross + jnp.square(means).sum(-1)[None], 0)
    return lax.platform_dependent(square, z, means, cpu=_scattered, default=_selected)


def _scattered(square: jax.Array, z: jax.Array, means: jax.Array) -> jax.Array:
    """The squares, those of the nearest few from differences."""
    near = lax.top_k(jnp.where(jnp.isnan(square), -jnp.inf, -square), _NEAR)[1]  # or it goes by the sign of a NaN
    exact = jnp.square(z[:, None] - means[near]).sum(-1)
    return square.at[jnp.arange(len(z))[:, None], near].set(exact)


def _selected(square: jax.Array, z: jax.Array, means: jax.Array) -> jax.Array:
    """As `_scattered`, without a sort and a scatter, which accelerators are slow at."""
    number, rest = jnp.arange(len(means))[None], jnp.where(jnp.isnan(square), jnp.inf, square)
    for _ in range(_NEAR):
        nearest = rest.argmin(-1)
        here = number == nearest[:, None]
        exact = jnp.square(z - rows_at(nearest, means)).sum(-1, keepdims=True)
        square, rest = jnp.where(here, exact, square), jnp.where(here, jnp.inf, rest)
    return square


def mahalanobis(
    covariance: Literal["tied", "class", "partial"] = "tied",
    shrinkage: float = 0.1,
    feature: str = "features",
    solver: Literal["eigen", "cholesky"] = "eigen",
) -> Scorer:
    """Mahalanobis scorer on `outputs[feature]`, float [N, D].

    Args:
      covariance: "tied", pooled within classes; "class", each class its own (the paper); or "partial", each class its
        own, partially pooled.
      shrinkage: s above, in [0, 1]; 0 is the plain covariance, 1 a scaled Euclidean distance.
      feature: name of the network output to score.
      solver: of Σ⁻¹: "eigen", as exact as float32 allows; "cholesky", many times as fast, as good where s > 0.

    Returns:
      A `Scorer`. `score` is the distance to the nearest class, ≥ 0, in standard deviations; an image whose
      features are NaN scores NaN, and no other does. Rows with a feature that is not finite (or beyond 1e15),
      or with a label outside of 0 … K−1, are left out of the fit.

    Raises:
      ValueError: unknown covariance, or shrinkage outside of [0, 1].
    """
    if covariance not in ("tied", "class", "partial"):
        raise ValueError(f"covariance {covariance!r}: must be 'tied', 'class' or 'partial'")
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage {shrinkage} must lie in [0, 1]")
    if solver not in ("eigen", "cholesky"):
        raise ValueError(f"solver {solver!r}: must be 'eigen' or 'cholesky'")
    tied, partly = covariance == "tied", covariance == "partial"
    inverted = whitening if solver == "eigen" else triangular

    def init(dim: int, classes: int) -> Stats:
        shapes = (dim,), (classes,), (classes, dim), (1 if tied else classes, dim, dim)
        return _fresh(*(jnp.zeros(shape, jnp.float32) for shape in shapes))

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        x = outputs[feature].astype(jnp.float32)
        known = (labels >= 0) & (labels < stats.counts.size) & (jnp.abs(x) <= _LIMIT).all(-1)
        keep = (mask & known)[:, None]
        member = jnp.where(keep, jax.nn.one_hot(labels, stats.counts.size, dtype=jnp.float32), 0)
        count = member.sum(0)
        x = jnp.where(keep, x, 0)
        anchor = anchor_of(x, count.sum())
        x = jnp.where(keep, x - anchor[None], 0)
        mean = jnp.matmul(member.T, x, precision=EXACT) / jnp.maximum(count, 1)[:, None]
        rest = jnp.where(keep, x - mean[jnp.where(known, labels, 0)], 0)
        if tied:
            scatter = jnp.matmul(rest.T, rest, precision=EXACT)[None]
        else:
            scatter = lax.map(lambda m: jnp.matmul((m[:, None] * rest).T, rest, precision=EXACT), member.T)
        return merge(stats, _fresh(anchor, count, mean, scatter))

    def merge(a: Stats, b: Stats) -> Stats:
        anchor = jnp.where(a.counts.sum() > 0, a.anchor, b.anchor)
        counts, lost_counts = _add(a.counts, b.counts, a.lost.counts + b.lost.counts)
        share = b.counts / jnp.maximum(counts, 1)
        step = b.mean + (b.anchor - anchor)[None] - a.mean + (b.lost.mean - a.lost.mean)
        mean, lost_mean = _add(a.mean, share[:, None] * step, a.lost.mean)
        weight = (a.counts * share)[:, None] * step
        if tied:
            between = jnp.matmul(weight.T, step, precision=EXACT)[None]
        else:
            between = weight[:, :, None] * step[:, None, :]
        scatter, lost_scatter = _add(a.scatter, b.scatter + between, a.lost.scatter + b.lost.scatter)
        return Stats(anchor, counts, mean, scatter, Lost(lost_counts, lost_mean, lost_scatter))

    def finalize(stats: Stats) -> State:
        dim = stats.scatter.shape[-1]
        count = stats.counts.sum(keepdims=True) if tied else stats.counts
        scatter = stats.scatter
        if partly:
            scatter = scatter + dim * scatter.sum(0, keepdims=True) / jnp.maximum(count.sum(), 1)
            count = count + dim
        cov = scatter / jnp.maximum(count, 1)[:, None, None]
        variance = jnp.trace(cov, axis1=1, axis2=2)[:, None, None] / dim
        cov = (1 - shrinkage) * cov + shrinkage * variance * jnp.eye(dim, dtype=jnp.float32)[None]
        whiten, _ = inverted(cov, stats.anchor[None] + stats.mean)
        means = jnp.matmul(stats.mean, whiten[0], precision=EXACT) if tied else stats.mean
        return State(stats.anchor, whiten, means, stats.counts > 0)

    def distances(state: State, outputs: Outputs) -> Float[Array, "N K"]:
        def squares(x: jax.Array) -> jax.Array:
            x = clipped(x.astype(jnp.float32), _LIMIT) - state.origin[None]
            if tied:
                return _squares(jnp.matmul(x, state.whiten[0], precision=EXACT), state.means)
            return lax.map(partial(one_class, x), (state.means, state.whiten)).T

        square = squares(outputs[feature])
        # sqrt with a finite gradient at zero; comparisons written so that NaN stays NaN
        zero = square <= 0
        distance = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))
        return jnp.where(state.present[None], distance, jnp.inf)

    def one_class(x: jax.Array, of: tuple[jax.Array, jax.Array]) -> jax.Array:
        mean, whiten = of  # the mean goes first: an ill-conditioned W magnifies whatever it leaves
        return jnp.square(jnp.matmul(x - mean[None], whiten, precision=EXACT)).sum(-1)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return lowest(distances(state, outputs))

    def unseen(stats: Stats, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        grams = jnp.matmul(jnp.swapaxes(state.whiten, 1, 2), state.whiten, precision=EXACT)

        def block(of: tuple[jax.Array, jax.Array]) -> jax.Array:
            rows, labels = of
            x = clipped(rows.astype(jnp.float32), _LIMIT) - state.origin[None]
            own, mine = stats.counts[labels], jax.nn.one_hot(labels, stats.counts.size, dtype=bool)
            r = x - stats.mean[labels]
            if tied:
                whitened = jnp.matmul(x, state.whiten[0], precision=EXACT)
                z = whitened - state.means[labels]
                gone = without(r, z, grams[0], stats.counts.sum(), own, shrinkage)
                apart = jnp.matmul(z, state.means.T, precision=EXACT)  # of another mean: (z + m_k − m_j) · z
                inner = jnp.square(z).sum(-1, keepdims=True) - apart
                inner = inner + jnp.take_along_axis(apart, labels[:, None], 1)
                square = gone.rounder[:, None] * _squares(whitened, state.means) + gone.gain[:, None] * inner**2
                square = jnp.where(mine, own_square(gone, z)[:, None], square / gone.grown)
            else:

                def one(of: tuple[jax.Array, ...]) -> jax.Array:
                    mean, whiten, gram, count, mine = of
                    z = jnp.matmul(r, whiten, precision=EXACT)
                    apart = jnp.matmul(x - mean, whiten, precision=EXACT)
                    count = count + prior
                    grown = (count + prior / jnp.maximum(total - 1, 1)) / jnp.maximum(count - mine, 1)
                    gone = without(r, z, gram, count, own, shrinkage, mine + prior / total, grown)
                    inner = (apart * z).sum(-1)
                    square = gone.rounder * jnp.square(apart).sum(-1) + gone.gain * inner**2
                    return jnp.where(mine, own_square(gone, z), square / gone.grown)

                prior = x.shape[-1] if partly else 0
                total = jnp.maximum(stats.counts.sum(), 1)
                square = lax.map(one, (state.means, state.whiten, grams, stats.counts, mine.T)).T
            alone = mine & (own <= 1)[:, None]
            return jnp.where(state.present[None] & ~alone, jnp.sqrt(square), jnp.inf)

        return by_blocks(block, (outputs[feature], labels))

    return Scorer(init, update, merge, finalize, score, distances, unseen)
