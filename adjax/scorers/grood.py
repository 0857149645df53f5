"""GROOD: distance to the nearest training image in the space of a gradient by an outlier prototype.

    score(f) = min_n ‖g(f) − g(f_n)‖
    g(f) = q_o (f − c_o) / ‖f − c_o‖        q = softmax(−‖f − c_1‖, … −‖f − c_K‖, −‖f − c_o‖)

g is the gradient by c_o of the cross-entropy of a nearest-prototype classifier, whatever class it is to be: it has a
closed form, and there is no backward pass. c_k is the mean feature of class k, and the f_n are training images that are
rightly classified. ElAraby et al., "GROOD: Gradient-aware out-of-distribution detection" (TMLR 2025).

The paper takes for c_o the mean feature of images mixed, at an early layer, with the mean of the class that is next
most likely; a scorer has no network, so here images are mixed at the features: c_o = mean of λ f_n + (1 − λ) c_next(n).
Who has outliers gives their mean feature as `outlier`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT
from adjax.scorers import _class_means, _reservoir
from adjax.scorers._class_means import Means
from adjax.scorers._logits import guarded, read
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import direction, length, nearest, within
from adjax.types import Outputs, Scorer


class Stats(NamedTuple):
    """Class means, and a sample of features, each with the number of the class that is next most likely."""

    means: Means
    sample: Sample


class Prototypes(NamedTuple):
    """What distances are taken to.

    Attributes:
      origin: float32[D], subtracted first, so that large common offsets cost no digits.
      classes: float32[K, D], class means less the origin.
      present: bool[K], classes that had images.
      outlier: float32[D], c_o less the origin.
    """

    origin: jax.Array
    classes: jax.Array
    present: jax.Array
    outlier: jax.Array


class State(NamedTuple):
    """Fitted state: prototypes, the gradients of training images float32[capacity, D], and which rows are images."""

    prototypes: Prototypes
    bank: jax.Array
    known: jax.Array


def grood(
    mix: float = 0.5, capacity: int = 10_000, feature: str = "features", outlier: ArrayLike | None = None
) -> Scorer:
    """GROOD on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, K], one for each of K ≥ 2 classes.

    Args:
      mix: λ above, in [0, 1].
      capacity: images remembered, ≥ 1. Scoring takes time in it, and so does a saved detector on disk.
      feature: name of the network output to score.
      outlier: float[D], c_o; None: as above.

    Returns:
      A `Scorer`. `score` lies between 0 and 2; `distances` has one column. A NaN among features or logits is one; an
      infinite feature or a logit of +inf scores +inf. Rows with a feature that is not finite (or beyond 1e15), with a
      NaN among the logits or a label outside of 0 … K−1, are left out of the fit; fitted to no row that is rightly
      classified, every score is +inf.

    Raises:
      ValueError: an option outside of its range; in fitting, not as many logits as classes, one class, or an outlier of
        another shape.
    """
    if not 0 <= mix <= 1:
        raise ValueError(f"mix {mix} must lie in [0, 1]")
    if capacity < 1:
        raise ValueError(f"capacity {capacity}: must be at least 1 image")

    def init(dim: int, classes: int) -> Stats:
        if outlier is not None and np.shape(outlier) != (dim,):
            raise ValueError(f"outlier of shape {np.shape(outlier)}: must be ({dim},), as features are")
        return Stats(_class_means.init(dim, classes), _reservoir.init(capacity, dim + 1, classes))

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        z, classes = read(outputs, least=2), stats.means.counts.size
        if z.shape[-1] != classes:
            raise ValueError(f"{z.shape[-1]} logits for {classes} classes: GROOD needs one for each")
        mask = mask & ~jnp.isnan(z).any(-1)
        following = lax.top_k(z, 2)[1]
        rows = jnp.concatenate([outputs[feature], following[:, 1:]], -1, dtype=jnp.float32)
        return Stats(
            _class_means.update(stats.means, outputs[feature], labels, mask),
            _reservoir.update(stats.sample, rows, labels, mask & (following[:, 0] == labels)),
        )

    def merge(a: Stats, b: Stats) -> Stats:
        return Stats(_class_means.merge(a.means, b.means), _reservoir.merge(a.sample, b.sample))

    def finalize(stats: Stats) -> State:
        origin, present, known = stats.means.anchor, stats.means.counts > 0, _reservoir.kept(stats.sample)
        x = jnp.where(known[:, None], stats.sample.rows[:, :-1] - origin[None], 0)
        following = jax.nn.one_hot(stats.sample.rows[:, -1].astype(jnp.int32), present.size, dtype=jnp.float32)
        share = jnp.where(known[:, None] & present[None], following, 0).sum(0)
        other = jnp.matmul((share / jnp.maximum(share.sum(), 1))[None], stats.means.mean, precision=EXACT)[0]
        mixed = mix * x.sum(0) / jnp.maximum(known.sum(), 1).astype(jnp.float32) + (1 - mix) * other
        if outlier is not None:
            mixed = jnp.asarray(outlier, jnp.float32) - origin
        prototypes = Prototypes(origin, stats.means.mean, present, mixed)
        return State(prototypes, jnp.where(known[:, None], _gradient(prototypes, x), 0), known)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        own = _gradient(state.prototypes, within(outputs, feature) - state.prototypes.origin[None])
        near = state.bank[nearest(own, state.bank, state.known, 1)[:, 0]]
        value = jnp.where(state.known.any(), length(own - near), jnp.inf)
        return guarded(value, outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)


def _gradient(prototypes: Prototypes, x: jax.Array) -> jax.Array:
    """g above, float32[N, D], of features less the origin."""
    far = lax.map(lambda mean: length(x - mean[None]), prototypes.classes).T
    away = x - prototypes.outlier[None]
    closeness = jnp.concatenate([jnp.where(prototypes.present[None], -far, -jnp.inf), -length(away)[:, None]], -1)
    return jax.nn.softmax(closeness, -1)[:, -1:] * direction(away)
