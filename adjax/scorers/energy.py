"""Free energy of the logits.

    score(z) = −T log Σ_k exp(z_k / T)

Liu et al., "Energy-based out-of-distribution detection" (NeurIPS 2020). For T → 0 it is −max_k z_k.
"""

from __future__ import annotations

from jaxtyping import Array, Float

from adjax.scorers import _logits
from adjax.types import Outputs, Scorer


def energy(temperature: float = 1.0) -> Scorer:
    """Energy of `outputs["logits"]`, float [N, K].

    Args:
      temperature: T > 0; the paper finds that 1 does.

    Returns:
      A `Scorer` with nothing to fit. A NaN among the logits is one; +inf scores +inf, and so do logits that
      are all −inf.

    Raises:
      ValueError: T not positive.
    """
    _logits.positive(temperature)

    def score(outputs: Outputs) -> Float[Array, " N"]:
        return _logits.energy(_logits.unclipped(outputs), temperature)

    return _logits.unfitted(score)
