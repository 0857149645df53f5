"""The gradient of a loss that is a mean over images; of a large batch on CPU, part by part.

What a step writes for a thousand small images doesn't fit into a CPU's cache: a batch of 1,024 took LeNet longer than
eight of 128. Where each image counts for itself the mean of the parts' gradients is the gradient (up to rounding), so
there the batch is taken in parts that fit. An accelerator takes it whole, and so does any device where images meet in
batch statistics or share a draw (dropout). Which device it is, is decided while lowering.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from adjax.methods import _collective
from adjax.models import Network
from adjax.types import Metrics, Outputs, PyTree

_PART = 300_000
"""Floats that a network may name among its outputs for the images of one part; those of LeNet at 28 px are 1,790.

Batches of 1,024 for it were fastest in parts of 128 (of 16 to 1,024), batches of 128 for the convolutional autoencoder
in parts of 16 or 32 (of 8 to 128): both took 30 % less time than whole."""


class Gradient(NamedTuple):
    """Gradient and metrics of one pass through a batch.

    Attributes:
      of: the gradient, a tree like the weights.
      metrics: the means that `loss` was asked for, over the whole batch of all devices.
      kept: what `loss` kept of each image of this device's batch, [B, ...].
      weights: as `network.train` returned them, running statistics moved.
    """

    of: PyTree
    metrics: Metrics
    kept: PyTree
    weights: PyTree


def gradient(
    network: Network,
    weights: PyTree,
    rows: Mapping[str, jax.Array],
    loss: Callable[[Outputs, Mapping[str, jax.Array]], tuple[Metrics, PyTree]],
    key: jax.Array,
    axis_name: str | None = None,
) -> Gradient:
    """Computes the gradient of a batch's mean loss, averaged over the named axis of devices.

    Args:
      network: the network to train.
      weights: its params.
      rows: `images` float32[B, H, W, C], and whatever else [B, ...] the loss needs of an image.
      loss: `(outputs, rows) -> (each, kept)`. `each` holds float32[B, ...] by name: each is averaged, and "loss" is
        differentiated. `kept` is a tree of arrays [B, ...] to return.
      key: of the network's training pass.
      axis_name: of the devices that share the batch; None: one device.

    Returns:
      A `Gradient`.
    """

    def whole(weights: PyTree, rows: Mapping[str, jax.Array]) -> Gradient:
        def mean_loss(weights):
            outputs, moved = network.train(weights, rows["images"], key, axis_name)
            each, kept = loss(outputs, rows)
            means = {name: values.mean(0, dtype=jnp.float32) for name, values in each.items()}
            return means["loss"], (means, kept, moved)

        return Gradient(*_flat(jax.grad(mean_loss, has_aux=True)(weights)))

    def in_parts(weights: PyTree, rows: Mapping[str, jax.Array]) -> Gradient:
        cut = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), rows)

        def add(total, part):
            of, metrics, kept, _ = whole(weights, part)
            return jax.tree.map(jnp.add, total, (of, metrics)), kept

        like = jax.eval_shape(whole, weights, jax.tree.map(lambda x: x[0], cut))[:2]
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)
        total, kept = lax.scan(add, zeros, cut)
        of, metrics = jax.tree.map(lambda x: x / parts, total)
        return Gradient(of, metrics, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), kept), weights)

    parts = _parts(network, weights, rows["images"])
    found = whole(weights, rows) if parts == 1 else lax.platform_dependent(weights, rows, cpu=in_parts, default=whole)
    of, metrics = _collective.pmean_if_mapped((found.of, found.metrics), axis_name)
    return found._replace(of=of, metrics=metrics)


def _flat(found: tuple[PyTree, tuple[Any, ...]]) -> tuple[Any, ...]:
    return found[0], *found[1]


def _parts(network: Network, weights: PyTree, images: jax.Array) -> int:
    """How many equal parts a CPU takes a batch in: 1, unless a few are small enough."""
    if not network.rowwise:
        return 1
    outputs = jax.eval_shape(network.apply, weights, jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype))
    most = max(_PART // sum(math.prod(x.shape) for x in outputs.values()), 1)
    rows = images.shape[0]
    part = max(n for n in range(1, min(most, rows) + 1) if rows % n == 0)
    return rows // part if 4 * part >= most else 1  # a batch of a prime number of images stays whole
