"""GradNorm: length of the gradient by the last layer's weights, of the divergence from a uniform prediction.

    score(f, z) = −‖∂/∂W KL(u ‖ p)‖₁ = −1/T ‖f‖₁ Σ_k |p_k − 1/K|        p = softmax(z / T)

Huang, Geng & Li, "On the importance of gradients for detecting distributional shifts in the wild" (NeurIPS 2021). The
gradient is the outer product of f and (p − u) / T, whose sum of absolute values is the product of theirs: no backward
pass, and no need to know W.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax.scorers._logits import guarded, positive, read, unfitted
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


def gradnorm(temperature: float = 1.0, feature: str = "features") -> Scorer:
    """GradNorm on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, K], K ≥ 2.

    Args:
      temperature: T > 0; the paper finds that 1 does.
      feature: name of the network output that the last layer takes.

    Returns:
      A `Scorer` with nothing to fit. `score` is ≤ 0; a NaN among features or logits is one, an infinite feature or a
      logit of +inf scores +inf.

    Raises:
      ValueError: T not positive.
    """
    positive(temperature)

    def score(outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs, least=2)
        uneven = jnp.abs(jax.nn.softmax(z / temperature, -1) - 1 / z.shape[-1]).sum(-1)
        value = -jnp.abs(within(outputs, feature)).sum(-1) * uneven / temperature
        return guarded(value, outputs, feature, "logits")

    return unfitted(score)
