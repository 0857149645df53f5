"""MC dropout: disagreement of a network with itself under different dropout.

    variance:  score = 1/K Σ_k 1/(S − 1) Σ_s (p_sk − p̄_k)²        mean:  score = 1 − max_k p̄_k

with p_s the softmax of draw s of S and p̄ their mean. Gal & Ghahramani, "Dropout as a Bayesian approximation:
representing model uncertainty in deep learning" (ICML 2016); the variance is that of Kendall, Badrinarayanan & Cipolla,
"Bayesian SegNet" (BMVC 2017). Summed draw by draw (Welford), in memory that is flat in their number.

Not a `Scorer`: the network is asked again for each draw, and scorers know nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from adjax.scorers._logits import read
from adjax.types import Outputs, PyTree

Draw = Callable[[PyTree, jax.Array, jax.Array], Outputs]


def mc_dropout(
    network: Draw,
    params: PyTree,
    images: jax.Array,
    key: jax.Array,
    samples: int = 30,
    statistic: Literal["variance", "mean"] = "variance",
) -> jax.Array:
    """Computes MC-dropout scores.

    Args:
      network: `(params, images, key) -> outputs` with "logits" [N, K], K ≥ 2, dropout drawn from the key and everything
        else as in inference: the `sample` of an `adjax.models.functional.Network`.
      params: its parameters.
      images: float32[N, H, W, C], as the network takes them.
      key: of the draws.
      samples: S ≥ 2.
      statistic: "variance" or "mean", as above.

    Returns:
      float32[N], ≥ 0, higher = more anomalous; 0 variance where the network draws nothing. NaN for an image with a NaN
      among its logits in any draw, +inf for one with +inf.

    Raises:
      ValueError: fewer than two samples or classes, or an unknown statistic.
    """
    if samples < 2:
        raise ValueError(f"samples {samples}: must be at least 2 to differ")
    if statistic not in ("variance", "mean"):
        raise ValueError(f"statistic {statistic!r}: must be 'variance' or 'mean'")
    shape = jax.eval_shape(network, params, images, key)["logits"].shape

    def drawn(sums: tuple, key: jax.Array) -> tuple[tuple, None]:
        count, mean, square, worst = sums
        outputs = network(params, images, key)
        z = read(outputs, least=2)
        p = jax.nn.softmax(z, -1)
        off = p - mean
        mean = mean + off / (count + 1)
        infinite = jnp.where((outputs["logits"] == jnp.inf).any(-1), jnp.inf, 0)
        return (count + 1, mean, square + off * (p - mean), jnp.maximum(worst, infinite)), None

    zeros = jnp.zeros(shape, jnp.float32)
    start = jnp.float32(0), zeros, zeros, zeros[:, 0]
    (_, mean, square, worst), _ = lax.scan(drawn, start, jax.random.split(key, samples))
    likeliest = jnp.arange(shape[-1])[None] == mean.argmax(-1)[:, None]
    doubt = jnp.where(likeliest, 0, mean).sum(-1)
    value = (square / (samples - 1)).mean(-1) if statistic == "variance" else doubt
    return jnp.where(jnp.isnan(mean).any(-1), jnp.nan, value + worst)
