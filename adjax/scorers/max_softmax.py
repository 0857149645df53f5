"""Maximum softmax probability.

    score(z) = 1 − max_k p_k        p = softmax(z)

Hendrycks & Gimpel, "A baseline for detecting misclassified and out-of-distribution examples in neural networks" (ICLR
2017).
"""

from __future__ import annotations

from jaxtyping import Array, Float

from adjax.scorers._logits import uncertainty, unclipped, unfitted
from adjax.types import Outputs, Scorer


def max_softmax() -> Scorer:
    """Maximum softmax probability of `outputs["logits"]`, float [N, K], K ≥ 2.

    Returns:
      A `Scorer` with nothing to fit. `score` lies in [0, 1 − 1/K]; a NaN among the logits is one, +inf scores +inf.
    """

    def score(outputs: Outputs) -> Float[Array, " N"]:
        return uncertainty(unclipped(outputs, least=2))

    return unfitted(score)
