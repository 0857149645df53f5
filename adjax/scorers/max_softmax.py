"""Maximum softmax probability.

    score(z) = 1 − max_k p_k        p = softmax(z)

Hendrycks & Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural networks" (ICLR
2017). Taken as the sum of all other probabilities: 1 less a probability near 1 leaves no digits, and many images tie.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax.scorers._logits import guarded, predicted, read, unfitted
from adjax.types import Outputs, Scorer


def max_softmax() -> Scorer:
    """Maximum softmax probability of `outputs["logits"]`, float [N, K], K ≥ 2.

    Returns:
      A `Scorer` with nothing to fit. `score` lies in [0, 1 − 1/K]; a NaN among the logits is one, +inf scores +inf.
    """

    def score(outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs, least=2)
        others = jnp.where(predicted(z), 0, jax.nn.softmax(z, -1)).sum(-1)
        return guarded(others, outputs, "logits")

    return unfitted(score)
