"""Random scores: the baseline, an AUROC of 0.5.

The draw is a hash of the image's pixels and a seed, not of where the image stands: the same image has the same score in
every batch, on every device. Nothing is trained.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax.models import Network
from adjax.types import Method


def random(network: Network | None, image_shape: tuple[int, int, int], classes: int = 1, *, steps: int = 1) -> Method:
    """Draws uniform scores in [0, 1), multiples of 2⁻²⁴.

    Args:
      network: not used.
      image_shape: (height px, width px, channels).
      classes, steps: not used.

    Returns:
      A `Method` without a step, whose `score` is float32[N].
    """
    del network, classes, steps
    pixels = image_shape[0] * image_shape[1] * image_shape[2]

    def init(key, hparams):
        del hparams
        return {"params": {"seed": jax.random.bits(key, (2,), jnp.uint32)}, "optimizer": {}, "hparams": {}}

    def outputs(params, images):
        levels = jnp.round(255 * images).astype(jnp.int32).astype(jnp.uint32).reshape(images.shape[0], pixels)
        place = _mixed(jnp.arange(pixels, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9) ^ params["seed"][0])
        word = _mixed(levels + place).sum(-1, dtype=jnp.uint32) ^ params["seed"][1]
        return {"score": (_mixed(word) >> 8).astype(jnp.float32) * jnp.float32(2**-24)}

    return Method(init, None, outputs, {}, scorer="score", supervision="normal", input_range="unit")


def _mixed(x: jax.Array) -> jax.Array:
    """uint32 -> uint32, one to one: each bit of the answer depends on each bit of the question.

    Shifts and multipliers of the 32-bit finaliser of MurmurHash3 (Appleby 2011).
    """
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
