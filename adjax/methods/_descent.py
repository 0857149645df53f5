"""The descent step of all methods: decoupled weight decay, as in AdamW; running statistics are left as they are."""

from __future__ import annotations

import jax

from adjax.models import Network
from adjax.types import PyTree


def apply_updates(
    network: Network, params: PyTree, updates: PyTree, rate: jax.Array | float, decay: jax.Array | float = 0.0
) -> PyTree:
    """Takes one step, w − rate · (update + decay · w), for trainable leaves.

    Running statistics stay as `network.train` returned them.

    Args:
      network: whose params they are.
      params: as `network.train` returned them.
      updates: of the same structure, an optax transformation's answer to the gradients.
      rate: learning rate, ≥ 0.
      decay: decoupled weight decay, ≥ 0.

    Returns:
      The new params.
    """

    def move(w, update, trainable):
        return w - rate * (update + decay * w) if trainable else w

    return jax.tree.map(move, params, updates, network.trainable)
