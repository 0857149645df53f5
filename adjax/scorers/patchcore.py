"""PatchCore: distance of an image's most anomalous patch to a memory of normal patches.

    map(f)_p = min_m ‖f_p − m‖        score(f) = w(f) max_p map(f)_p

Roth et al., "Towards total recall in industrial anomaly detection" (CVPR 2022). The memory is a *coreset* of the
training images' patches: greedily, the patch furthest from all chosen so far, so that rare normal patches are
remembered as well as common ones. The paper thins all patches; here they are first sampled without regard to what they
show (`adjax.scorers._reservoir`), which bounds memory and merges. w = 1, or the paper's weight: with p* the most
anomalous patch, m* its nearest in memory and N_b(m*) the b nearest to that, itself among them,

    w(f) = 1 − exp ‖f_p* − m*‖ / Σ_{m ∈ N_b(m*)} exp ‖f_p* − m‖

less for what is near a well-populated part of the memory. Averages over neighbouring patches are the network's part.
Unseen distances of a training image are those from the memory without what it holds of this image alone. The place of
such a patch is taken by another image's, of those that it was the nearest in memory to the furthest: what the greedy
choice would take next there.
The paper's lengths are Euclidean, in which the few channels that vary most decide. With `shrinkage` they are
Mahalanobis', ‖x‖² = xᵀ Σ⁻¹ x with Σ the covariance of the sampled patches, and all channels have their say.
Each of several layers has its own memory, see `adjax.scorers._layered`; the paper has one of all layers side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import EXACT, averaged, check_top, clipped, in_bfloat16s, top_mean
from adjax.scorers import _reservoir
from adjax.scorers._coreset import furthest
from adjax.scorers._layered import SOURCE, check_several, layered
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT, length, nearest
from adjax.scorers._whiten import triangular
from adjax.types import Outputs, Scorer


class LeftOut(NamedTuple):
    """The memory without an image: whose each patch is, and what takes its place.

    Attributes:
      sources: uint32[coreset], the image that alone has a patch (`adjax.scorers._reservoir.source_of`); 0: several.
      rows: float32[coreset, C], another image's, as the memory's own.
      known: bool[coreset], which rows there are.
    """

    sources: jax.Array
    rows: jax.Array
    known: jax.Array


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[C], one of the patches, subtracted first, so that large common offsets cost no digits.
      rows: float32[coreset, C], less the origin, whitened.
      known: bool[coreset], which rows are patches: fewer if there are not as many different ones.
      whiten: float32[C, C], that what is measured is multiplied by, as `rows` are; None: as it is.
      left_out: calibration's, which scoring has no use for; files don't have it.
    """

    origin: jax.Array
    rows: jax.Array
    known: jax.Array
    whiten: jax.Array | None
    left_out: LeftOut


