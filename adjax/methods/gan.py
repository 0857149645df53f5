"""Dual-discriminator GAN: a generator that copies normal images well and labelled anomalies badly.

Kim, Jeong, Choi, Seo, "GAN-based Anomaly Detection in Imbalance Problems" (ECCV workshops 2020). With the generator's
error d = mean |x − G(x)|, its encoder E and a discriminator for each kind of image, D_N and D_A, its loss is

    w_reconstruction · d                      over normal images
    + w_patch · (d over the worst patches)    over normal images
    + w_latent · mean |E(x) − E(G(x))|        over normal images
    + w_ssim · (1 − SSIM(x, G(x)))            over normal images
    + w_adversarial · (D_N(G(x)) → 1)         over normal images
    + w_anomaly_adversarial · (D_A(G(x)) → 0) over anomalies
    + w_abc · −log(1 − exp(−d))               over anomalies

and that of the discriminators, each over its own kind of image,

    w_discriminator_normal · (D_N(x) → 1, D_N(G(x)) → 0) + w_discriminator_anomaly · (D_A(x) → 1, D_A(G(x)) → 0).

"→" is the squared difference (least squares) or the cross-entropy. The score is d; no discriminator is used for it.
Generator and discriminators step at the same time, from one G(x); a discriminator stays as it is where a batch has no
image of its kind.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import lax

from adjax.losses.abc import abc
from adjax.losses.patch import patch
from adjax.losses.ssim import ssim
from adjax.methods import _collective
from adjax.methods._adam import scale_by_adam, when_all_are_there
from adjax.methods._descent import apply_updates
from adjax.methods._muon import count, muon_or_adam
from adjax.models import Network
from adjax.models import network as as_network
from adjax.models._discriminator import Discriminator
from adjax.models.unet import enlarged, resized
from adjax.types import Method


def gan(
    network: Network,
    image_shape: tuple[int, int, int],
    classes: int = 1,
    *,
    steps: int,
    warmup_steps: int = 0,
    adversarial: str = "least_squares",
    share: float = 0.5,
    width: int = 64,
    norm: str = "instance",
    compute: str | None = None,
    optimizer: str = "muon",
) -> Method:
    """Trains `network` as the generator, with a cosine decay to zero.

    Args:
      network: gives `reconstruction` in −1..1, `latent` and `features`, see `adjax.models.unet`.
      image_shape: (height px, width px, channels) of its input.
      classes: not used: images are normal or not.
      steps: optimiser steps of the whole training, over which the learning rate decays.
      warmup_steps: steps over which the learning rate rises from zero; at most a tenth of `steps` is taken.
      adversarial: "least_squares" or "cross_entropy".
      share: the share of a batch that each discriminator sees, and the second pass of the encoder, in (0, 1]. They want
        images of one label only: at ½ they see the half of the batch where theirs come first, so that batches with as
        many of each cost half of what a share of 1 costs, and lose the few that are too many. It is rounded up to whole
        images. Devices that share a batch take the share of theirs each: which images are lost, and so the step,
        depends on how labels lie over devices, but at a share of 1.
      width, norm, compute: of the discriminators, see `adjax.models._discriminator`.
      optimizer: of the generator: "muon", or "adam", the paper's; the discriminators have Adam.

    Hyper-parameters (arrays, per member): the weights above and `learning_rate` > 0, its peak.

    Returns:
      A `Method` whose `score` [N] is the mean absolute error of the reconstruction.

    Raises:
      ValueError: no steps; a share out of range; an unknown loss or optimiser.
    """
    del classes
    if steps < 1 or warmup_steps < 0:
        raise ValueError(f"{steps} steps, {warmup_steps} warm-up steps: must be at least 1 and at least 0")
    if not 0 < share <= 1:
        raise ValueError(f"share {share} of a batch: must lie in (0, 1]")
    if adversarial not in _TOWARDS:
        raise ValueError(f"adversarial loss {adversarial!r}: must be one of {', '.join(_TOWARDS)}")
    if optimizer not in ("muon", "adam"):
        raise ValueError(f"optimizer {optimizer!r}: choose muon or adam")
    towards = _TOWARDS[adversarial]
    sides = jax.eval_shape(enlarged, jnp.zeros((1, *image_shape))).shape[1:3]
    shape = (*sides, image_shape[2])
    discriminator = as_network(lambda rngs: Discriminator(shape, width=width, norm=norm, compute=compute, rngs=rngs))
    schedule = optax.warmup_cosine_decay_schedule(0.0, 1.0, min(warmup_steps, steps // 10), steps)
    adam = scale_by_adam(_BETA1)
    descent, done = (muon_or_adam(_BETA1), count) if optimizer == "muon" else (adam, lambda state: state.count)
    window_px = min(11, min(sides) - 1 + min(sides) % 2)

    def init(key, hparams):
        keys = jax.random.split(key, 3)
        weights = network.init(keys[0])
        discriminators = {"normal": discriminator.init(keys[1]), "anomaly": discriminator.init(keys[2])}
        return {
            "params": {"network": weights},
            "discriminators": discriminators,
            "optimizer": {
                "network": descent.init(weights),
                **{kind: adam.init(params) for kind, params in discriminators.items()},
            },
            "hparams": {name: jnp.asarray(hparams[name], jnp.float32) for name in HPARAMS},
        }

    def step(state, batch, key, axis_name=None):
        w, weights, discriminators = state["hparams"], state["params"]["network"], state["discriminators"]
        order = jnp.argsort(batch["labels"])  # normal images first
        x, labels = enlarged(batch["images"])[order], batch["labels"][order]
        rows = math.ceil(share * len(x))
        own = {"normal": slice(0, rows), "anomaly": slice(len(x) - rows, len(x))}
        masks = {"normal": labels == 0, "anomaly": labels > 0}
        counts = {
            kind: _collective.psum_if_mapped((mask.sum(), mask[own[kind]].sum()), axis_name)
            for kind, mask in masks.items()
        }

        def mean(values, kind):
            """This device's part of the mean over all images of that kind, or over those that are seen of them."""
            whole = len(values) == len(x)
            mask = masks[kind] if whole else masks[kind][own[kind]]
            return jnp.where(mask, values, 0).sum() / jnp.maximum(counts[kind][0 if whole else 1], 1)

        def made(weights):
            said, moved = network.train(weights, x, key, axis_name)
            return (said["reconstruction"], said["latent"]), moved

        (y, latent), pull_back, moved = jax.vjp(made, weights, has_aux=True)

        def of_normal_images(fake, y, latent, weights):
            again, _ = network.train(weights, y[own["normal"]], key, axis_name)
            drift = jnp.abs(latent[own["normal"]] - again["latent"])
            return {
                "reconstruction": mean(jnp.abs(x - y).mean((1, 2, 3)), "normal"),
                "patch": mean(patch(x, y), "normal"),
                "latent": mean(drift.reshape(len(drift), -1).mean(-1), "normal"),
                "ssim": mean(1 - ssim(x, y, data_range=2.0, window_px=window_px), "normal"),
                "adversarial": mean(towards(fake, 1), "normal"),
            }

        def of_anomalies(fake, y):
            return {
                "anomaly_adversarial": mean(towards(fake, 0), "anomaly"),
                "abc": mean(abc(jnp.abs(x - y).mean((1, 2, 3))), "anomaly"),
            }

        rate = w["learning_rate"] * schedule(done(state["optimizer"]["network"]))

        def learned(kind, names, terms_of, *at):
            """The gradients of the terms over images of one kind; zeros if no device has any.

            Batches of an image or a few often have none, and a pass through a discriminator is not cheap.

            Args:
              names: of the terms of the generator's loss.
              terms_of: `(discriminator's logits of at[0], *at) -> terms`.
              at: the images made, and what else the terms are functions of.

            Returns:
              The gradient of the terms' weighed sum by `at`; the terms; the discriminator and its moments after this
              batch; its loss.
            """
            judge, moments = discriminators[kind], state["optimizer"][kind]

            def judged(judge, images):
                said, moved = discriminator.train(judge, images[own[kind]], key, axis_name)
                return said["logits"], moved

            def generator_loss(at, fake):
                terms = terms_of(fake, *at)
                return sum(w[f"w_{name}"] * terms[name] for name in names), terms

            def discriminator_loss(real, fake):
                term = mean(towards(real, 1) + towards(fake, 0), kind)
                return w[f"w_discriminator_{kind}"] * term, term

            def from_some():
                real, through_real, _ = jax.vjp(partial(judged, images=x), judge, has_aux=True)
                fake, through_fake, moved = jax.vjp(judged, judge, at[0], has_aux=True)
                ((by_y, *by), by_fake), terms = jax.grad(generator_loss, (0, 1), has_aux=True)(at, fake)
                by_y += through_fake(by_fake)[1]
                (by_real, by_fake), term = jax.grad(discriminator_loss, (0, 1), has_aux=True)(real, fake)
                gradient = jax.tree.map(jnp.add, through_real(by_real)[0], through_fake(by_fake)[0])
                gradient, term = _collective.psum_if_mapped((gradient, term), axis_name)
                updates, after = adam.update(gradient, moments)
                judge_after = apply_updates(discriminator, moved, updates, when_all_are_there((by_y, gradient), rate))
                return (by_y, *by), terms, (judge_after, after), term

            zero = jnp.float32(0)
            otherwise = jax.tree.map(jnp.zeros_like, at), dict.fromkeys(names, zero), (judge, moments), zero
            return lax.cond(counts[kind][0] > 0, from_some, lambda: otherwise)

        (by_y, by_latent, direct), normal_terms, *normal = learned(
            "normal", _OF_NORMAL_IMAGES, of_normal_images, y, latent, weights
        )
        (by_y_too,), anomaly_terms, *anomaly = learned("anomaly", _OF_ANOMALIES, of_anomalies, y)
        (through_y,) = pull_back((by_y + by_y_too, by_latent))
        grads = jax.tree.map(jnp.add, through_y, direct)
        terms = {**normal_terms, **anomaly_terms}
        metrics = {"loss": sum(w[f"w_{name}"] * term for name, term in terms.items()), **terms}
        grads, metrics = _collective.psum_if_mapped((grads, metrics), axis_name)
        updates, moments = descent.update(grads, state["optimizer"]["network"])
        judges = {"normal": normal, "anomaly": anomaly}
        state = {
            "params": {"network": apply_updates(network, moved, updates, when_all_are_there(grads, rate))},
            "discriminators": {kind: judge for kind, ((judge, _), _) in judges.items()},
            "optimizer": {"network": moments, **{kind: after for kind, ((_, after), _) in judges.items()}},
            "hparams": w,
        }
        metrics |= {f"discriminator_{kind}": term for kind, (_, term) in judges.items()}
        return state, metrics

    def outputs(params, images):
        x = enlarged(images)
        said = network.apply(params["network"], x)
        y = said["reconstruction"]
        return {
            "score": jnp.abs(x - y).mean((1, 2, 3)),
            "reconstruction": resized(y, images.shape[1:3]),
            "features": said["features"],
        }

    return Method(init, step, outputs, HPARAMS, scorer="score", supervision="anomalies", input_range="signed")


HPARAMS = {
    "learning_rate": 2e-3,
    "w_reconstruction": 1.5,
    "w_patch": 1.5,
    "w_latent": 0.5,
    "w_ssim": 0.0,
    "w_adversarial": 0.5,
    "w_anomaly_adversarial": 1.0,
    "w_abc": 0.5,
    "w_discriminator_normal": 1.0,
    "w_discriminator_anomaly": 0.5,
}
"""Defaults: the weights are the paper's, the rate suits Muon; Adam takes half. At batches of 64 the adversarial terms
were found to slow learning: see the presets in `experiments/presets.py`, which weigh ABC more and them less."""

_BETA1 = 0.5
"""Of Adam's first moment: the paper's."""

_OF_NORMAL_IMAGES = "reconstruction", "patch", "latent", "ssim", "adversarial"
_OF_ANOMALIES = "anomaly_adversarial", "abc"
"""Terms of the generator's loss."""

_TOWARDS = {
    "least_squares": lambda logits, target: jnp.square(logits - target),
    "cross_entropy": lambda logits, target: optax.sigmoid_binary_cross_entropy(logits, jnp.float32(target)),
}
"""Name -> (logits [N], 0 or 1) -> loss [N]."""
