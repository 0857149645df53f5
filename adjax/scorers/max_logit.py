"""Maximum logit, without the normalisation over classes that softmax does.

    score(z) = −max_k z_k

Hendrycks et al., "Scaling out-of-distribution detection for real-world settings" (ICML 2022): among many alike classes
an image that is certainly one of them has a low probability for each.
"""

from __future__ import annotations

from jaxtyping import Array, Float

from adjax.scorers._logits import guarded, read, unfitted
from adjax.types import Outputs, Scorer


def max_logit() -> Scorer:
    """Negative maximum of `outputs["logits"]`, float [N, K].

    Returns:
      A `Scorer` with nothing to fit. A NaN among the logits is one, +inf scores +inf.
    """

    def score(outputs: Outputs) -> Float[Array, " N"]:
        return guarded(-read(outputs).max(-1), outputs, "logits")

    return unfitted(score)
