"""Normalisation layers for convolutions, by name: the axes brought to mean 0 and variance 1.

"instance": each channel of each image over its pixels (Ulyanov et al. 2016); "group": groups of channels of each
image (Wu and He, ECCV 2018); "batch": each channel over all images of the batch (Ioffe and Szegedy, ICML 2015), which
at batch 1 is "instance" while training; "none": nothing.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

NORMS = "instance", "group", "batch", "none"
_EPSILON = 1e-5
_GROUP = 16


def norm(kind: str, channels: int, *, rngs: nnx.Rngs) -> nnx.Module:
    """Builds the normalisation layer of a name, [N, H, W, C] -> [N, H, W, C].

    Args:
      kind: a name in `NORMS`.
      channels: C ≥ 1.
      rngs: keys; scales are drawn from N(1, 0.02).

    Returns:
      A module.

    Raises:
      ValueError: unknown kind.
    """
    if kind not in NORMS:
        raise ValueError(f"normalisation {kind!r}: must be one of {', '.join(NORMS)}")
    if kind == "none":
        return nnx.Sequential()
    if kind == "batch":
        return nnx.BatchNorm(channels, momentum=0.9, epsilon=_EPSILON, scale_init=_near_one, rngs=rngs)
    return GroupNorm(channels, channels if kind == "instance" else max(1, channels // _GROUP), rngs=rngs)


class GroupNorm(nnx.Module):
    """Mean and variance over the pixels and over C / `groups` neighbouring channels of each image."""

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        if channels % groups:
            raise ValueError(f"{channels} channels can't be split evenly into {groups} groups")
        self.groups = groups
        self.scale = nnx.Param(_near_one(rngs.params(), (channels,)))
        self.bias = nnx.Param(jnp.zeros(channels))

    def __call__(self, x: jax.Array) -> jax.Array:
        n, channels = x.shape[0], x.shape[-1]

        def over_group(moment):  # [N, C] -> [N, C], the same all over a group
            grouped = moment.reshape(n, self.groups, channels // self.groups).mean(-1, keepdims=True)
            return jnp.broadcast_to(grouped, (n, self.groups, channels // self.groups)).reshape(n, 1, 1, channels)

        mean = over_group(x.mean((1, 2)))
        centered = x - mean
        variance = over_group(jnp.square(centered).mean((1, 2)))
        return centered * (jax.lax.rsqrt(variance + _EPSILON) * self.scale[...]) + self.bias[...]


def _near_one(key, shape, dtype=jnp.float32):
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)
