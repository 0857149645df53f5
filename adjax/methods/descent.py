"""The step that every method takes down its gradient: weight decay decoupled, as in AdamW; statistics left alone."""

from __future__ import annotations

import jax

from adjax.models import Network
from adjax.types import PyTree


def descend(
    network: Network, params: PyTree, updates: PyTree, rate: jax.Array | float, decay: jax.Array | float = 0.0
) -> PyTree:
    """w − rate · (update + decay · w) for what is trainable; running statistics stay as `network.train` moved them.

    Args:
      network: whose params they are.
      params: as `network.train` returned them.
      updates: of the same structure, an optax transformation's answer to the gradients.
      rate: learning rate, ≥ 0.
      decay: decoupled weight decay, ≥ 0.
    """

    def move(w, update, trainable):
        return w - rate * (update + decay * w) if trainable else w

    return jax.tree.map(move, params, updates, network.trainable)
