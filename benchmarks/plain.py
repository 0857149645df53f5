"""LeNet as anyone would write it in JAX: what adjax's program of it is compared with, for chips that aren't there."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

_OPTIMISER = optax.adamw(1e-3)
_LAYERS = {"conv1": (5, 5, 1, 6), "conv2": (5, 5, 6, 16), "hidden1": (400, 120), "hidden2": (120, 84), "head": (84, 10)}


def step(state: Any, images: jax.Array, labels: jax.Array) -> Any:
    """One step of AdamW on the cross-entropy.

    Args:
      state: weights by layer, and the optimiser's.
      images: float32[B, 28, 28, 1].
      labels: int32[B].

    Returns:
      The new state, and the loss.
    """
    weights, moments = state

    def mean_loss(weights: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(_logits(weights, images), labels).mean()

    loss, gradients = jax.value_and_grad(mean_loss)(weights)
    updates, moments = _OPTIMISER.update(gradients, moments, weights)
    return (optax.apply_updates(weights, updates), moments), loss


def arguments(batch_size: int) -> tuple[Any, ...]:
    """Shapes of what `step` takes."""

    def shape(*sides: int, dtype: Any = jnp.float32) -> Any:
        return jax.ShapeDtypeStruct(sides, dtype)

    weights = {name: {"kernel": shape(*sides), "bias": shape(sides[-1])} for name, sides in _LAYERS.items()}
    state = weights, jax.eval_shape(_OPTIMISER.init, weights)
    return state, shape(batch_size, 28, 28, 1), shape(batch_size, dtype=jnp.int32)


def _logits(weights: Any, x: jax.Array) -> jax.Array:
    for name, padding in (("conv1", "SAME"), ("conv2", "VALID")):
        layer = weights[name]
        x = lax.conv_general_dilated(x, layer["kernel"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.nn.relu(x + layer["bias"])
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.reshape(len(x), -1)
    for name in ("hidden1", "hidden2"):
        x = jax.nn.relu(x @ weights[name]["kernel"] + weights[name]["bias"])
    return x @ weights["head"]["kernel"] + weights["head"]["bias"]
