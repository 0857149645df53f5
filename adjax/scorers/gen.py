"""GEN: generalised entropy of the M likeliest classes, which is sensitive to small probabilities.

    score(z) = Σ_{k among the M largest} p_k^γ (1 − p_k)^γ        p = softmax(z)

Liu, Lochman & Zach, "GEN: Pushing the limits of softmax-based out-of-distribution detection" (CVPR 2023). A γ near 0
tells 1e−6 from 1e−9, so powers are taken of logarithms: 1 − p is 0 in float32 where p is 1 − 1e−9.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax.scorers._logits import guarded, log_rest, odds, read, unfitted
from adjax.scorers._order import largest
from adjax.types import Outputs, Scorer


def gen(gamma: float = 0.1, top: int = 100) -> Scorer:
    """Generalised entropy of the softmax of `outputs["logits"]`, float [N, K], K ≥ 2.

    Args:
      gamma: γ in (0, 1).
      top: M ≥ 1; all, if there are not as many classes. The paper takes a tenth of them where there are many, since the
        tail of hundreds of classes is noise.

    Returns:
      A `Scorer` with nothing to fit. `score` is ≥ 0; a NaN among the logits is one, +inf scores +inf.

    Raises:
      ValueError: an option outside of its range.
    """
    if not 0 < gamma < 1:
        raise ValueError(f"gamma {gamma} must lie in (0, 1)")
    if top < 1:
        raise ValueError(f"top {top}: must be at least 1 class")

    def score(outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs, least=2)
        given = odds(z)
        terms = jnp.exp(gamma * (given.below + log_rest(given) - 2 * jnp.log1p(given.others)[:, None]))
        if top < z.shape[-1]:
            terms = jnp.where(largest(z, top), terms, 0)
        return guarded(terms.sum(-1), outputs, "logits")

    return unfitted(score)