def patchcore(
    coreset: int = 1000,
    capacity: int = 10_000,
    neighbours: int = 1,
    feature: str | Sequence[str] = "patches",
    dim: int | None = None,
    seed: int = 0,
    smooth: bool = False,
    top: float = 0.0,
    shrinkage: float | None = None,
    centred: bool = False,
    whole: str | None = None,
) -> Scorer:
    """PatchCore on `outputs[feature]`, float [N, h, w, C]; or [N, C], one patch per image.

    Args:
      coreset: patches in memory. Fitting takes coreset × capacity × C multiplications, as few matmuls
        (`adjax.scorers._coreset`), scoring N × h × w × coreset × C.
      capacity: patches sampled to choose them from, ≥ coreset.
      neighbours: b above, from 2 to coreset, 9 in the authors' code; 1: w = 1.
      feature: name of the network output to score: any with places. Several: maps, the finest first, each with its own
        memory, and the mean of the distances, in units of the memory's standard deviation, is the map.
      dim: C; None: as many as there are.
      seed: of the first patch chosen.
      smooth: average the map, and so the score, over 3×3 places; the authors blur the map alone.
      top: share of the places whose mean is the score before it is weighed, in [0, 1]; 0 is the maximum, as in the
        paper.
      shrinkage: distances are Mahalanobis', by the patches' covariance with correlations (1 − shrinkage) times as high,
        in [0, 1]; at 1 each channel is in units of its standard deviation. None: Euclidean, as in the paper.
      centred: of several features, subtract from each map its mean over the places of an image. A picture that is odd
        as a whole, one without anything in it say, isn't then: fuse it with a scorer of `overall`.
      whole: of several features, a deep one, which knows what a picture shows: half of the mean of its map over the
        places of an image takes the place of the combined map's own. For pictures in which anything may be odd.

    Returns:
      A `Scorer`; `distances` has one column, and `maps` tells where, not weighted. An image with a NaN scores NaN.
      Images with a number in them that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are left out
      of the fit; fitted to no image at all, every score is +inf.

    Raises:
      ValueError: coreset, neighbours, top or shrinkage out of range; neighbours or dim of several features, or centred
        or whole of a single one; in fitting, another number of channels.
    """
    if not 1 <= neighbours <= coreset <= capacity:
        raise ValueError(f"neighbours={neighbours}, coreset={coreset}, capacity={capacity}: must be ≥ 1 and ascend")
    check_top(top)
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage={shrinkage}: must lie in [0, 1], or be None for Euclidean distances")
    if not isinstance(feature, str):
        if neighbours > 1 or dim is not None:
            raise ValueError(
                f"neighbours={neighbours}, dim={dim}: several features {tuple(feature)} have no single most anomalous "
                "patch to weigh, and dims of their own; leave both out"
            )
        one = partial(patchcore, coreset, capacity, seed=seed, shrinkage=shrinkage)
        return layered(lambda name: one(feature=name), feature, _spread, smooth, top, centred, whole)
    check_several(feature, centred, whole)

    def init(shape: int | tuple[int, ...], classes: int) -> Sample:
        return _reservoir.init(capacity, dim or np.atleast_1d(shape)[-1], classes)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        x = outputs[feature].astype(jnp.float32)
        if x.shape[-1] != stats.rows.shape[1]:
            raise ValueError(
                f"{feature} of {x.shape[-1]} channels where {stats.rows.shape[1]} are expected: give patchcore "
                f"dim={x.shape[-1]}"
            )
        x = x.reshape(len(labels), -1, x.shape[-1])
        mask = mask & (jnp.abs(x) <= LIMIT).all((1, 2))  # all of an image, or nothing
        labels, mask, sources = (jnp.repeat(y, x.shape[1]) for y in (labels, mask, source(outputs)))
        return _reservoir.update(stats, x.reshape(-1, x.shape[-1]), labels, mask, sources)

    def finalize(stats: Sample) -> State:
        known = _reservoir.kept(stats)
        count = known.sum()
        origin = stats.rows[0]  # any of them; a mean, compiled into both its uses, would differ between them by a digit
        rows = jnp.where(known[:, None], stats.rows - origin[None], 0)
        whiten = None if shrinkage is None else _whitening(rows, known, stats.rows, shrinkage)
        if whiten is not None:
            rows = jnp.matmul(rows, whiten, precision=EXACT)
        first = jax.random.randint(jax.random.key(seed), (), 0, jnp.maximum(count, 1))
        places, new = furthest(rows, known, coreset, first)
        memory = jnp.where(new[:, None], rows[places], 0)
        sources = jnp.where(new, _reservoir.only_sources(stats)[places], 0)
        return State(origin, memory, new, whiten, _left_out(memory, new, sources, rows, known, stats.sources))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = outputs[feature]
        shape, x = x.shape[:-1], lax.collapse(x, 1, -1)
        distance, place = _nearest(state, x)
        distance = smoothed(distance.reshape(shape)).reshape(distance.shape)
        oddest = distance.argmax(-1)
        score = top_mean(distance, top)
        if neighbours > 1:
            patch = jnp.take_along_axis(x, oddest[:, None, None], 1)[:, 0]
            best = state.rows[jnp.take_along_axis(place, oddest[:, None], 1)[:, 0]]
            round_it = nearest(best, state.rows, state.known, neighbours)
            away = length(_relative(state, patch)[:, None] - state.rows[round_it])
            share = jax.nn.softmax(jnp.where(state.known[round_it], away, -jnp.inf), -1)[:, 0]
            score = score * jnp.where(state.known.sum() > 1, 1 - share, 1)
        return jnp.where(state.known.any() | jnp.isnan(score), score, jnp.inf)

    def maps(state: State, outputs: Outputs) -> Float[Array, "N ..."]:
        return smoothed(patchcore_maps(state, outputs[feature]))

    def unseen_maps(stats: Sample, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        def one(of: tuple[jax.Array, jax.Array]) -> jax.Array:
            x, source = of
            left, own = state.left_out, state.left_out.sources == source
            rows, known = jnp.where(own[:, None], left.rows, state.rows), jnp.where(own, left.known, state.known)
            return patchcore_maps(state._replace(rows=rows, known=known), x[None])[0]

        return smoothed(lax.map(one, (outputs[feature], source(outputs))))

    def unseen(stats: Sample, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        return top_mean(unseen_maps(stats, state, outputs, labels), top)[:, None]

    def source(outputs: Outputs) -> jax.Array:
        return outputs[SOURCE] if SOURCE in outputs else _reservoir.source_of(outputs[feature])

    def smoothed(maps: jax.Array) -> jax.Array:
        return averaged(maps) if smooth and maps.ndim == 3 else maps  # of a single patch there is nothing around

    made = Scorer.single(init, update, _reservoir.merge, finalize, score, maps=maps, sized_by=feature)
    return made._replace(unseen=unseen, unseen_maps=unseen_maps) if neighbours == 1 else made


def patchcore_maps(state: State, patches: jax.Array) -> jax.Array:
    """Computes the map of distances to the nearest patch in memory, without the weight w.

    Args:
      state: as of `patchcore`'s `finalize`.
      patches: float[N, h, w, C], C as in the fit.

    Returns:
      float32[N, h, w], ≥ 0; +inf if the memory is empty.
    """
    distance, _ = _nearest(state, lax.collapse(patches, 1, -1))
    return jnp.where(state.known.any() | jnp.isnan(distance), distance, jnp.inf).reshape(patches.shape[:-1])


def _left_out(
    memory: jax.Array, new: jax.Array, own: jax.Array, rows: jax.Array, known: jax.Array, sources: jax.Array
) -> LeftOut:
    """What takes the place of each patch in memory, known if `new` and alone in the image `own`, of the sample's."""
    place = nearest(rows, memory, new, 1)[:, 0]
    away = length(rows - memory[place])
    theirs = jnp.where(known & (sources != own[place]), place, len(memory))
    place, _, row = lax.sort((theirs, away, jnp.arange(len(rows))), num_keys=2)
    last = jax.ops.segment_max(jnp.arange(len(rows)), place, len(memory) + 1, indices_are_sorted=True)[:-1]
    return LeftOut(own, rows[row[jnp.maximum(last, 0)]], new & (last >= 0))


def _spread(state: State) -> jax.Array:
    """Standard deviation of the memory: root of the mean squared distance from its mean; 1 of a single patch."""
    known = state.known[:, None]
    count = jnp.maximum(known.sum(dtype=jnp.float32), 1)
    mean = jnp.where(known, state.rows, 0).sum(0) / count
    square = jnp.where(known, jnp.square(state.rows - mean[None]), 0).sum() / count
    return jnp.where(square > 0, jnp.sqrt(square), 1)


def _relative(state: State, x: jax.Array) -> jax.Array:
    x = clipped(x.astype(jnp.float32), LIMIT)
    x = x - state.origin.reshape((1,) * (x.ndim - 1) + (-1,))
    if state.whiten is None:
        return x
    return clipped(jnp.matmul(x, state.whiten, precision=EXACT), LIMIT)


def _whitening(rows: jax.Array, known: jax.Array, original: jax.Array, shrinkage: float) -> jax.Array:
    """W float32[C, C] with Σ⁻¹ = W Wᵀ, of rows that are zeros where they are not known, and as they came."""
    count = jnp.maximum(known.sum(dtype=jnp.float32), 1)
    centred = jnp.where(known[:, None], rows - rows.sum(0)[None] / count, 0)
    covariance = jnp.matmul(centred.T, centred, precision=EXACT) / count
    shrunk = jnp.where(jnp.eye(len(covariance), dtype=bool), covariance, (1 - shrinkage) * covariance)
    return triangular(shrunk[None], jnp.abs(original).max(0)[None])[0][0]


def _nearest(state: State, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Distances float32[N, P] of patches [N, P, C] from the nearest in memory, and which that is."""
    return lax.platform_dependent(_relative(state, x), state.rows, state.known, tpu=_multiplied, default=_gathered)


def _gathered(x: jax.Array, rows: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    flat = x.reshape(-1, x.shape[-1])
    place = nearest(flat, rows, known, 1)[:, 0]
    return length(flat - rows[place]).reshape(x.shape[:2]), place.reshape(x.shape[:2])


def _multiplied(x: jax.Array, rows: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `_gathered`, images in the last dimension: the TPU's compiler makes a matmul and its least one operation.

    So no matrix of distances is written, and no patch is looked up one by one: a matmul with zeros and ones finds it.
    """
    x = jnp.moveaxis(x, 0, -1)  # [P, C, N]
    square = jnp.where(known, jnp.square(rows).sum(-1), jnp.inf)
    cross = jnp.einsum("mc,pcn->pmn", rows, lax.stop_gradient(x), precision=EXACT)
    least, place = _least(square[None, :, None] - 2 * cross)
    m = len(rows)
    here = (jnp.arange(3 * m)[None, :, None] % m == place[:, None]).astype(jnp.bfloat16)
    parts = jnp.concatenate(in_bfloat16s(rows))
    found = jnp.einsum("mc,pmn->pcn", parts, here, preferred_element_type=jnp.float32)
    distance = length(jnp.moveaxis(x - found, 1, -1))
    return jnp.where(jnp.isnan(least), jnp.nan, distance).T, place.T


def _least(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The least of float32[P, M, N] along M, or a NaN, and the first place of it, as one reduction."""
    number = lax.broadcasted_iota(jnp.int32, x.shape, 1)

    def less(a: tuple[jax.Array, jax.Array], b: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        (x, i), (y, j) = a, b
        first = (x < y) | (x != x) | ((x == y) & (i < j))
        return jnp.where(first, x, y), jnp.where(first, i, j)

    return lax.reduce((x, number), (jnp.float32(jnp.inf), jnp.int32(0)), less, (1,))
