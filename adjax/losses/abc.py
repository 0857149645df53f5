"""ABC loss: rewards a large reconstruction error of labelled anomalies.

Kim, Jeong, Choi, Seo, "GAN-based Anomaly Detection in Imbalance Problems" (ECCV workshops 2020), after Yamanaka et al.,
"Autoencoding Binary Classifiers for Supervised Anomaly Detection" (PRICAI 2019): if exp(−d) is the probability that an
image with reconstruction error d is normal, then

    ABC(d) = −log(1 − exp(−d))

is the cross-entropy of an anomaly. It is infinite at d = 0, so below a floor it goes on as a straight line.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def abc(d: jax.Array, floor: float = 1e-3) -> jax.Array:
    """The loss of anomalies.

    Args:
      d: reconstruction errors ≥ 0, of any shape.
      floor: > 0; below it the loss is its tangent there, of slope about −1 / floor.

    Returns:
      The same shape; falling to 0 as d grows, finite at 0 with all its derivatives.
    """
    above = jnp.maximum(d, floor)
    return -jnp.log(-jnp.expm1(-above)) - (d - above) / jnp.expm1(floor)
