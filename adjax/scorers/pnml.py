"""pNML: regret of predictive normalised maximum likelihood for the last layer.

    score(f) = 1/log K · log Σ_k p_k / (p_k + (1 − p_k) p_k^g)        p = softmax(W f̂ + b),  f̂ = f / ‖f‖

with g = q / (1 + q), q = f̂ᵀ (Σ_n f̂_n f̂_nᵀ)⁻¹ f̂ over the training images. Bibas, Feder & Hassner, "Single layer
predictive normalized maximum likelihood for out-of-distribution detection" (NeurIPS 2021): each term is what p_k
becomes if the layer is fitted again with the image as one of class k, which changes most in directions that training
features leave out. Probabilities are those of the normalised features, as in the authors' code. W and b are recovered
from features and logits (`adjax.scorers._head`).

Float32 carries it: the matrix is kept as its triangular root, Rᵀ R = Σ f̂ f̂ᵀ, by a QR decomposition of what there was
and what is new (Golub & Van Loan, "Matrix computations", section 6.5), since the sum itself would square the condition
number; where a direction of R is rounding, it counts as large as that, and g is 1 there, which is the paper's for what
no training image has; and the logarithm is one of 1 + (what the other classes gain) − (what the likeliest lacks).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT
from adjax.scorers import _head, _reservoir
from adjax.scorers._head import Head
from adjax.scorers._logits import guarded, log_rest, odds, read
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT, direction, within
from adjax.types import Outputs, Scorer

_CUTOFF = 16 * 2.0**-23
"""Singular values below that share of the largest are rounding."""


class Stats(NamedTuple):
    """Running statistics.

    Attributes:
      sample: features and logits, for the last layer.
      counts: float32[1], images behind `root`.
      root: float32[D, D], upper triangular, R above.
    """

    sample: Sample
    counts: jax.Array
    root: jax.Array


class State(NamedTuple):
    """Fitted state: the last layer, and float32[D, D], V S⁻¹ of R = U S Vᵀ."""

    head: Head
    whiten: jax.Array


def pnml(
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """pNML on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], L ≥ 2, linear in them.

    Args:
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`. `score` lies between 0 and 1; `distances` has one column. Numbers that are not finite, and fits to no
      image, score as in `ash`.

    Raises:
      ValueError: `init` for as many features as capacity, or for one logit; in fitting, another number of logits or a
        kernel of another shape.
    """
    start, add = _head.sampling(capacity, logits, feature)

    def init(dim: int, classes: int) -> Stats:
        return Stats(start(dim, classes), jnp.zeros(1, jnp.float32), jnp.zeros((dim, dim), jnp.float32))

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        keep = mask & (labels >= 0) & (labels < stats.sample.counts.size)
        for name in (feature, "logits"):
            keep = keep & (jnp.abs(outputs[name].astype(jnp.float32)) <= LIMIT).all(-1)
        x = jnp.where(keep[:, None], direction(within(outputs, feature)), 0)
        root = _root(jnp.concatenate([jnp.zeros_like(stats.root), x]))  # square, however few the rows
        return Stats(
            add(stats.sample, outputs, labels, mask),
            *_joined(stats.counts, stats.root, keep.sum(keepdims=True).astype(jnp.float32), root),
        )

    def merge(a: Stats, b: Stats) -> Stats:
        return Stats(_reservoir.merge(a.sample, b.sample), *_joined(a.counts, a.root, b.counts, b.root))

    def finalize(stats: Stats) -> State:
        head = _head.solve(*_head.rows(stats.sample, logits), kernel)
        _, size, directions = jnp.linalg.svd(stats.root)
        size = jnp.maximum(size, _CUTOFF * size[:1])
        return State(head, directions.T / jnp.where(size > 0, size, 1)[None])

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        read(outputs, least=2)
        x = direction(within(outputs, feature))
        square = jnp.square(jnp.matmul(x, state.whiten, precision=EXACT)).sum(-1)
        z = _head.apply(state.head, x)
        value = _regret(z, square / (1 + square)) / jnp.log(z.shape[-1])
        value = jnp.where(jnp.isneginf(state.head.bias).any(), jnp.inf, value)  # fitted to no image
        return guarded(value, outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)


def _root(rows: jax.Array) -> jax.Array:
    """R of at least as many rows as columns."""
    return jnp.linalg.qr(rows, mode="r")


def _joined(count: jax.Array, root: jax.Array, other_count: jax.Array, other: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Count and root of both; bit for bit one of them, if the other is of no image."""
    both = _root(jnp.concatenate([root, other]))
    return count + other_count, jnp.where(other_count > 0, jnp.where(count > 0, both, other), root)


def _regret(z: jax.Array, g: jax.Array) -> jax.Array:
    """log Σ_k p_k / (p_k + (1 − p_k) p_k^g) ≥ 0, of logits float32[N, K] and g [N] in [0, 1)."""
    given = odds(z)
    top, whole = given.below >= 0, jnp.log1p(given.others)[:, None]
    logit = (1 - g)[:, None] * (given.below - whole) - (log_rest(given) - whole)
    gained = jnp.where(top, 0, jax.nn.sigmoid(logit)).sum(-1)
    lacked = jnp.where(top, jax.nn.sigmoid(-logit), 0).sum(-1)
    return jnp.log1p(jnp.maximum(gained - lacked + (jnp.where(top, 1.0, 0.0).sum(-1) - 1), 0))
