"""PaDiM: a Gaussian for each place of an image, and the Mahalanobis distance of its patch.

    map(f)_p = sqrt((f_p − μ_p)ᵀ Σ_p⁻¹ (f_p − μ_p))        score(f) = max_p map(f)_p

Defard et al., "PaDiM: a patch distribution modeling framework for anomaly detection and localization" (ICPR Workshops
2021). For images that show the same thing in the same pose. It is `adjax.scorers.mahalanobis` at every place, with the
statistics of all classes pooled; as in the paper, random channels of all that there are will do. Each of several layers
has its own Gaussians, see `adjax.scorers._layered`; the paper has one of all layers side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import averaged, check_top, highest, top_mean
from adjax.scorers._layered import check_several, layered
from adjax.scorers._vectors import LIMIT
from adjax.scorers.mahalanobis import State as One
from adjax.scorers.mahalanobis import Stats as Sums
from adjax.scorers.mahalanobis import mahalanobis, pooled
from adjax.types import Outputs, Scorer


class Stats(NamedTuple):
    """Running sums.

    Attributes:
      channels: bool[C], those that count.
      places: those of `adjax.scorers.mahalanobis`, stacked by place.
    """

    channels: jax.Array
    places: Sums


class State(NamedTuple):
    """Fitted state.

    Attributes:
      channels: bool[C], those that count.
      places: `adjax.scorers.mahalanobis.State`, stacked by place.
    """

    channels: jax.Array
    places: One


def padim(
    grid: tuple[int, int] | None = None,
    channels: int = 100,
    shrinkage: float = 0.1,
    feature: str | Sequence[str] = "patches",
    dim: int | None = None,
    seed: int = 0,
    smooth: bool = False,
    top: float = 0.0,
    centred: bool = False,
    whole: str | None = None,
) -> Scorer:
    """PaDiM on `outputs[feature]`, float [N, h, w, C], or the same flattened.

    Args:
      grid: (h, w); None: that of the map.
      channels: drawn at random; all, if there are no more.
      shrinkage: of each covariance, as in `adjax.scorers.mahalanobis`, in [0, 1].
      feature: name of the network output to score: any with places. Several: maps, the finest first, each with its own
        Gaussians, and the mean of d / sqrt(C) is the map.
      dim: C; None: as many as there are.
      seed: of the draw.
      smooth: average the map over 3×3 places, where the paper blurs it at the size of the image.
      top: share of the places whose mean is the score, in [0, 1]; 0 is the maximum, as in the paper.
      centred: of several features, subtract from each map its mean over the places of an image. A picture that is odd
        as a whole, one without anything in it say, isn't then: fuse it with a scorer of `overall`.
      whole: of several features, a deep one, which knows what a picture shows: half of the mean of its map over the
        places of an image takes the place of the combined map's own. For pictures in which anything may be odd.

    Returns:
      A `Scorer`; `distances` has one column, and `maps` tells where. An image with a NaN scores NaN. Images with
      a number in them that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out of the fit;
      fitted to no image at all, every score is +inf.

    Raises:
      ValueError: an empty grid, no channels, shrinkage or top outside of [0, 1]; a grid or dim of several features,
        centred or whole of a single one; in fitting, patches of another shape.
    """
    check_top(top)
    if not isinstance(feature, str):
        if grid is not None or dim is not None:
            raise ValueError(
                f"grid={grid}, dim={dim}: several features {tuple(feature)} have their own; leave both out"
            )
        return layered(
            lambda name: padim(None, channels, shrinkage, name, seed=seed),
            feature,
            lambda state: state.places.origin.shape[-1] ** 0.5,  # of a normal patch, the squared distance is about C
            smooth,
            top,
            centred,
            whole,
        )
    check_several(feature, centred, whole)
    if channels < 1 or (grid is not None and min(grid) < 1):
        raise ValueError(f"grid {grid}, channels={channels}: must be at least 1 each")
    inner = mahalanobis("tied", shrinkage, "places", solver="cholesky" if shrinkage else "eigen")
    left_out = inner.unseen
    assert left_out is not None

    def init(shape: int | tuple[int, ...], classes: int) -> Stats:
        *places, found = np.atleast_1d(shape)
        if grid is None and len(places) != 2:
            raise ValueError(
                f"{feature} of shape {shape} has no places: give a network with maps, or padim grid and dim"
            )
        height, width = grid or places
        wide = int(dim or found)
        chosen = jax.random.permutation(jax.random.key(seed), wide) < channels
        one = inner.init(min(channels, wide), classes)
        return Stats(chosen, jax.tree.map(lambda x: jnp.zeros((height * width, *x.shape), x.dtype), one))

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        x, wide = outputs[feature].astype(jnp.float32), stats.channels.size
        each = stats.places.anchor.shape[0]
        expected = ((*grid, wide), (each, wide), (each * wide,)) if grid else ((*x.shape[1:3], wide),)
        if x.shape[1:] not in expected or x[0].size != each * wide:
            raise ValueError(
                f"{feature} of shape {x.shape[1:]} where {expected[0]} is expected: give padim grid and dim"
            )
        x = x.reshape(len(labels), each, wide)
        mask = mask & (jnp.abs(x) <= LIMIT).all((1, 2))
        x = _chosen(x, stats.channels, stats.places.anchor.shape[-1])

        def one(place: Sums, x: jax.Array) -> Sums:
            return inner.update(place, {"places": x}, labels, mask)

        return Stats(stats.channels, jax.vmap(one, (0, 1))(stats.places, x))

    def merge(a: Stats, b: Stats) -> Stats:
        return Stats(a.channels, jax.vmap(inner.merge)(a.places, b.places))

    def finalize(stats: Stats) -> State:
        return State(stats.channels, jax.vmap(lambda place: inner.finalize(pooled(place)))(stats.places))

    def maps(state: State, outputs: Outputs) -> Float[Array, "N ..."]:
        x = outputs[feature]
        found = padim_maps(state, x if grid is None else _on_grid(x, grid))
        return averaged(found) if smooth else found

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return top_mean(maps(state, outputs), top)

    def unseen_maps(stats: Stats, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        x = outputs[feature]
        x = (x if grid is None else _on_grid(x, grid)).astype(jnp.float32)
        one, flat = jnp.zeros_like(labels), lax.collapse(x, 1, -1)
        chosen = _chosen(flat, state.channels, state.places.origin.shape[-1])

        def place(stats: Sums, state: One, x: jax.Array) -> jax.Array:
            return left_out(pooled(stats), state, {"places": x}, one)[:, 0]

        found = jax.vmap(place, (0, 0, 1), 1)(stats.places, state.places, chosen)
        found = _broken(found, flat).reshape(x.shape[:-1])
        return averaged(found) if smooth else found

    def unseen(stats: Stats, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        return top_mean(unseen_maps(stats, state, outputs, labels), top)[:, None]

    return Scorer.single(init, update, merge, finalize, score, unseen, maps, unseen_maps, sized_by=feature)


def padim_maps(state: State, patches: jax.Array) -> jax.Array:
    """Computes the map of Mahalanobis distances.

    Args:
      state: as of `padim`'s `finalize`.
      patches: float[N, h, w, C], C as in the fit.

    Returns:
      float32[N, h, w], in standard deviations.
    """
    inner = mahalanobis("tied", feature="places")
    x = lax.collapse(patches.astype(jnp.float32), 1, -1)
    chosen = _chosen(x, state.channels, state.places.origin.shape[-1])
    distance = jax.vmap(lambda place, x: inner.score(place, {"places": x}), (0, 1), 1)(state.places, chosen)
    return _broken(distance, x).reshape(patches.shape[:-1])


def _on_grid(x: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """float[N, ...] -> [N, h, w, C]: rows cut into places of as many channels each."""
    return x.reshape(x.shape[0], *grid, math.prod(x.shape[1:]) // math.prod(grid))


def _broken(distance: jax.Array, x: jax.Array) -> jax.Array:
    """The distances of patches [N, P, C]; what is broken in a channel that does not count is broken, too."""
    largest = highest(jnp.abs(x))
    return jnp.where(largest <= LIMIT, distance, jnp.maximum(distance, jnp.minimum(largest, LIMIT)))


def _chosen(x: jax.Array, channels: jax.Array, count: int) -> jax.Array:
    return x[..., jnp.flatnonzero(channels, size=count)]
