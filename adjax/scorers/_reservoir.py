"""A bounded sample of rows that is the same whatever the order, the chunking or the merging.

Each row has a hash of its own bytes, or of those that it was computed from, and the `capacity` rows with the lowest
hashes are kept ("bottom-k", Cohen & Kaplan, 2007). The lowest of a union are among the lowest of its parts, so samples
merge exactly; and a hash knows nothing of what a row means, so they are a random sample, without replacement, of the
different rows. Equal rows have equal hashes: they are kept or left out together.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

_LIMIT = 1e15
"""Rows with a feature beyond ± this are left out, so that no square of one overflows."""
_LAST = 2**32 - 1
_SALTS = 0x9E3779B9, 0x7F4A7C15


class Sample(NamedTuple):
    """Rows in the order of their hashes.

    Attributes:
      rows: float32[capacity, D]; zeros after the last one.
      hashes: uint32[capacity, 2]; all bits set after the last row.
      counts: float32[K], rows seen of each class, kept or not.
      sources: uint32[capacity], what each row came from; zeros where nobody tells.
    """

    rows: jax.Array
    hashes: jax.Array
    counts: jax.Array
    sources: jax.Array


def init(capacity: int, dim: int, classes: int) -> Sample:
    """Makes an empty sample.

    Args:
      capacity: rows to keep at most, ≥ 1.
      dim: D ≥ 1.
      classes: K ≥ 1.

    Returns:
      A `Sample` without a row.
    """
    rows, hashes = jnp.zeros((capacity, dim), jnp.float32), jnp.full((capacity, 2), _LAST, jnp.uint32)
    return Sample(rows, hashes, jnp.zeros(classes, jnp.float32), jnp.zeros(capacity, jnp.uint32))


def update(
    sample: Sample,
    x: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    sources: jax.Array | None = None,
    known_by: jax.Array | None = None,
) -> Sample:
    """Adds rows; those not finite or beyond 1e15 are ignored.

    Args:
      sample: the sample so far, for D features and K classes.
      x: float[N, D].
      labels: int[N], 0 … K−1; other rows are ignored.
      mask: bool[N], rows that count.
      sources: uint32[N], what each came from, not 0.
      known_by: float[N, E], what the rows were computed from, and are hashed by: each compiled program may round them
        otherwise. None: the rows themselves.

    Returns:
      The `Sample` of all rows so far.
    """
    x = x.astype(jnp.float32)
    classes = sample.counts.size
    keep = mask & (labels >= 0) & (labels < classes) & (jnp.abs(x) <= _LIMIT).all(-1)
    x = jnp.where(keep[:, None] & (x != 0), x, 0)  # −0 is 0
    hashes = jnp.where(keep[:, None], _hash(x if known_by is None else known_by), jnp.uint32(_LAST))
    counts = jnp.where(keep[:, None], jax.nn.one_hot(labels, classes, dtype=jnp.float32), 0).sum(0)
    sources = jnp.zeros(len(x), jnp.uint32) if sources is None else sources
    return merge(sample, Sample(x, hashes, counts, jnp.where(keep, sources, 0)))


def merge(a: Sample, b: Sample) -> Sample:
    """Merges two samples.

    Args:
      a: sets the capacity.
      b: of the same D and K.

    Returns:
      The `Sample` of the rows of both, of the capacity of `a`.
    """
    capacity = len(a.rows)
    hashes = jnp.concatenate([a.hashes, b.hashes])
    place = jnp.arange(len(hashes), dtype=jnp.int32)
    *_, order = lax.sort((hashes[:, 0], hashes[:, 1], place), num_keys=2)
    order = order[:capacity]
    rows = jnp.concatenate([a.rows, b.rows])[order]
    return Sample(rows, hashes[order], a.counts + b.counts, jnp.concatenate([a.sources, b.sources])[order])


def kept(sample: Sample) -> jax.Array:
    """bool[capacity]: which of `rows` are real."""
    return (sample.hashes != jnp.uint32(_LAST)).any(-1)


def only_sources(sample: Sample) -> jax.Array:
    """uint32[capacity]: what each row came from; 0 if another one has the same row."""
    n = len(sample.rows)
    new = (sample.hashes[1:] != sample.hashes[:-1]).any(1)  # equal rows lie side by side
    run = jnp.concatenate([jnp.zeros(1, jnp.int32), new.cumsum(dtype=jnp.int32)])
    lowest = jax.ops.segment_min(sample.sources, run, n, indices_are_sorted=True)
    highest = jax.ops.segment_max(sample.sources, run, n, indices_are_sorted=True)
    return jnp.where(lowest == highest, lowest, 0)[run]


def source_of(x: jax.Array) -> jax.Array:
    """A number of each image by which its rows are known again: the same for equal images, not for others.

    Args:
      x: float[N, ...], what is known of it.

    Returns:
      uint32[N], not 0.
    """
    return jnp.maximum(_hash(lax.collapse(x, 1))[:, 0], 1)


def holds(sample: Sample, x: jax.Array) -> jax.Array:
    """Tells which rows are in the sample: their hashes are no higher than its highest.

    Args:
      sample: one that has seen all of `x`.
      x: float[N, D].

    Returns:
      bool[N].
    """
    hashes, highest = _hash(x), sample.hashes[-1]
    return (hashes[:, 0] < highest[0]) | ((hashes[:, 0] == highest[0]) & (hashes[:, 1] <= highest[1]))


def drawn(x: jax.Array, share: float) -> jax.Array:
    """Draws rows at random, by their hashes: the same whatever their order.

    Args:
      x: float[N, D].
      share: of them, in [0, 1).

    Returns:
      bool[N].
    """
    return _hash(x)[:, 0] < jnp.uint32(int(share * 2**32))


def _hash(x: jax.Array) -> jax.Array:
    """float[N, D] -> uint32[N, 2], from the bits of all D in float32 and their places; −0 is 0."""
    x = x.astype(jnp.float32)
    bits = lax.bitcast_convert_type(jnp.where(x != 0, x, 0), jnp.uint32)
    place = jnp.arange(x.shape[1], dtype=jnp.uint32)[None] + 1
    words = [_mixed(_mixed(bits ^ (place * jnp.uint32(s))).sum(-1, dtype=jnp.uint32) ^ jnp.uint32(s)) for s in _SALTS]
    return jnp.stack(words, -1)


def _mixed(x: jax.Array) -> jax.Array:
    """uint32 -> uint32, one to one and without pattern: two rounds of xor-shift and an odd multiplier."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x21F0AAAD)
    x = (x ^ (x >> 15)) * jnp.uint32(0x735A2D97)
    return x ^ (x >> 15)
