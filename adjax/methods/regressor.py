"""A network with one linear output, trained on 0 for normal images and 1 for anomalies: the output is the score.

Least squares on the labels, as in the question "a deep OneClassSVM for images, in a few lines". R² = 1 − residual sum
of squares / total sum of squares says how much of the labels' variance it explains: 0 for a constant, 1 at most.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax.methods import _collective
from adjax.methods._gradient import gradient
from adjax.methods._optimizer import adamw, initial
from adjax.models import Network
from adjax.types import Method


def regressor(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int = 1,
    *,
    steps: int,
    warmup_steps: int = 200,
) -> Method:
    """Trains `network` by the mean squared error from labels 0 (normal) and 1 (anomalous).

    Args:
      network: gives `logits` [N, K], of which the first is the output.
      image_shape: (height px, width px, channels) of its input.
      classes: not used: the labels are two, whatever the normal images are.
      steps: optimiser steps of the whole training, over which the learning rate decays.
      warmup_steps: steps over which the learning rate rises from zero; at most a tenth of `steps` is taken.

    Hyper-parameters (arrays, per member): `learning_rate` > 0, its peak; `weight_decay` ≥ 0, decoupled.

    Returns:
      A `Method` whose `score` [N] is the network's output.

    Raises:
      ValueError: no steps.
    """
    del image_shape, classes
    optimizer = adamw(network, steps, warmup_steps)

    init = initial(network, optimizer, HPARAMS)

    def step(state, batch, key, axis_name=None):
        weights, hparams = state["params"]["network"], state["hparams"]
        key = _collective.keys(key, 1, axis_name)[0]  # dropout of its own on each device

        def loss(outputs, rows):
            return {"loss": jnp.square(outputs["logits"][:, 0] - rows["target"]), "share": rows["target"]}, ()

        rows = {"images": batch["images"], "target": batch["labels"].astype(jnp.float32)}
        found = gradient(network, weights, rows, loss, key, axis_name)
        weights, moments = optimizer.update(found.of, state["optimizer"], found.weights, hparams)
        error = found.metrics["loss"]
        metrics = {"loss": error, "r2": r2(error, found.metrics["share"])}
        return {"params": {"network": weights}, "optimizer": moments, "hparams": hparams}, metrics

    def outputs(params, images):
        said = network.apply(params["network"], images)
        return {**said, "score": said["logits"][:, 0]}

    return Method(init, step, outputs, HPARAMS, scorer="score", supervision="anomalies", input_range="standard")


HPARAMS = {"learning_rate": 1e-3, "weight_decay": 0.0}


def r2(mse: jax.Array, share: jax.Array) -> jax.Array:
    """Coefficient of determination R² of predicted labels 0 and 1.

    Args:
      mse: float32[], mean squared error.
      share: float32[], share of anomalies, in [0, 1]; the variance of the labels is share · (1 − share).

    Returns:
      float32[], at most 1; 0 for a batch of one class, which has no variance to explain.
    """
    variance = share * (1 - share)
    return jnp.where(variance > 0, 1 - mse / jnp.where(variance > 0, variance, 1), 0)
