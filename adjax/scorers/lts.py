"""LTS: the energy of logits scaled by the share of the activations that the largest have.

    score(f, z) = −T log Σ_k exp(r² z_k / T)        r = s₁ / s₂

with s₁ the sum of all features, negative ones taken for 0, and s₂ that of the largest 5 % of them. Djurisic, Liu &
Nikolić, "Logit scaling for out-of-distribution detection" (2024). It needs no last layer.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax.scorers import _shaping
from adjax.scorers._logits import energy, guarded, positive, read, unfitted
from adjax.scorers._order import largest
from adjax.scorers._vectors import LIMIT, within
from adjax.types import Outputs, Scorer


def lts(pruned: float = 0.95, temperature: float = 1.0, feature: str = "features") -> Scorer:
    """LTS on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L].

    Args:
      pruned: share of the features that s₂ leaves out, in [0, 1); one always counts.
      temperature: T > 0.
      feature: name of the network output whose activations are summed.

    Returns:
      A `Scorer` with nothing to fit. A NaN among features or logits is one; an infinite feature or a logit of +inf
      scores +inf.

    Raises:
      ValueError: an option outside of its range.
    """
    _shaping.share(pruned)
    positive(temperature)

    def score(outputs: Outputs) -> Float[Array, " N"]:
        x = jnp.maximum(within(outputs, feature), 0)
        count = _shaping.count(x.shape[1], pruned)
        scale = jnp.square(_shaping.ratio(x, jnp.where(largest(x, count), x, 0), count))
        z = jnp.clip(scale * read(outputs), -LIMIT, LIMIT)  # rounded once: fused with what follows, exp overflows
        return guarded(energy(z, temperature), outputs, feature, "logits")

    return unfitted(score)
