"""ODIN: max-softmax at a temperature, of an image moved a small step towards its predicted class.

    x̃ = x + ε sign(∇_x log max_k p_k(x; T))        score = log Σ_k exp((z_k(x̃) − max z(x̃)) / T) − log K

Liang, Li & Srikant, "Enhancing the reliability of out-of-distribution image detection in neural networks" (ICLR 2018):
the step raises the confidence of normal images more than that of others. The score is −log(K max_k p_k), which ranks as
the paper's −max_k p_k does: at T = 1000 all p_k are about 1/K, and their differences are a few float32 steps.

Not a `Scorer`: a step takes the gradient through the network, and scorers know nothing of networks.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from adjax.scorers._logits import guarded, positive, read
from adjax.types import Outputs, PyTree

Network = Callable[[PyTree, jax.Array], Outputs]


def perturbed(
    network: Network, params: PyTree, images: jax.Array, epsilon: float = 0.0014, temperature: float = 1000.0
) -> jax.Array:
    """Images moved towards the class they are taken for.

    Args:
      network: `(params, images) -> outputs` with "logits" [N, K], K ≥ 2, such as the `outputs` of a `Method`; what it
        says of an image must not depend on the others.
      params: of the network.
      images: float [N, H, W, C], as the network takes them.
      epsilon: ε, in units of `images`: the paper's 0.0014 is for pixels from 0 to 1, so divide it by the standard
        deviation of pixels that were divided by it. To be chosen on validation images.
      temperature: T > 0.

    Returns:
      float [N, H, W, C]. An image whose gradient is NaN becomes NaN.

    Raises:
      ValueError: temperature not positive, or fewer than two classes.
    """
    positive(temperature)

    def confusion(images: jax.Array) -> jax.Array:
        return _surprise(read(network(params, images), least=2), temperature).sum()

    return images - epsilon * jnp.sign(jax.grad(confusion)(images))


def odin(
    network: Network, params: PyTree, images: jax.Array, epsilon: float = 0.0014, temperature: float = 1000.0
) -> jax.Array:
    """Computes ODIN scores: the surprise at a temperature of images moved by `perturbed`.

    Args:
      network: `(params, images) -> outputs` with "logits" [N, K], K ≥ 2.
      params: its parameters.
      images: float32[N, H, W, C], as the network takes them.
      epsilon: size of the step, ≥ 0, in units of `images`.
      temperature: T > 0.

    Returns:
      float32[N] in [−log K, 0], higher = more anomalous. NaN for an image with a NaN among its logits, +inf for one
      with +inf.
    """
    outputs = network(params, perturbed(network, params, images, epsilon, temperature))
    return guarded(_surprise(read(outputs, least=2), temperature), outputs, "logits")


def _surprise(z: jax.Array, temperature: float) -> jax.Array:
    """−log(K max_k p_k) of logits float32[N, K]: 0 where all are equal, and exact near that."""
    return jnp.log1p(jnp.expm1((z - z.max(-1, keepdims=True)) / temperature).mean(-1))
