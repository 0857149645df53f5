"""A classifier's logits in float32 without overflow, and scorers of them that have nothing to fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import at_least, clipped, place_of_highest
from adjax.scorers._vectors import LIMIT
from adjax.types import Outputs, Scorer

_LARGEST = 3e38
"""Nearly the largest of float32: an infinite logit less an infinite one would be NaN."""
_SMALL = 1e-30
"""By which numbers of float32 are multiplied before they are added up: 1e8 of the largest are less than the largest."""


def read(outputs: Outputs, least: int = 1) -> jax.Array:
    """Reads the logits in float32, clipped to ±1e15.

    A class at −inf then has probability 0, and 0 · −inf is not a NaN.

    Args:
      outputs: "logits" float[N, K].
      least: smallest K to accept, ≥ 1.

    Returns:
      float32[N, K]; NaN stays NaN.

    Raises:
      ValueError: K < `least`.
    """
    return clipped(unclipped(outputs, least), LIMIT)


def unclipped(outputs: Outputs, least: int = 1) -> jax.Array:
    """Reads the logits in float32 as they are, for `energy`, `odds` and `uncertainty`.

    Args:
      outputs, least: as of `read`.

    Returns:
      float32[N, K].

    Raises:
      ValueError: as of `read`.
    """
    classes = outputs["logits"].shape[-1]
    if classes < least:
        raise ValueError(f"logits of {classes} class can't be compared: at least {least} classes are needed")
    return outputs["logits"].astype(jnp.float32)


def answer(z: jax.Array) -> jax.Array:
    """int32[N]: which of the logits [N, K] is the largest, the first of equal ones; −1 where one is NaN."""
    return jnp.where(jnp.isnan(z).any(-1), -1, place_of_highest(z)).astype(jnp.int32)


class Odds(NamedTuple):
    """Probabilities without their divisor, which keep their digits where one of them is nearly 1.

    Attributes:
      below: float32[N, K], logits less the largest, d; −inf where a logit is.
      others: float32[N], Σ exp d over all classes but the predicted one, the first of equal ones: p = exp d / (1 +
        others).
    """

    below: jax.Array
    others: jax.Array


def odds(z: jax.Array, temperature: float | jax.Array = 1.0) -> Odds:
    """The `Odds` of logits / `temperature`.

    Args:
      z: float32[N, K]. NaN makes `others` NaN, else +inf makes it +inf; where all are −inf, no class is likelier.
      temperature: T > 0.

    Returns:
      The `Odds`; `below` is divided by T, too.
    """
    d, top = _below(z)
    d, rest = d / temperature, z.shape[-1] - 1
    less = jnp.abs(jnp.minimum(jnp.ceil(-d), 1))  # 0 or 1, which a CPU has sooner than a comparison; and inf for inf
    others = (jnp.exp(d) * less).sum(-1)
    others = jnp.where(jnp.isposinf(others), others, others + (rest - less.sum(-1)))
    return Odds(d, jnp.where(top == -_LARGEST, rest, others))


def _below(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits less the largest, float32[N, K], and the largest, finite, [N], which may miss a NaN."""
    top = clipped(z.max(-1), _LARGEST)
    return z - top[:, None], top


def log_rest(given: Odds) -> jax.Array:
    """Computes the odds of each class's opposite, from which 1 − p and its logarithm come with all digits.

    Args:
      given: of logits float32[N, K].

    Returns:
      float32[N, K], log((1 + others) (1 − p_k)); of the predicted class log(others), which may be no float32 itself.
    """
    d, others = given
    top = d >= 0

    def small() -> jax.Array:
        enough = others > _SMALL  # what isn't chosen is replaced, so that gradients pass
        far = jnp.where(enough[:, None], 0, jnp.where(top, -jnp.inf, d))
        return jnp.where(enough, jnp.log(jnp.where(enough, others, 1)), jax.nn.logsumexp(far, -1))

    own = lax.cond((others > _SMALL).all(), lambda: jnp.log(jnp.maximum(others, _SMALL)), small)
    return jnp.where(top, own[:, None], jnp.log(1 + others[:, None] - jnp.where(top, 0, jnp.exp(d))))


def uncertainty(z: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
    """1 − max_k p_k of logits float32[N, K] / `temperature` -> float32[N]; +inf where a logit is.

    Taken as the sum of all other probabilities: 1 less a probability near 1 leaves no digits, and many images tie.
    """
    others = odds(z, temperature).others
    return jnp.where(jnp.isposinf(others), others, others / (1 + others))


def energy(z: jax.Array, temperature: float = 1.0) -> jax.Array:
    """Free energy −T log Σ_k exp(z_k / T) (Liu et al., NeurIPS 2020): low where any logit is high.

    NaN makes it NaN, else +inf makes it +inf; it is +inf, too, where all are −inf and no class is called for.

    Args:
      z: float32[N, K], logits.
      temperature: T > 0.

    Returns:
      float32[N].
    """
    d, top = _below(z)
    total = jnp.exp(d / temperature).sum(-1)
    return jnp.where(jnp.isposinf(total), total, -(top + temperature * jnp.log(total)))


def positive(temperature: float) -> None:
    """Checks a temperature.

    Raises:
      ValueError: not a positive number.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature {temperature}: must be a positive number")


def guarded(score: jax.Array, outputs: Outputs, *names: str) -> jax.Array:
    """Replaces the scores of images whose outputs are not finite.

    Args:
      score: float32[N].
      outputs: holds each of `names`, float[N, D].
      *names: outputs to look at.

    Returns:
      float32[N]: NaN for a row with a NaN in a named output, else +inf for one with an infinity. A logit of −inf is
      allowed: it rules its class out.
    """
    total = jnp.zeros_like(score)
    for name in names:
        x = outputs[name].astype(jnp.float32)
        size = at_least(x, 0) if name == "logits" else jnp.abs(x)
        total = total + (_SMALL * size).sum(-1)  # one pass, and no sum of finite numbers is infinite
    return jnp.where(jnp.isfinite(total), score, total)


def unfitted(score: Callable[[Outputs], jax.Array]) -> Scorer:
    """A scorer of that function, `outputs -> float32[N]`: calibration alone learns from training images.

    `distances` has one column, whatever the classes. Its statistics and its state are one number, `counts` float32[1]:
    how many images with a finite score it was fitted to.
    """

    def init(dim: int, classes: int) -> dict[str, jax.Array]:
        return {"counts": jnp.zeros(1, jnp.float32)}

    def update(stats: dict, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        known = mask & jnp.isfinite(score(outputs))
        return {"counts": stats["counts"] + known.sum(keepdims=True).astype(jnp.float32)}

    def merge(a: dict, b: dict) -> dict[str, jax.Array]:
        return {"counts": a["counts"] + b["counts"]}

    def finalize(stats: dict) -> dict[str, jax.Array]:
        return stats

    def own(state: dict, outputs: Outputs) -> Float[Array, " N"]:
        return score(outputs)

    return Scorer.single(init, update, merge, finalize, own)
