"""The optimiser of most methods: AdamW with a linear warm-up and a cosine decay to zero.

Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019). The learning rate's shape is fixed when a
method is made; its peak and the weight decay are hyper-parameters, arrays, so that members may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from adjax.methods._descent import apply_updates
from adjax.models import Network
from adjax.types import PyTree


class AdamW(NamedTuple):
    """An optimiser of a network's weights.

    Attributes:
      init: `(weights) -> optimizer state`.
      update: `(gradients, optimizer state, weights as network.train returned them, hparams) -> (weights, optimizer
        state)`; `hparams` has `learning_rate` (the peak) and `weight_decay`.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, PyTree, Mapping[str, jax.Array]], tuple[PyTree, PyTree]]


def adamw(network: Network, steps: int, warmup_steps: int = 200) -> AdamW:
    """Builds the optimiser.

    Args:
      network: whose weights it moves.
      steps: of the whole training, over which the learning rate decays.
      warmup_steps: over which it rises from zero; at most a tenth of `steps` is taken.

    Returns:
      An `AdamW`: `init` and `update`.

    Raises:
      ValueError: no steps, or a negative warm-up.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: must be at least 1")
    if warmup_steps < 0:
        raise ValueError(f"{warmup_steps} warm-up steps: must be at least 0")
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, min(warmup_steps, steps // 10), steps)
    adam = optax.scale_by_adam()

    def update(grads, optimizer, moved, hparams):
        rate = hparams["learning_rate"] * schedule(optimizer.count)
        updates, optimizer = adam.update(grads, optimizer)
        return apply_updates(network, moved, updates, rate, hparams["weight_decay"]), optimizer

    return AdamW(adam.init, update)


def initial(
    network: Network, optimizer: AdamW, names: Iterable[str]
) -> Callable[[jax.Array, Mapping[str, jax.Array]], PyTree]:
    """Builds the `init` of a method that trains one network and nothing else.

    Args:
      network: whose weights are drawn.
      optimizer: of these weights.
      names: of the hyper-parameters.

    Returns:
      `init` of a `Method`.
    """

    def init(key: jax.Array, hparams: Mapping[str, jax.Array]) -> PyTree:
        weights = network.init(key)
        return {
            "params": {"network": weights},
            "optimizer": optimizer.init(weights),
            "hparams": {name: jnp.asarray(hparams[name], jnp.float32) for name in names},
        }

    return init
