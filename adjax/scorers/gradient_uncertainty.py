"""Gradient uncertainty: squared length of the last layer's gradient towards a label of all classes at once.

    score(f, z) = −‖∂/∂(W, b) Σ_k −log p_k‖² = −(‖f‖² + 1) Σ_k (K p_k − 1)²        p = softmax(z)

Lee & AlRegib, "Gradients as a measure of uncertainty in neural networks" (ICIP 2020). A confounding label, all ones,
asks how much the network would have to change to call the image everything; the gradient is 0 where it does already. It
is the outer product of (f, 1) and K p − 1: no backward pass, and no need to know W. The paper trains a classifier on
the squared lengths of all layers, with outliers at hand; this is the last layer's alone, and with its sign reversed,
since a confident prediction has the longest gradient.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax.scorers._logits import guarded, read, unfitted
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer

_LARGEST = 1e38


def gradient_uncertainty(feature: str = "features") -> Scorer:
    """Gradient uncertainty on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, K], K ≥ 2.

    Args:
      feature: name of the network output that the last layer takes.

    Returns:
      A `Scorer` with nothing to fit. `score` is ≤ 0; a NaN among features or logits is one, an infinite feature or a
      logit of +inf scores +inf.
    """

    def score(outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs, least=2)
        uneven = jnp.square(z.shape[-1] * jax.nn.softmax(z, -1) - 1).sum(-1)
        value = -(jnp.square(within(outputs, feature)).sum(-1) + 1) * uneven
        return guarded(jnp.maximum(value, -_LARGEST), outputs, feature, "logits")

    return unfitted(score)
