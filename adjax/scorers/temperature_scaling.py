"""Temperature scaling: maximum softmax probability at the temperature that suits labelled images best.

    score(z) = 1 − max_k p_k        p = softmax(z / T),  T = argmin Σ_n −log softmax(z_n / T)_y_n

Guo et al., "On calibration of modern neural networks" (ICML 2017): the score is then how likely the predicted class is
wrong. The paper fits T to held-out images; on its training images a network is surer than it should be. The negative
log-likelihood is convex in 1/T, and its minimum is found to float32's precision by Newton's method within a bracket.

There is none where every image is classified rightly (T → 0) or no better than by chance (T → ∞). T is 1 then.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax.scorers import _reservoir
from adjax.scorers._logits import uncertainty, unclipped
from adjax.scorers._reservoir import Sample
from adjax.types import Outputs, Scorer

_STEPS = 100
_FAR = 30.0
"""1/T is sought within exp(± that), in units of the logits' spread."""
_CLOSE = 1e-6


class State(NamedTuple):
    """Fitted state.

    Attributes:
      temperature: float32[1], T.
      present: bool[1], whether there was any image.
    """

    temperature: jax.Array
    present: jax.Array


def temperature_scaling(capacity: int = 10_000) -> Scorer:
    """Temperature scaling of `outputs["logits"]`, float [N, K], one for each class, K ≥ 2.

    Args:
      capacity: images that T is fitted to, ≥ 1: a random sample, if there are more.

    Returns:
      A `Scorer`. `score` lies in [0, 1 − 1/K]; `distances` has one column. A NaN among the logits is one, +inf scores
      +inf. Images with a logit that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of
      the fit; fitted to no image at all, every score is +inf.

    Raises:
      ValueError: capacity < 1; in fitting, not as many logits as classes.
    """
    if capacity < 1:
        raise ValueError(f"capacity {capacity}: must be at least 1 image")

    def init(dim: int, classes: int) -> Sample:
        return _reservoir.init(capacity, classes + 1, classes)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        z = outputs["logits"].astype(jnp.float32)
        if z.shape[-1] != stats.counts.size:
            raise ValueError(
                f"{z.shape[-1]} logits for {stats.counts.size} classes: temperature scaling needs one for each"
            )
        rows = jnp.concatenate([z, labels[:, None].astype(jnp.float32)], -1)
        return _reservoir.update(stats, rows, labels, mask)

    def finalize(stats: Sample) -> State:
        known = _reservoir.kept(stats)
        t = best(stats.rows[:, :-1], stats.rows[:, -1].astype(jnp.int32), known)
        return State(t[None], known.any(keepdims=True))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        value = uncertainty(unclipped(outputs, least=2), state.temperature[0])
        return jnp.where(state.present | jnp.isnan(value), value, jnp.inf)

    return Scorer.single(init, update, _reservoir.merge, finalize, score)


def best(z: jax.Array, labels: jax.Array, known: jax.Array) -> jax.Array:
    """Finds the temperature of the smallest negative log-likelihood.

    Args:
      z: float32[M, K], logits.
      labels: int32[M], 0 … K−1.
      known: bool[M], rows that count.

    Returns:
      float32[], > 0; 1 where there is no minimum.
    """
    z = z - z.max(-1, keepdims=True)
    own = jnp.take_along_axis(z, labels[:, None], -1)
    count = jnp.maximum(known.sum(), 1).astype(jnp.float32)

    def mean(x: jax.Array) -> jax.Array:
        return jnp.where(known, x, 0).sum() / count

    unit = jnp.maximum(mean(-z.mean(-1)), 1e-30)
    z, own = z / unit, own / unit

    def slopes(b: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The loss's first and second derivative by b, the inverse temperature."""
        p = jax.nn.softmax(b * z, -1)
        average = (p * z).sum(-1, keepdims=True)
        return mean(average[:, 0] - own[:, 0]), mean((p * jnp.square(z - average)).sum(-1))

    def on(search: tuple) -> jax.Array:
        step, _, _, _, moved = search
        return (step < _STEPS) & (moved > _CLOSE)

    def nearer(search: tuple) -> tuple:
        step, b, low, high, _ = search
        slope, bend = slopes(b)
        low, high = jnp.where(slope < 0, b, low), jnp.where(slope < 0, high, b)
        newton = b - slope / jnp.maximum(bend, 1e-30)
        inside = (newton > low) & (newton < high)
        new = jnp.where(inside, newton, jnp.sqrt(low) * jnp.sqrt(high))
        return step + 1, new, low, high, jnp.abs(new / b - 1)

    start = jnp.int32(0), jnp.float32(1), jnp.exp(-_FAR).astype(jnp.float32), jnp.exp(_FAR), jnp.float32(jnp.inf)
    b = lax.while_loop(on, nearer, start)[1]
    wrong = mean((own[:, 0] < 0).astype(jnp.float32)) > 0
    chance = mean(z.mean(-1) - own[:, 0]) >= 0
    return jnp.where(wrong & ~chance, unit / b, 1)
