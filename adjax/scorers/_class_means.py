"""Class means in one mergeable pass: those of `adjax.scorers.mahalanobis`, without its D × D scatter."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from adjax._numerics import EXACT, anchor_of
from adjax.scorers._vectors import LIMIT


class Means(NamedTuple):
    """Running means.

    Attributes:
      anchor: float32[D], a point among the data; the mean of the first batch.
      counts: float32[K].
      mean: float32[K, D], class means less the anchor, so that large common offsets cost no digits.
    """

    anchor: jax.Array
    counts: jax.Array
    mean: jax.Array


def init(dim: int, classes: int) -> Means:
    """Makes the statistics before any image.

    Args:
      dim: D ≥ 1.
      classes: K ≥ 1.

    Returns:
      `Means` of zeros.
    """
    return Means(*(jnp.zeros(shape, jnp.float32) for shape in ((dim,), (classes,), (classes, dim))))


def update(means: Means, x: jax.Array, labels: jax.Array, mask: jax.Array) -> Means:
    """Adds rows; those not finite or beyond 1e15 are ignored.

    Args:
      means: the statistics so far, for D features and K classes.
      x: float[N, D].
      labels: int[N], 0 … K−1; other rows are ignored.
      mask: bool[N], rows that count.

    Returns:
      The `Means` with the rows added.
    """
    x = x.astype(jnp.float32)
    classes = means.counts.size
    keep = (mask & (labels >= 0) & (labels < classes) & (jnp.abs(x) <= LIMIT).all(-1))[:, None]
    member = jnp.where(keep, jax.nn.one_hot(labels, classes, dtype=jnp.float32), 0)
    count = member.sum(0)
    x = jnp.where(keep, x, 0)
    anchor = anchor_of(x, count.sum())
    x = jnp.where(keep, x - anchor[None], 0)
    return merge(means, Means(anchor, count, jnp.matmul(member.T, x, precision=EXACT) / jnp.maximum(count, 1)[:, None]))


def merge(a: Means, b: Means) -> Means:
    """Merges two sets of statistics.

    Args:
      a, b: of the same D and K.

    Returns:
      The `Means` of both.
    """
    anchor = jnp.where(a.counts.sum() > 0, a.anchor, b.anchor)
    count = a.counts + b.counts
    step = b.mean + (b.anchor - anchor)[None] - a.mean
    return Means(anchor, count, a.mean + (b.counts / jnp.maximum(count, 1))[:, None] * step)
