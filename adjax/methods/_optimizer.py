"""The optimisers of most methods: AdamW or Muon, with a linear warm-up and a cosine decay to zero.

The learning rate's shape is fixed when a method is made; its peak and the weight decay, which is decoupled, are
hyper-parameters, arrays, so that members may differ.

* AdamW: Loshchilov and Hutter, "Decoupled weight decay regularization" (ICLR 2019).
* Muon for kernels: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), see
  `adjax.methods._muon`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from adjax.methods._descent import apply_updates
from adjax.methods._muon import count, muon_or_adam
from adjax.models import Network
from adjax.types import PyTree


class Optimizer(NamedTuple):
    """An optimiser of a network's weights.

    Attributes:
      init: `(weights) -> optimizer state`.
      update: `(gradients, optimizer state, weights as network.train returned them, hparams) -> (weights, optimizer
        state)`; `hparams` has `learning_rate` (the peak) and `weight_decay`.
    """

    init: Callable[[PyTree], PyTree]
    update: Callable[[PyTree, PyTree, PyTree, Mapping[str, jax.Array]], tuple[PyTree, PyTree]]


def adamw(network: Network, steps: int, warmup_steps: int = 200) -> Optimizer:
    """Builds AdamW.

    Args:
      network: whose weights it moves.
      steps: of the whole training, over which the learning rate decays.
      warmup_steps: over which it rises from zero; at most a tenth of `steps` is taken.

    Returns:
      An `Optimizer`.

    Raises:
      ValueError: no steps, or a negative warm-up.
    """
    return _scheduled(network, optax.scale_by_adam(), lambda state: state.count, steps, warmup_steps)


def muon(network: Network, steps: int, warmup_steps: int = 200, *, classes: int) -> Optimizer:
    """Builds Muon for the kernels of dense and convolutional layers, with AdamW for the rest.

    Args:
      network, steps, warmup_steps: as of `adamw`.
      classes: width of the layer of logits, which is left to AdamW, as its authors do; a dense layer before it that is
        as wide is, too.

    Returns:
      An `Optimizer`; a learning rate that suits AdamW is too low.

    Raises:
      ValueError: as of `adamw`.
    """
    return _scheduled(network, muon_or_adam(classes=classes), count, steps, warmup_steps)


def _scheduled(
    network: Network,
    transform: optax.GradientTransformation,
    done: Callable[[Any], jax.Array],
    steps: int,
    warmup_steps: int,
) -> Optimizer:
    """Descent along what a transformation makes of the gradients; its state tells the steps done."""
    if steps < 1:
        raise ValueError(f"{steps} steps: must be at least 1")
    if warmup_steps < 0:
        raise ValueError(f"{warmup_steps} warm-up steps: must be at least 0")
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, min(warmup_steps, steps // 10), steps)

    def update(grads, state, moved, hparams):
        rate = hparams["learning_rate"] * schedule(done(state))
        updates, state = transform.update(grads, state, moved)
        return apply_updates(network, moved, updates, rate, hparams["weight_decay"]), state

    return Optimizer(transform.init, update)


def initial(
    network: Network, optimizer: Optimizer, names: Iterable[str]
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
