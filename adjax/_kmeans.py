"""k-means on the device: Lloyd's iterations from a greedy k-means++ start.

    minimise over centres c:  Σ_n min_j ‖x_n − c_j‖²

k-means++ (Arthur & Vassilvitskii, 2007) draws each next centre with probability proportional to the squared distance
from those there are; its greedy form draws a few candidates and takes the one that lowers the sum most.

Distances are matmuls, ‖x‖² − 2 x·c + ‖c‖² on rows about their mean, a chunk of rows at a time, so that memory is flat
in k. A centre that no row is nearest to moves to a row that is far from its own.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from adjax._numerics import EXACT, anchor_of

_CHUNK = 4096


def kmeans(
    key: jax.Array, x: jax.Array, k: int, iterations: int = 50, mask: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Groups rows around k centres.

    Args:
      key: the same key and rows give the same centres.
      x: float [N, D], N ≥ 1; their squares must not overflow float32.
      k: centres, static, ≥ 1.
      iterations: of Lloyd, at most; fewer if no row changes its centre any more.
      mask: bool[N], rows that count; all, if None. A row that is not finite never counts.

    Returns:
      Centres float32[k, D], and of each row the nearest one's index, int32[N] (of rows that don't count, any). With
      fewer different rows than centres, some centres coincide; with none at all, all are 0.

    Raises:
      ValueError: no rows, k < 1 or iterations < 0.
    """
    if x.ndim != 2 or len(x) < 1:
        raise ValueError(f"rows of shape {x.shape}: must be [N, D] with N ≥ 1")
    if k < 1 or iterations < 0:
        raise ValueError(f"k={k}, iterations={iterations}: must be at least 1 and 0")
    x = x.astype(jnp.float32)
    counted = jnp.isfinite(x).all(-1) & (True if mask is None else mask)
    weight = counted.astype(jnp.float32)
    x = jnp.where(counted[:, None], x, 0)
    anchor = anchor_of(x, weight.sum())
    x = jnp.where(counted[:, None], x - anchor[None], 0)
    chunk = min(_CHUNK, len(x))
    chunks = -(-len(x) // chunk)

    def chunked(x: jax.Array) -> jax.Array:
        x = jnp.pad(x, [(0, chunks * chunk - len(x))] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(chunks, chunk, *x.shape[1:])

    parts = chunked(x), chunked(weight)

    def assign(centers: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Labels and squared distances [N]; of each centre, the sum and number of its rows."""

        def body(sums: tuple[jax.Array, jax.Array], part: tuple[jax.Array, jax.Array]):
            rows, weight = part
            square = _squares(rows, centers)
            label = square.argmin(-1).astype(jnp.int32)
            member = jax.nn.one_hot(label, k, dtype=jnp.float32) * weight[:, None]
            total = sums[0] + jnp.matmul(member.T, rows, precision=EXACT), sums[1] + member.sum(0)
            return total, (label, square.min(-1) * weight)

        none = jnp.zeros_like(centers), jnp.zeros(k, jnp.float32)
        (total, count), (label, square) = lax.scan(body, none, parts)
        return label.reshape(-1)[: len(x)], square.reshape(-1)[: len(x)], total, count

    def step(carry):
        i, centers, before, _ = carry
        label, square, total, count = assign(centers)
        empty = count == 0
        furthest = lax.top_k(square, min(k, len(x)))[1]
        turn = jnp.minimum(jnp.cumsum(empty) - 1, len(furthest) - 1)
        moved = jnp.where(empty[:, None], x[furthest[turn]], total / jnp.maximum(count, 1)[:, None])
        return i + 1, moved, label, (label != before).any()

    def unsettled(carry) -> jax.Array:
        return carry[3] & (carry[0] < iterations)

    start = _plus_plus(key, x, weight, k)
    nowhere = jnp.full(len(x), -1, jnp.int32)
    centers = lax.while_loop(unsettled, step, (jnp.int32(0), start, nowhere, jnp.bool_(True)))[1]
    return centers + anchor[None], assign(centers)[0]


def _squares(x: jax.Array, centers: jax.Array) -> jax.Array:
    """Squared distances [N, k], ≥ 0."""
    inner = jnp.matmul(x, centers.T, precision=EXACT)
    return jnp.maximum(jnp.square(x).sum(-1)[:, None] - 2 * inner + jnp.square(centers).sum(-1)[None], 0)


def _plus_plus(key: jax.Array, x: jax.Array, weight: jax.Array, k: int) -> jax.Array:
    """Greedy k-means++: k of the rows, float32[k, D]."""
    tries = 2 + int(math.log(k))

    def draw(key: jax.Array, chance: jax.Array, n: int) -> jax.Array:
        chance = jnp.where(chance.sum() > 0, chance, weight)  # all rows are centres already
        edges = jnp.cumsum(chance)
        place = edges[-1] * (1 - jax.random.uniform(key, (n,)))  # in (0, total]: never a row of no chance
        return x[jnp.minimum(jnp.searchsorted(edges, place), len(x) - 1)]

    def step(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        centers, square = carry
        candidates = draw(jax.random.fold_in(key, i), square, tries)
        squares = jnp.minimum(square[:, None], _squares(x, candidates) * weight[:, None])
        best = squares.sum(0).argmin()
        return centers.at[i].set(candidates[best]), squares[:, best]

    first = draw(jax.random.fold_in(key, 0), weight, 1)
    centers = jnp.zeros((k, x.shape[1]), jnp.float32).at[0].set(first[0])
    return lax.fori_loop(1, k, step, (centers, _squares(x, first)[:, 0] * weight))[0]
