"""A supervised OOD head: a small classifier on the deep features, trained on examples of OOD images.

Two stages, after "Anomaly Detection in Image Datasets Using CNN, Center Loss, and Mahalanobis Distance". First the body
is trained as a classifier with center loss (see `centerloss`), on in-distribution images alone. Then it is frozen, and
a second head h on its features f (256 ReLU, 256 ReLU, one logit) is trained by binary cross-entropy of in-distribution
against OOD:

    − mean over the batch of  y log σ(h(f(x))) + (1 − y) log(1 − σ(h(f(x)))),   y = 1 for OOD

(the paper's own labels are the opposite, y = 1 for what belongs). Center loss draws features of a class together, and
with them what tells out-of-distribution images apart: the paper finds the head best at λ = 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax

from adjax import models
from adjax.methods import _collective
from adjax.methods._gradient import gradient
from adjax.methods._optimizer import adamw
from adjax.methods.centerloss import center_loss_gradients, moved_centers
from adjax.models import Network
from adjax.types import Method


def ood_head(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    steps: int,
    body_share: float = 0.3,
    warmup_steps: int = 200,
    center_rate: float = 0.5,
) -> Method:
    """Trains `network` on the in-distribution rows of each batch, then the head on all rows, both by AdamW.

    Each stage has a learning rate of its own, with a warm-up and a cosine decay to zero. The body's count of its steps
    says which stage it is. An OOD image never reaches the body's training, not even its batch statistics, whichever
    devices of the batch hold it: where rows meet in the body, the devices' rows are laid side by side for it. A batch
    of OOD images alone leaves the body's weights and running statistics as they are; it counts as a step, and Adam's
    moments see a gradient of zero.

    Args:
      network: the body; gives `features` [N, D] and `logits` [N, classes].
      image_shape: (height px, width px, channels) of its input.
      classes: number of in-distribution classes, at least 2; label `classes` marks OOD images.
      steps: optimiser steps of both stages together, at least 1 (with which only the body trains).
      body_share: share of them that train the body, in (0, 1).
      warmup_steps: steps over which each learning rate rises from zero; at most a tenth of the stage is taken.
      center_rate: how fast the centers follow, in (0, 1].

    Hyper-parameters (arrays, per member): `lam`, the weight λ ≥ 0 of the center loss; `learning_rate` > 0, its peak,
    and `weight_decay` ≥ 0, decoupled, of the body; `head_learning_rate`, `head_weight_decay`, those of the head.

    Metrics: `stage`, 1 or 2; `loss` and `accuracy`, of the classes in stage 1, of OOD or not in stage 2.

    Returns:
      A `Method` whose `score` [N] is the head's logit of an OOD image.

    Raises:
      ValueError: fewer than two classes; no steps; a share outside of (0, 1); a rate outside of (0, 1].
    """
    if classes < 2:
        raise ValueError(f"the body separates classes and needs at least 2, not {classes}: use method 'classifier'")
    if steps < 1:
        raise ValueError(f"{steps} steps: must be at least 1")
    if not 0 < body_share < 1:
        raise ValueError(f"body share {body_share}: must lie between 0 and 1, both excluded")
    if not 0 < center_rate <= 1:
        raise ValueError(f"center rate {center_rate}: must lie in (0, 1]")
    body_steps = max(min(round(body_share * steps), steps - 1), 1)
    dim = jax.eval_shape(
        lambda: network.apply(network.init(jax.random.key(0)), jnp.zeros((1, *image_shape)))["features"]
    ).shape[-1]
    head = models.network(lambda rngs: Head(dim, rngs=rngs))
    body_optimizer = adamw(network, body_steps, warmup_steps)
    head_optimizer = adamw(head, max(steps - body_steps, 1), warmup_steps)

    def init(key, hparams):
        body_key, head_key = jax.random.split(key)
        params = {
            "network": network.init(body_key),
            "centers": jnp.zeros((classes, dim)),
            "head": head.init(head_key),
        }
        return {
            "params": params,
            "optimizer": {
                "body": body_optimizer.init(params["network"]),
                "head": head_optimizer.init(params["head"]),
            },
            "hparams": {name: jnp.asarray(hparams[name], jnp.float32) for name in HPARAMS},
        }

    def train_body(state, batch, key, axis_name):
        params, hparams = state["params"], state["hparams"]
        rows = batch["images"], batch["labels"]
        images, labels, counts = in_distribution(*rows, classes, None if network.rowwise else axis_name)
        known = {"images": images, "labels": jnp.where(counts > 0, labels, 0), "weight": counts}
        found = center_loss_gradients(
            network, params["network"], params["centers"], hparams["lam"], known, key, axis_name
        )
        moved, moments = body_optimizer.update(found.of, state["optimizer"]["body"], found.weights, hparams)
        some = found.metrics["weight"] > 0
        weights = jax.tree.map(lambda new, old: jnp.where(some, new, old), moved, params["network"])
        counted = jnp.where(counts > 0, labels, classes)
        centers = moved_centers(params["centers"], found.kept, counted, center_rate, axis_name)
        state = {
            "params": {**params, "network": weights, "centers": centers},
            "optimizer": {**state["optimizer"], "body": moments},
            "hparams": hparams,
        }
        metrics = {name: found.metrics[name] for name in ("loss", "accuracy")}
        return state, {**metrics, "stage": jnp.float32(1)}

    def train_head(state, batch, key, axis_name):
        params, hparams = state["params"], state["hparams"]
        features = network.apply(params["network"], batch["images"])["features"]

        def loss(said, rows):
            error = optax.sigmoid_binary_cross_entropy(said["logit"], rows["is_ood"].astype(jnp.float32))
            return {"loss": error, "accuracy": (said["logit"] > 0) == rows["is_ood"]}, ()

        rows = {"images": features, "is_ood": batch["labels"] >= classes}
        found = gradient(head, params["head"], rows, loss, key, axis_name)
        own = {"learning_rate": hparams["head_learning_rate"], "weight_decay": hparams["head_weight_decay"]}
        weights, moments = head_optimizer.update(found.of, state["optimizer"]["head"], found.weights, own)
        state = {
            "params": {**params, "head": weights},
            "optimizer": {**state["optimizer"], "head": moments},
            "hparams": hparams,
        }
        return state, {**found.metrics, "stage": jnp.float32(2)}

    def step(state, batch, key, axis_name=None):
        return lax.cond(
            state["optimizer"]["body"].count < body_steps,
            lambda state: train_body(state, batch, key, axis_name),
            lambda state: train_head(state, batch, key, axis_name),
            state,
        )

    def outputs(params, images):
        said = network.apply(params["network"], images)
        return {**said, "score": head.apply(params["head"], said["features"])["logit"]}

    return Method(init, step, outputs, HPARAMS, scorer="score", supervision="classes and anomalies")


HPARAMS = {
    "lam": 0.0,
    "learning_rate": 3e-3,
    "weight_decay": 0.3,
    "head_learning_rate": 1e-3,
    "head_weight_decay": 0.0,
}


class Head(nnx.Module):
    """Features float32[N, D] -> `logit` [N], the log odds that an image is OOD."""

    def __init__(self, dim: int, *, rngs: nnx.Rngs):
        relu_init = nnx.initializers.he_normal()
        self.hidden1 = nnx.Linear(dim, 256, kernel_init=relu_init, rngs=rngs)
        self.hidden2 = nnx.Linear(256, 256, kernel_init=relu_init, rngs=rngs)
        self.out = nnx.Linear(256, 1, rngs=rngs)

    def __call__(self, features: jax.Array) -> dict[str, jax.Array]:
        hidden = nnx.relu(self.hidden2(nnx.relu(self.hidden1(features))))
        return {"logit": self.out(hidden)[:, 0]}


def in_distribution(
    images: jax.Array, labels: jax.Array, classes: int, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A batch of in-distribution images alone, of the same size: where an OOD image was, another one stands again.

    Args:
      images: [B, H, W, C].
      labels: int32[B], `classes` or more for OOD.
      classes: how many belong.
      axis_name: of the devices whose rows make one batch, of which each gets its part; None: of these rows alone.

    Returns:
      (images, labels, counts float32[B]): the in-distribution rows first, in their order, counting 1; then the same
      ones again, counting 0, to keep shapes and batch statistics. If no row belongs, all are OOD and count 0.
    """
    own = jnp.arange(len(labels)) + (0 if axis_name is None else lax.axis_index(axis_name) * len(labels))
    images, labels = _collective.gather_if_mapped((images, labels), axis_name)
    belongs = labels < classes
    number = belongs.sum()
    rows = jnp.argsort(~belongs)[own % jnp.maximum(number, 1)]
    return images[rows], labels[rows], (own < number).astype(jnp.float32)
