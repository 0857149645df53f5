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
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(w, 0)).astype(np.float32)

    def score(outputs: Outputs) -> Float[Array, " N"]:
        z = _logits.read(outputs)
        if z.shape[-1] != len(logs):
            raise ValueError(f"{z.shape[-1]} logits and {len(logs)} weights: must be as many")
        return _logits.guarded(_logits.energy(z + jnp.asarray(logs)[None]), outputs, "logits")

    return _logits.unfitted(score)
