"""The classifier's last layer, recovered from features and logits by least squares.

    minimise over W, b:  Σ_n ‖W f_n + b − z_n‖²

A scorer sees features f and logits z, and not the network. A bounded sample of both (`adjax.scorers._reservoir`) gives
W and b exactly, up to rounding, by a singular value decomposition: the normal equations would square the condition
number, and float32 has no digits for that. Columns are centred and brought to one scale first.

* Where training features leave a direction out (duplicate or dead features, fewer images than features), nothing tells
  its weights, and the solution of the smallest norm ignores it. The network itself may not: who has its weights gives
  them as `kernel`, and only b is found.
* Where logits are not linear in the features, there is no head to find: with an error above 5 % of the logits' spread
  its bias is NaN, and so is every score. Features and logits rounded to bfloat16 are well below that. As many images as
  features always fit, and tell nothing.
* Fitted to no image, its bias is −inf: no class is called for, and the energy is +inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from adjax._numerics import EXACT
from adjax.scorers import _reservoir
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT
from adjax.types import Outputs

_EPS = 2.0**-23
_CUTOFF = 16 * _EPS
"""Singular values below that share of the largest are rounding."""
_NONLINEAR = 0.05


class Head(NamedTuple):
    """The last layer: z = (f − origin) · kernel + bias.

    Attributes:
      origin: float32[D], mean features, subtracted first, so that large common offsets cost no digits.
      kernel: float32[D, L].
      bias: float32[L], the logits at the origin.
    """

    origin: jax.Array
    kernel: jax.Array
    bias: jax.Array


def init(capacity: int, dim: int, classes: int, logits: int | None = None) -> Sample:
    """Makes an empty sample for D features and L logits.

    Args:
      capacity: rows that the sample may keep, > D.
      dim: D ≥ 1.
      classes: K ≥ 1.
      logits: L ≥ 1; None: as many as classes.

    Returns:
      A `Sample` of rows float32[capacity, D + L].

    Raises:
      ValueError: capacity ≤ D, too few rows to determine D weights and a bias per logit.
    """
    if capacity <= dim:
        raise ValueError(f"capacity {capacity}: a layer of {dim} features is known from more than {dim} images only")
    return _reservoir.init(capacity, dim + (classes if logits is None else logits), classes)


def update(
    stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array, feature: str, logits: int | None = None
) -> Sample:
    """Adds images; those with a feature or logit that is not finite (or beyond 1e15) are ignored.

    Args:
      stats: the sample so far.
      outputs: `feature` [N, D] and "logits" [N, L], float.
      labels: int[N], 0 … K−1; other rows are ignored.
      mask: bool[N], rows that count.
      feature: name of the features among the outputs.
      logits: L, as given to `init`.

    Returns:
      The sample with the images added.

    Raises:
      ValueError: D or L differ from those given to `init`.
    """
    x, z = outputs[feature].astype(jnp.float32), outputs["logits"].astype(jnp.float32)
    wide = stats.counts.size if logits is None else logits
    dim = stats.rows.shape[1] - wide
    if (x.shape[1], z.shape[1]) != (dim, wide):
        raise ValueError(
            f"{x.shape[1]} features and {z.shape[1]} logits where {dim} and {wide} are expected: "
            f"give the scorer logits={z.shape[1]} if there are not as many as classes"
        )
    return _reservoir.update(stats, jnp.concatenate([x, z], -1), labels, mask)


def sampling(
    capacity: int, logits: int | None, feature: str
) -> tuple[Callable[[int, int], Sample], Callable[[Sample, Outputs, jax.Array, jax.Array], Sample]]:
    """Binds the options of a scorer to `init` and `update`.

    Args:
      capacity: rows that the sample may keep.
      logits: L; None: as many as classes.
      feature: name of the features among the outputs.

    Returns:
      `init` and `update` of a `Scorer`.
    """

    def start(dim: int, classes: int) -> Sample:
        return init(capacity, dim, classes, logits)

    def add(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        return update(stats, outputs, labels, mask, feature, logits)

    return start, add


def rows(stats: Sample, logits: int | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Splits the sample into features and logits.

    Args:
      stats: the sample.
      logits: L, as given to `init`.

    Returns:
      Features float32[capacity, D], logits float32[capacity, L], and which rows are filled, bool[capacity].
    """
    dim = stats.rows.shape[1] - (stats.counts.size if logits is None else logits)
    return stats.rows[:, :dim], stats.rows[:, dim:], _reservoir.kept(stats)


