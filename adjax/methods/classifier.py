"""A binary classifier of normal images against labelled anomalies, weighted so that the rarer kind counts as much.

Binary cross-entropy with a weight per class; with w_c = N / (2 N_c), for N images of which N_c are of class c, both
classes weigh the same (King and Zeng, "Logistic regression in rare events data", Political Analysis 2001). Where
labelled anomalies of every kind are at hand this plain way is the ceiling for all others.

Several networks, alike but for their first weights and their dropout, err apart: the mean of their logits errs less
than any (Hansen and Salamon, "Neural network ensembles", IEEE PAMI 1990).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import lax

from adjax.methods import _collective
from adjax.methods._gradient import gradient
from adjax.methods._optimizer import adamw, initial
from adjax.models import Network
from adjax.types import Method


def classifier(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int = 1,
    *,
    steps: int,
    warmup_steps: int = 200,
    networks: int = 1,
) -> Method:
    """Trains `network` to tell labels 0 (normal) and 1 (anomalous) apart.

    The score is the logit of an anomaly: probabilities of 0 and 1 to the last bit would be ties. `probability` [N] is
    its sigmoid.

    Args:
      network: gives `logits` [N, K]: with K = 1 the logit itself, else that of class 1 minus that of class 0.
      image_shape: (height px, width px, channels) of its input.
      classes: not used: there are two, whatever the normal images are.
      steps: optimiser steps of the whole training, over which the learning rate decays.
      warmup_steps: steps over which the learning rate rises from zero; at most a tenth of `steps` is taken.
      networks: how many are trained, each on every batch. The outputs of several are the mean `logits`, and
        `features` side by side [N, networks · D].

    Hyper-parameters (arrays, per member): `learning_rate` > 0, its peak; `weight_decay` ≥ 0, decoupled;
    `weight_normal`, `weight_anomalous` ≥ 0, what an image of that kind counts (see `class_weights`).

    Returns:
      A `Method` whose `score` [N] is the logit of class 1, and `probability` [N] its sigmoid.

    Raises:
      ValueError: no steps, or no network.
    """
    del image_shape, classes
    if networks < 1:
        raise ValueError(f"{networks} networks: must be at least 1")
    optimizer = adamw(network, steps, warmup_steps)

    init = initial(network, optimizer, HPARAMS)

    def step(state, batch, key, axis_name=None):
        weights, hparams = state["params"]["network"], state["hparams"]
        key = _collective.keys(key, 1, axis_name)[0]  # dropout of its own on each device

        def loss(outputs, rows):
            labels, logit = rows["labels"], logit_of(outputs["logits"])
            weight = jnp.where(labels == 1, hparams["weight_anomalous"], hparams["weight_normal"])
            error = weight * optax.sigmoid_binary_cross_entropy(logit, labels)
            return {"loss": error, "accuracy": (logit > 0) == (labels == 1)}, ()

        rows = {name: batch[name] for name in ("images", "labels")}
        found = gradient(network, weights, rows, loss, key, axis_name)
        weights, moments = optimizer.update(found.of, state["optimizer"], found.weights, hparams)
        return {"params": {"network": weights}, "optimizer": moments, "hparams": hparams}, found.metrics

    def outputs(params, images):
        said = network.apply(params["network"], images)
        logit = logit_of(said["logits"])
        return {**said, "probability": jax.nn.sigmoid(logit), "score": logit}

    if networks > 1:
        init, step, outputs = _together(init, step, outputs, networks)
    return Method(init, step, outputs, HPARAMS, scorer="score", supervision="anomalies", input_range="standard")


def _together(init, step, outputs, networks: int):
    """Wraps a classifier's functions to run `networks` of them in turn; their states are stacked [networks, ...]."""

    def init_all(key, hparams):
        return lax.map(lambda own: init(own, hparams), jax.random.split(key, networks))

    def step_all(states, batch, key, axis_name=None):
        states, metrics = lax.map(
            lambda x: step(x[0], batch, x[1], axis_name), (states, jax.random.split(key, networks))
        )
        return states, jax.tree.map(lambda x: x.mean(0), metrics)

    def outputs_all(params, images):
        said = lax.map(lambda own: outputs(own, images), params)
        found = {name: said[name].mean(0) for name in ("logits", "score")}
        if "features" in said:  # side by side, so that the logits are linear in them still
            found["features"] = jnp.concatenate(list(said["features"]), -1)
        return {**found, "probability": jax.nn.sigmoid(found["score"])}

    return init_all, step_all, outputs_all


HPARAMS = {"learning_rate": 1e-3, "weight_decay": 0.0, "weight_normal": 1.0, "weight_anomalous": 1.0}


def class_weights(normal: int, anomalous: int) -> dict[str, float]:
    """Computes `weight_normal` and `weight_anomalous` for a training set: N / (2 N_c) for N_c images of a class.

    Args:
      normal: number of normal images, ≥ 1.
      anomalous: number of anomalies, ≥ 1.

    Returns:
      The two hyper-parameters by name.

    Raises:
      ValueError: no image of a class.

    Example:
      >>> class_weights(5923, 504)["weight_anomalous"]
      6.375992063492063
    """
    if min(normal, anomalous) < 1:
        raise ValueError(f"{normal} normal images and {anomalous} anomalies: class weights need at least 1 of each")
    total = normal + anomalous
    return {"weight_normal": total / (2 * normal), "weight_anomalous": total / (2 * anomalous)}


def logit_of(logits: jax.Array) -> jax.Array:
    """The log odds of an anomaly, [N], from logits [N, K]."""
    return logits[:, 0] if logits.shape[-1] == 1 else logits[:, 1] - logits[:, 0]
