"""Entropy of the predicted probabilities.

    score(z) = −Σ_k p_k log p_k        p = softmax(z)

The information measure of Shannon (1948), a customary baseline. With d_k = z_k − max z it is log Σ exp d_k − Σ p_k d_k,
in which the predicted class counts 1 and 0: so a sure prediction keeps its digits.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax.scorers._logits import odds, unclipped, unfitted
from adjax.types import Outputs, Scorer

_NEVER = -1000.0
"""A difference of logits whose exponential is 0."""


def entropy() -> Scorer:
    """Entropy of the softmax of `outputs["logits"]`, float [N, K], K ≥ 2.

    Returns:
      A `Scorer` with nothing to fit. `score` lies in [0, log K]; a NaN among the logits is one, +inf scores +inf.
    """

    def score(outputs: Outputs) -> Float[Array, " N"]:
        d, others = odds(unclipped(outputs, least=2))
        terms = jnp.exp(d) * jnp.maximum(d, _NEVER)  # 0 · −inf would be a NaN
        value = jnp.log1p(others) - terms.sum(-1) / (1 + others)
        return jnp.where(jnp.isposinf(others), others, value)

    return unfitted(score)
