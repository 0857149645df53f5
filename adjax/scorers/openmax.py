"""OpenMax: odds of an unknown class, from Weibull tails of the distances of logits from their class means.

    score(z) = log P(unknown) / P(known) = v₀ − log Σ_k exp v_k
    v_k = z_k (1 − r_k W_k(‖z − μ_k‖)),  v₀ = Σ_k z_k r_k W_k

with r = 1, (a − 1)/a, … 1/a for the a largest logits in turn, and 0 for others. W_k is the Weibull distribution fitted
to the `tail` largest distances of the training images of class k from their mean logits μ_k: Bendale & Boult, "Towards
open set deep networks" (CVPR 2016). The paper's score is P(unknown), which rounds to 1 in float32; its odds rank alike
and don't. The paper's equations are kept where logits are negative, too: there a class that is denied counts against
the unknown one.

Distances are shifted to begin at `shift` before they are fitted, as by libMR, the paper's library, which makes W nearly
a Gumbel distribution. The fit is one of maximum likelihood by Newton's method, in y = s log(1 + (d − d_min) / s), the
logarithm of the shifted distance but for what float32 would lose: W = 1 − exp(−exp(κ (y − λ))).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import EXACT, place_of_highest
from adjax.scorers import _reservoir
from adjax.scorers._logits import guarded, read
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT, length
from adjax.types import Outputs, Scorer

_EPS = 2.0**-23
_STEPS = 30


class State(NamedTuple):
    """Fitted state.

    Attributes:
      means: float32[K, K], μ.
      least: float32[K], d_min, the smallest distance of the tail.
      rate: float32[K], κ > 0.
      location: float32[K], λ.
      present: bool[K], classes that had images; an image is unlike any of the others.
    """

    means: jax.Array
    least: jax.Array
    rate: jax.Array
    location: jax.Array
    present: jax.Array


def openmax(
    tail: int = 20,
    alpha: int = 10,
    by: Literal["correct", "label"] = "correct",
    shift: float = 10_000.0,
    capacity: int = 10_000,
) -> Scorer:
    """OpenMax on `outputs["logits"]`, float [N, K], one for each class.

    Args:
      tail: distances per class that W is fitted to, ≥ 2.
      alpha: a above, ≥ 1: logits that are revised; all, if there are not as many.
      by: what images a class has: those rightly classified (the paper), or all that are labelled so.
      shift: s above, > 0.
      capacity: images of all classes together that the fit may keep; the tail is that of the images kept.

    Returns:
      A `Scorer`. `score` has either sign; `distances` has one column. A NaN among the logits is one, +inf scores +inf,
      and so do images without any finite logit. Rows with a logit that is not finite, or with a label outside of
      0 … K−1, are left out of the fit; fitted to no row at all, every score is +inf.

    Raises:
      ValueError: an option outside of its range; in fitting, not as many logits as classes.
    """
    if tail < 2 or alpha < 1 or capacity < tail:
        raise ValueError(f"tail={tail}, alpha={alpha}, capacity={capacity}: must be at least 2, 1 and tail")
    if by not in ("correct", "label"):
        raise ValueError(f"by {by!r}: must be 'correct' or 'label'")
    if not 0 < shift < float("inf"):
        raise ValueError(f"shift {shift}: must be a positive number")

    def init(dim: int, classes: int) -> Sample:
        return _reservoir.init(capacity, classes + 1, classes)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        z, classes = read(outputs), stats.counts.size
        if z.shape[-1] != classes:
            raise ValueError(f"{z.shape[-1]} logits for {classes} classes: OpenMax needs one for each")
        if by == "correct":
            mask = mask & (place_of_highest(z) == labels)
        rows = jnp.concatenate([outputs["logits"], labels[:, None]], -1, dtype=jnp.float32)
        return _reservoir.update(stats, rows, labels, mask)

    def finalize(stats: Sample) -> State:
        z, labels, known = stats.rows[:, :-1], stats.rows[:, -1], _reservoir.kept(stats)

        def one_class(k: jax.Array) -> tuple[jax.Array, ...]:
            mine = known & (labels == k)
            weight = mine.astype(jnp.float32)
            mean = jnp.matmul(weight, z, precision=EXACT) / jnp.maximum(weight.sum(), 1)
            far = lax.top_k(jnp.where(mine, length(z - mean[None]), -jnp.inf), tail)[0]
            real = far >= 0
            least = jnp.where(real, far, jnp.inf).min()
            least = jnp.where(real.any(), least, 0)
            noise = 8 * _EPS * jnp.abs(jnp.where(mine[:, None], z, 0)).max()
            return mean, least, *_fitted(_logarithm(jnp.where(real, far - least, 0)), real, noise), mine.any()

        return State(*lax.map(one_class, jnp.arange(stats.counts.size, dtype=jnp.float32)))

    def _logarithm(x: jax.Array) -> jax.Array:
        return shift * jnp.log1p(jnp.maximum(x / shift, -1 + _EPS))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs)
        count = min(alpha, z.shape[-1])
        share = (1 - np.arange(count, dtype=np.float32) / count)[None]
        top, place = lax.top_k(z, count)
        distance = length(z[:, None] - state.means[place])
        u = state.rate[place] * (_logarithm(distance - state.least[place]) - state.location[place])
        weibull = -jnp.expm1(-jnp.exp(jnp.clip(u, -80, 80)))
        denied = jnp.where(state.present[place], weibull, 1) * share
        unknown = jnp.where(top > -LIMIT, top * denied, 0).sum(-1)  # a class that is ruled out is not denied
        rows = jnp.arange(z.shape[0])[:, None]
        revised = z.at[rows, place].set(top * (1 - denied), unique_indices=True)
        value = unknown - jax.nn.logsumexp(revised, -1)
        value = jnp.where(state.present.any() & (z > -LIMIT).any(-1), value, jnp.inf)
        return guarded(value, outputs, "logits")

    return Scorer.single(init, update, _reservoir.merge, finalize, score)


def _fitted(y: jax.Array, real: jax.Array, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
    """κ and λ of greatest likelihood: Σ y e^κy / Σ e^κy − mean y = 1 / κ, by Newton's method in log κ.

    Args:
      y: float32[tail], ≥ 0.
      real: bool[tail], which of them there are.
      noise: float32[], by how much distances differ from rounding alone: κ is no larger than 1 / noise.
    """
    real = real | ~real.any()  # of none, all are 0
    count = real.sum().astype(jnp.float32)
    mean = y.sum() / count
    deviation = jnp.sqrt(jnp.where(real, jnp.square(y - mean), 0).sum() / count)
    noise = jnp.maximum(noise, 1e-30)

    def step(log_rate: jax.Array) -> jax.Array:
        rate = jnp.exp(log_rate)
        weight = jax.nn.softmax(jnp.where(real, rate * y, -jnp.inf))
        middle = (weight * y).sum()
        spread = (weight * jnp.square(rate * (y - middle))).sum()
        excess = rate * (middle - mean)
        return log_rate - jnp.clip((excess - 1) / jnp.maximum(excess + spread, 1e-3), -1, 1)

    start = -jnp.log(jnp.maximum(deviation, noise))
    rate = jnp.exp(lax.fori_loop(0, _STEPS, lambda _, x: jnp.minimum(step(x), -jnp.log(noise)), start))
    location = jax.nn.logsumexp(jnp.where(real, rate * y, -jnp.inf)) - jnp.log(count)
    return rate, location / rate
