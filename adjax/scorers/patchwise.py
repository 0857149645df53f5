"""Patchwise scoring: any scorer of features at every place of a map, fitted to the patches of all training images.

    map(f)_p = s(f_p)        score(f) = mean of the highest `top` of the map, or its maximum

With principal components as s it is SubspaceAD (Lendering et al., CVPR 2026): the residual of a patch outside of the
subspace of normal patches, and nothing is trained. With a Mahalanobis distance it is one Gaussian of all patches; PaDiM
has one for each place (`adjax.scorers.padim`), which needs images in one pose, and this does not. Statistics are those
of the scorer, so that fitting streams in memory that is flat in the number of images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adjax._numerics import averaged, check_top, top_mean
from adjax.factories import look_up
from adjax.scorers._vectors import LIMIT
from adjax.types import Outputs, PyTree, Scorer


class Stats(NamedTuple):
    """Running sums.

    Attributes:
      own: of the scorer, of all patches as one class.
      counts: float32[K], images of each class.
    """

    own: PyTree
    counts: jax.Array


def patchwise(
    scorer: str | Callable[..., Scorer] = "mahalanobis",
    feature: str = "patches",
    top: float = 0.0,
    smooth: bool = False,
    **options: Any,
) -> Scorer:
    """One scorer on all patches of `outputs[feature]`, float [N, h, w, C].

    Args:
      scorer: factory, or its name in `SCORERS`; it takes an option `feature` and scores features [N, C].
      feature: name of the network output to score: any with places.
      top: share of the places whose mean is the score, in [0, 1]; at least one place, so that 0 is the maximum.
      smooth: average the map over 3×3 places.
      options: of the scorer.

    Returns:
      A `Scorer`; `distances` has one column, and `maps` tells where. All classes are one. An image with a NaN scores
      NaN. Images with a number in them that is not finite (or beyond 1e15), or with a label outside of 0 … K−1, are
      left out of the fit.

    Raises:
      ValueError: an unknown name; a share outside of [0, 1].
    """
    check_top(top)
    if isinstance(scorer, str):
        from adjax.scorers import SCORERS  # when called: the registry knows this file

        scorer = look_up("scorer", SCORERS, scorer)
    inner = scorer(feature="patch", **options)

    def init(shape: int | tuple[int, ...], classes: int) -> Stats:
        return Stats(inner.init(int(np.atleast_1d(shape)[-1]), 1), jnp.zeros(classes, jnp.float32))

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        x = outputs[feature].astype(jnp.float32)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        counts = jax.nn.one_hot(labels, stats.counts.size, dtype=jnp.float32)  # zeros for a label that is none
        keep = mask & (counts.sum(1) > 0) & (jnp.abs(x) <= LIMIT).all((1, 2))  # all of an image, or nothing
        rows = {"patch": x.reshape(-1, x.shape[-1])}
        repeated, number = jnp.repeat(keep, x.shape[1]), jnp.zeros(x.shape[0] * x.shape[1], jnp.int32)
        own = inner.update(stats.own, rows, number, repeated)
        return Stats(own, stats.counts + jnp.where(keep[:, None], counts, 0).sum(0))

    def merge(a: Stats, b: Stats) -> Stats:
        return Stats(inner.merge(a.own, b.own), a.counts + b.counts)

    def finalize(stats: Stats) -> PyTree:
        return inner.finalize(stats.own)

    def maps(state: PyTree, outputs: Outputs) -> Float[Array, "N ..."]:
        x = outputs[feature]
        found = inner.score(state, {"patch": x.reshape(-1, x.shape[-1])}).reshape(x.shape[:-1])
        return averaged(found) if smooth else found

    def score(state: PyTree, outputs: Outputs) -> Float[Array, " N"]:
        return top_mean(maps(state, outputs), top)

    return Scorer.single(init, update, merge, finalize, score, maps=maps, sized_by=feature)
