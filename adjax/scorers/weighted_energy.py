"""Weighted energy of the logits.

    score(z) = −log Σ_k max(w_k, 0) exp z_k

Du et al., "VOS: Learning what you don't know by virtual outlier synthesis" (ICLR 2022), whose training learns w along
with the network. With equal weights it is the energy. A weight that is not positive rules its class out.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _logits
from adjax.types import Outputs, Scorer

_LEAST = np.finfo(np.float64).tiny
_NEVER = -3e38
"""Added to a logit of a class that is ruled out: −inf would make a NaN of an infinite one."""


def weighted_energy(weights: ArrayLike | Sequence[float]) -> Scorer:
    """Weighted energy of `outputs["logits"]`, float [N, K].

    Args:
      weights: float[K], w: finite, at least one of them positive.

    Returns:
      A `Scorer` with nothing to fit. A NaN among the logits is one, +inf scores +inf.

    Raises:
      ValueError: a weight that is not finite, or none positive; another number of logits than weights.
    """
    w = np.asarray(weights, np.float64)
    if w.ndim != 1 or not np.isfinite(w).all() or not (w > 0).any():
        raise ValueError(f"weights {w.tolist()}: must be finite, one for each logit, and at least one of them positive")
    logs = np.log(np.maximum(w, _LEAST)).astype(np.float32)
    logs[w <= 0] = _NEVER

    def score(outputs: Outputs) -> Float[Array, " N"]:
        z = _logits.unclipped(outputs)
        if z.shape[-1] != len(logs):
            raise ValueError(f"{z.shape[-1]} logits and {len(logs)} weights: must be as many")
        return _logits.energy(z + jnp.asarray(logs)[None])

    return _logits.unfitted(score)
