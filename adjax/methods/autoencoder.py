"""Autoencoder, trained on normal images only: the score is its reconstruction error.

Sakurada and Yairi, "Anomaly detection using autoencoders with nonlinear dimensionality reduction" (MLSDA 2014). The
error is the mean over the pixels of the squared difference ("mse") or of the binary cross-entropy ("bce"); one minus
the structural similarity ("ssim", Bergmann et al., "Improving unsupervised defect segmentation by applying structural
similarity to autoencoders", VISAPP 2019); or "mse+ssim", the sum of the two. What is trained on and what scores may be
two different errors.

Two things about the squared error were found to matter on Fashion-MNIST, each for normal-only AUROC: pixels are raised
to the power `gamma` first, since else bright images weigh most; and the difference is blurred before it is squared,
since fine texture that no bottleneck can hold is in normal images too.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from adjax.losses.blur import blur
from adjax.losses.ssim import ssim
from adjax.methods._contrast import powered
from adjax.methods._gradient import gradient
from adjax.methods._optimizer import adamw, initial
from adjax.models import Network
from adjax.types import Method

_FLOOR = 1e-7  # below it a logarithm stays put: a pixel that is sure and wrong costs 16, not infinity


def autoencoder(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int = 1,
    *,
    steps: int,
    warmup_steps: int = 200,
    loss: str = "mse",
    score: str = "mse",
    gamma: float = 0.5,
    blur_px: float = 1.0,
) -> Method:
    """Trains `network` to give normal images back.

    Args:
      network: gives `features` [N, D] and `reconstruction` [N, H, W, C] in 0..1.
      image_shape: (height px, width px, channels) of its input.
      classes: not used: all that it learns is normal.
      steps: optimiser steps of the whole training, over which the learning rate decays.
      warmup_steps: steps over which the learning rate rises from zero; at most a tenth of `steps` is taken.
      loss, score: the errors to train on and to score by: "mse", "bce", "ssim" or "mse+ssim".
      gamma: exponent > 0 of the pixels, before all else; `reconstruction` is given without it. 1 changes nothing.
      blur_px: standard deviation of the Gaussian that blurs the difference when "mse" scores, ≥ 0; not in training.

    Hyper-parameters (arrays, per member): `learning_rate` > 0, its peak; `weight_decay` ≥ 0, decoupled.

    Returns:
      A `Method` whose `score` [N] is the reconstruction error.

    Raises:
      ValueError: no steps; an unknown error; an exponent or a blur out of range.
    """
    del classes
    optimizer = adamw(network, steps, warmup_steps)
    if gamma <= 0 or blur_px < 0:
        raise ValueError(f"gamma {gamma}, blur of {blur_px} px: must be positive and at least 0")
    loss_of, score_of = _error(loss, image_shape), _error(score, image_shape, blur_px)

    init = initial(network, optimizer, HPARAMS)

    def step(state, batch, key, axis_name=None):
        def loss(outputs, rows):
            return {"loss": loss_of(rows["images"], outputs["reconstruction"])}, ()

        weights, hparams = state["params"]["network"], state["hparams"]
        found = gradient(network, weights, {"images": powered(batch["images"], gamma)}, loss, key, axis_name)
        weights, moments = optimizer.update(found.of, state["optimizer"], found.weights, hparams)
        return {"params": {"network": weights}, "optimizer": moments, "hparams": hparams}, found.metrics

    def outputs(params, images):
        images = powered(images, gamma)
        said = network.apply(params["network"], images)
        reconstruction = said["reconstruction"]
        return {
            **said,
            "reconstruction": powered(reconstruction, 1 / gamma),
            "score": score_of(images, reconstruction),
        }

    return Method(init, step, outputs, HPARAMS, scorer="score", supervision="normal", input_range="unit")


HPARAMS = {"learning_rate": 2e-3, "weight_decay": 0.0}


def _error(
    kind: str, image_shape: tuple[int, int, int], blur_px: float = 0.0
) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """(images, reconstructions), both [N, H, W, C] in 0..1 -> the error of each, float32[N]."""
    side = min(image_shape[:2])
    window_px = min(11, side - 1 + side % 2)  # an odd window that fits

    def mse(x, y):
        return jnp.square(blur(x - y, blur_px)).mean((1, 2, 3))

    def bce(x, y):
        log = -x * jnp.log(jnp.maximum(y, _FLOOR)) - (1 - x) * jnp.log(jnp.maximum(1 - y, _FLOOR))
        return log.mean((1, 2, 3))

    def unlike(x, y):
        return 1 - ssim(x, y, window_px=window_px)

    errors = {"mse": mse, "bce": bce, "ssim": unlike, "mse+ssim": lambda x, y: mse(x, y) + unlike(x, y)}
    if kind not in errors:
        raise ValueError(f"error {kind!r}: must be one of {', '.join(errors)}")
    return errors[kind]