def solve(x: jax.Array, z: jax.Array, known: jax.Array, kernel: ArrayLike | None = None) -> Head:
    """Solves for the head by least squares.

    Args:
      x: float32[M, D], features.
      z: float32[M, L], logits.
      known: bool[M], rows to use.
      kernel: float[D, L], the network's own W, used where the rows agree with it; None: W is recovered.

    Returns:
      The `Head`. Its bias is NaN where logits are not linear in the features, −inf without a row.

    Raises:
      ValueError: a kernel of another shape than [D, L].
    """
    shape = x.shape[1], z.shape[1]
    if kernel is not None and np.shape(kernel) != shape:
        raise ValueError(
            f"kernel of shape {np.shape(kernel)}: the last layer from {shape[0]} features to {shape[1]} logits has "
            f"{shape} (PyTorch's weight is the transpose)"
        )
    count = jnp.maximum(known.sum(), 1).astype(jnp.float32)
    origin, off, a = _centred(x, known, count)
    level, rest, y = _centred(z, known, count)
    if kernel is None:
        scale = jnp.abs(a).max(0)
        scale = jnp.where(scale > 0, scale, 1)
        kernel = jnp.linalg.lstsq(a / scale[None], y, _CUTOFF)[0] / scale[:, None]
    kernel = jnp.asarray(kernel, jnp.float32)
    error = y - jnp.matmul(a, kernel, precision=EXACT)
    coarse = _EPS * (jnp.abs(level) + jnp.matmul(jnp.abs(origin), jnp.abs(kernel), precision=EXACT))
    linear = _size(error) <= _NONLINEAR * _size(y) + 8 * coarse.max()
    bias = level + rest - jnp.matmul(off, kernel, precision=EXACT)
    return Head(origin, kernel, jnp.where(known.any(), jnp.where(linear, bias, jnp.nan), -jnp.inf))


def apply(head: Head, x: jax.Array) -> jax.Array:
    """Computes logits from features.

    Args:
      head: as of `solve`.
      x: float32[N, D], features.

    Returns:
      float32[N, L], W f + b, the product clipped to ±1e15.
    """
    z = jnp.matmul(x - head.origin[None], head.kernel, precision=EXACT)
    return jnp.clip(z, -LIMIT, LIMIT) + head.bias[None]


def intercept(head: Head) -> jax.Array:
    """float32[L], b: the logits where all features are 0; NaN and −inf as the head's bias."""
    return head.bias - jnp.matmul(head.origin, head.kernel, precision=EXACT)


def _centred(x: jax.Array, known: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The mean in two parts, of which float32 holds the sum; and rows less both, constant columns exactly 0."""
    mean = x.sum(0) / count
    rest = jnp.where(known[:, None], x - mean[None], 0)
    off = rest.sum(0) / count
    rest = jnp.where(known[:, None], rest - off[None], 0)
    constant = jnp.abs(rest).max(0) <= 4 * _EPS * jnp.abs(mean)
    return mean, off, jnp.where(constant[None], 0, rest)


def _size(x: jax.Array) -> jax.Array:
    """Root mean square, whose squares don't overflow."""
    largest = jnp.maximum(jnp.abs(x).max(), 1e-30)
    return largest * jnp.sqrt(jnp.square(x / largest).mean())
