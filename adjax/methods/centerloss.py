"""Center loss: a classifier that draws the features of each class to a learned center.

Loss = softmax cross-entropy + λ · ½ · mean over the batch of ‖f(x) − c_y‖², with f the last hidden layer (equations 1
and 2 of "Anomaly Detection in Image Datasets Using CNN, Center Loss, and Mahalanobis Distance"). The centers c follow
the features by the rule of Wen, Zhang, Li, Qiao, "A discriminative feature learning approach for deep face recognition"
(ECCV 2016), equation 4, not by the optimiser:

    c_j ← c_j − α · Σ_{i: y_i = j} (c_j − f(x_i)) / (1 + #{i: y_i = j})

so they are learned at λ = 0 too and no λ changes how fast.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from adjax.methods import _collective
from adjax.methods._gradient import Gradient, gradient
from adjax.methods._optimizer import adamw, muon
from adjax.models import Network
from adjax.types import Method, PyTree


def centerloss(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    steps: int,
    warmup_steps: int = 200,
    center_rate: float = 0.5,
    optimizer: str = "muon",
) -> Method:
    """Trains `network` as a classifier with center loss, with a warm-up and a cosine decay to zero.

    Args:
      network: gives `features` [N, D] and `logits` [N, classes].
      image_shape: (height px, width px, channels) of its input.
      classes: number of classes, at least 2.
      steps: optimiser steps of the whole training, over which the learning rate decays.
      warmup_steps: steps over which the learning rate rises from zero; at most a tenth of `steps` is taken.
      center_rate: α above, in (0, 1].
      optimizer: "muon", or "adamw", which takes lower learning rates and more steps.

    Hyper-parameters (arrays, per member): `lam`, the weight λ ≥ 0 of the center loss; `learning_rate` > 0, its peak;
    `weight_decay` ≥ 0, decoupled, of weights and biases.

    Returns:
      A `Method` whose params hold `network` and `centers` float32[K, D].

    Raises:
      ValueError: fewer than two classes; no steps; a rate outside of (0, 1]; another optimiser.
    """
    if classes < 2:
        raise ValueError(f"center loss separates classes and needs at least 2, not {classes}: use a one-class method")
    if not 0 < center_rate <= 1:
        raise ValueError(f"center rate {center_rate}: must lie in (0, 1]")
    if optimizer not in ("muon", "adamw"):
        raise ValueError(f"optimizer {optimizer!r}: choose muon or adamw")
    mover = (
        muon(network, steps, warmup_steps, classes=classes)
        if optimizer == "muon"
        else adamw(network, steps, warmup_steps)
    )

    def init(key, hparams):
        weights = network.init(key)
        dim = jax.eval_shape(network.apply, weights, jnp.zeros((1, *image_shape)))["features"].shape[-1]
        return {
            "params": {"network": weights, "centers": jnp.zeros((classes, dim))},
            "optimizer": mover.init(weights),
            "hparams": {name: jnp.asarray(hparams[name], jnp.float32) for name in HPARAMS},
        }

    def step(state, batch, key, axis_name=None):
        labels, hparams = batch["labels"], state["hparams"]
        weights, centers = state["params"]["network"], state["params"]["centers"]
        found = center_loss_gradients(network, weights, centers, hparams["lam"], batch, key, axis_name)
        weights, moments = mover.update(found.of, state["optimizer"], found.weights, hparams)
        centers = moved_centers(centers, found.kept, labels, center_rate, axis_name)
        params = {"network": weights, "centers": centers}
        return {"params": params, "optimizer": moments, "hparams": hparams}, found.metrics

    def outputs(params, images):
        return network.apply(params["network"], images)

    return Method(init, step, outputs, HPARAMS, scorer="layers_partial")


HPARAMS = {"lam": 0.1, "learning_rate": 5e-3, "weight_decay": 0.3}
"""Defaults; chosen on validation data, see `experiments/results/centerloss_validation.json`."""

_LEAST = 1e-6
"""Mean weight that is divided by: a batch may have no row that counts."""


def center_loss_gradients(
    network: Network,
    weights: PyTree,
    centers: jax.Array,
    lam: jax.Array | float,
    batch: Mapping[str, jax.Array],
    key: jax.Array,
    axis_name: str | None = None,
) -> Gradient:
    """The gradient of cross-entropy + λ · center loss by the weights, averaged over the named axis of devices.

    Args:
      network: gives `features` [B, D] and `logits` [B, K].
      weights: of the network.
      centers: float32[K, D].
      lam: λ ≥ 0.
      batch: `images` float32[B, H, W, C]; `labels` int32[B] in 0 … K − 1; and, where rows don't all count alike,
        `weight` float32[B] ≥ 0: all means are weighted ones then, over the rows of all devices.
      key: of the network's training pass.
      axis_name: over which the batch is spread.

    Returns:
      The gradient, with metrics `loss`, `cross_entropy`, `center_loss` and `accuracy`, and, where rows have one, the
      mean `weight`; what is kept is `features` [B, D].
    """

    def loss(outputs, rows):
        labels, features = rows["labels"], outputs["features"]
        entropy = optax.softmax_cross_entropy_with_integer_labels(outputs["logits"], labels)
        spread = 0.5 * jnp.square(features - centers[labels]).sum(-1)
        each = {
            "loss": entropy + lam * spread,
            "cross_entropy": entropy,
            "center_loss": spread,
            "accuracy": outputs["logits"].argmax(-1) == labels,
        }
        if "weight" in rows:
            each = {name: rows["weight"] * values for name, values in each.items()} | {"weight": rows["weight"]}
        return each, features

    found = gradient(network, weights, batch, loss, key, axis_name)
    if "weight" not in batch:
        return found
    # Divided by afterwards: so devices add up weights and gradients at once.
    metrics = dict(found.metrics)
    weight = metrics.pop("weight")
    of, metrics = jax.tree.map(lambda x: x / jnp.maximum(weight, _LEAST), (found.of, metrics))
    return found._replace(of=of, metrics={**metrics, "weight": weight})


def moved_centers(
    centers: jax.Array, features: jax.Array, labels: jax.Array, rate: float, axis_name: str | None = None
) -> jax.Array:
    """Moves the centers after a batch, by the rule of Wen et al. (2016), equation 4.

    Args:
      centers: float32[K, D].
      features: float32[B, D].
      labels: int32[B]; rows labelled K or more are ignored.
      rate: α in (0, 1].
      axis_name: of the devices that share the batch; None: one device.

    Returns:
      float32[K, D].
    """
    member = jax.nn.one_hot(labels, len(centers))
    sums, counts = _collective.psum_if_mapped((member.T @ features, member.sum(0)), axis_name)
    return centers - rate * (counts[:, None] * centers - sums) / (1 + counts[:, None])
