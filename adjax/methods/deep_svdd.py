"""Deep SVDD: maps normal images close to one center; the score is the squared distance from it.

Ruff et al., "Deep one-class classification" (ICML 2018), equation 4, the one-class objective:

    min over W of  mean ‖f(x; W) − c‖² + λ/2 Σ ‖W‖²

The center c is the mean of the untrained network's features, found once and then left alone, with components near zero
moved to ±ε, which a network without biases could reach by weights of zero. (The weight decay is decoupled here.)
The paper normalises the contrast of each image; here it is an option, and what is on instead is a root of the pixels,
blurred, with which validation on Fashion-MNIST's four hardest classes went best.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax.losses.blur import blur
from adjax.methods import _collective
from adjax.methods._contrast import contrast_normalised, powered
from adjax.methods._gradient import gradient
from adjax.methods._optimizer import adamw
from adjax.models import Network
from adjax.types import Method


def deep_svdd(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int = 1,
    *,
    steps: int,
    warmup_steps: int = 200,
    center_steps: int = 20,
    center_gap: float = 0.1,
    gamma: float = 0.5,
    blur_px: float = 1.0,
    contrast: bool = False,
) -> Method:
    """Trains `network` to map normal images close to a center.

    Args:
      network: gives `features` [N, D]; without biases, see `adjax.models.svdd`.
      image_shape: (height px, width px, channels) of its input.
      classes: not used: all that it learns is normal.
      steps: optimiser steps of the whole training, over which the learning rate decays.
      warmup_steps: steps over which the learning rate rises from zero; at most a tenth of `steps` is taken.
      center_steps: number of first steps that only average features into the center, ≥ 1; at most a tenth of `steps`,
        and at least 1, is taken.
      center_gap: ε, the least size of a component of the center, ≥ 0.
      gamma: exponent > 0 of the pixels, before all else; 1 changes nothing.
      blur_px: then blur the image by a Gaussian of that standard deviation, ≥ 0.
      contrast: then take each image's mean away and make its mean absolute deviation 1, as in the paper.

    Hyper-parameters (arrays, per member): `learning_rate` > 0, its peak; `weight_decay` ≥ 0, decoupled.

    Returns:
      A `Method` whose `score` [N] is the squared distance of the features to the center.

    Raises:
      ValueError: no steps, no steps for the center; a gap, an exponent or a blur out of range.
    """
    del classes
    if center_steps < 1:
        raise ValueError(f"{center_steps} steps for the center: must be at least 1")
    if center_gap < 0:
        raise ValueError(f"center gap {center_gap}: must be at least 0")
    if gamma <= 0 or blur_px < 0:
        raise ValueError(f"gamma {gamma}, blur of {blur_px} px: must be positive and at least 0")
    center_steps = min(center_steps, max(1, steps // 10))
    optimizer = adamw(network, steps, warmup_steps)

    def init(key, hparams):
        weights = network.init(key)
        dim = jax.eval_shape(network.apply, weights, jnp.zeros((1, *image_shape)))["features"].shape[-1]
        return {
            "params": {"network": weights, "center": jnp.zeros(dim)},
            "optimizer": {"moments": optimizer.init(weights), "averaged": jnp.int32(0)},
            "hparams": {name: jnp.asarray(hparams[name], jnp.float32) for name in HPARAMS},
        }

    def step(state, batch, key, axis_name=None):
        images, hparams, old = _seen(batch["images"]), state["hparams"], state["params"]
        averaged = state["optimizer"]["averaged"]
        key = _collective.keys(key, 1, axis_name)[0]

        def loss(outputs, _):
            features = outputs["features"]
            return {"loss": jnp.square(features - old["center"]).sum(-1), "mean": features}, ()

        found = gradient(network, old["network"], {"images": images}, loss, key, axis_name)
        mean = found.metrics["mean"]
        trained = optimizer.update(found.of, state["optimizer"]["moments"], found.weights, hparams)

        averaging = averaged < center_steps
        center = old["center"] + (mean - old["center"]) / (averaged + 1)
        center = jnp.where(averaged + 1 == center_steps, _away_from_zero(center, center_gap), center)
        # While the center is found, weights and moments stay; running statistics move.
        still = (found.weights, state["optimizer"]["moments"])
        weights, moments = jax.tree.map(lambda a, b: jnp.where(averaging, a, b), still, trained)
        state = {
            "params": {"network": weights, "center": jnp.where(averaging, center, old["center"])},
            "optimizer": {"moments": moments, "averaged": jnp.minimum(averaged + 1, center_steps)},
            "hparams": hparams,
        }
        return state, {"loss": found.metrics["loss"]}

    def outputs(params, images):
        said = network.apply(params["network"], _seen(images))
        return {**said, "score": jnp.square(said["features"] - params["center"]).sum(-1)}

    def _seen(images):
        images = blur(powered(images, gamma), blur_px)
        return contrast_normalised(images) if contrast else images

    return Method(init, step, outputs, HPARAMS, scorer="score", supervision="normal", input_range="unit")


HPARAMS = {"learning_rate": 1e-3, "weight_decay": 1e-2}


def _away_from_zero(center: jax.Array, gap: float) -> jax.Array:
    return jnp.where(jnp.abs(center) < gap, jnp.where(center < 0, -gap, gap), center)
