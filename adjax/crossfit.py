"""Cross-fitting: each training row's distances by a fit that has not seen it.

A scorer knows the rows that it was fitted to better than others; to a memory of rows, each of them is its own nearest.
So a threshold from training distances flags more fresh normal rows than it says: with 100 rows of 64 features nearly
all of them. *Out-of-fold* distances are those of fresh rows, but for the few that the smaller fit lacks. From them come
the calibration and the levels that a conformal threshold and p-values are taken from.

* Leave-one-out in closed form where a scorer has one (`Scorer.unseen`: Mahalanobis, one Gaussian, PaDiM, PatchCore,
  nearest neighbours): one fit and one scoring. Excepted are rows with copies, and where float32 can't tell.
* Otherwise k folds, as even in classes as can be, exact copies of a row in one of them: k + 1 fits, and each row scored
  once. The running sums of all folds but one are shared as far as they go: log₂ k passes through the rows, not k.

What it promises: the fit that scores fresh rows has seen some rows more than those that calibrate it, and one fit is
shared by all. So the rate is α up to that difference, which mostly makes it less: `experiments.calibration_features`
measures it for many n and D. Unlike held-out rows, it gives no bound for all data. The network must not have been
trained on the rows; if it was, hold rows out instead.

Where it fails: a covariance that is not shrunk, of about as many features as rows or more. Along directions in which
its rows don't vary at all, distances are in units of what float32 can't tell from nothing (`adjax.scorers._whiten`),
and both those units and the number of such directions change with the rows that are left out. An α of 5 %
flagged from less than 1 % to 9 % of fresh rows of one Gaussian (docs/results.md); shrunk by 0.1, 4 to 5 %. `fit` warns
of it.

References:
  Stone, "Cross-validatory choice and assessment of statistical predictions" (1974); Vovk, "Cross-conformal predictors"
  (2015); Barber, Candès, Ramdas & Tibshirani, "Predictive inference with the jackknife+" (2021).
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from adjax import scorers, thresholds
from adjax._other_rows import leave_one_out_quantile
from adjax.data.splitting import folds as deal
from adjax.types import Outputs, PyTree, Scorer

FOLDS = 20
"""A fit of 19 of 20 rows is near enough to that of all; half as many cost half, and flag fewer than asked for."""


class Fitted(NamedTuple):
    """A scorer, and what it says of its own rows unseen.

    Attributes:
      state: fitted to all rows.
      distances: float32[N, K], of each row by a fit without it.
      calibration: quantiles of these distances.
      scores: float32[N], each row's class-wise quantile, among the distances of other rows. Thresholds from them don't
        keep their rate where an unshrunk covariance has about as many features as rows, or more: see above.
      fits: how many there were beside that to all rows: 0 in closed form, else the folds.
    """

    state: PyTree
    distances: jax.Array
    calibration: thresholds.Calibration
    scores: jax.Array
    fits: int


def fit(
    scorer: Scorer, outputs: Outputs, labels: np.ndarray, classes: int, groups: np.ndarray, folds: int = FOLDS
) -> Fitted:
    """Fits a scorer, and cross-fits it.

    Args:
      scorer, outputs, classes: as of `adjax.scorers.fit`.
      labels: int[N] in 0 … classes−1.
      groups: int[N]; rows of one group are left out together, see `adjax.data.splitting.copies`.
      folds: k ≥ 2; as many as there are groups, if these are fewer.

    Returns:
      A `Fitted`.

    Warns:
      UserWarning: a fold leaves fewer rows than features, too few to determine a covariance.

    Raises:
      ValueError: folds < 2, or a single group.
    """
    if folds < 2:
        raise ValueError(f"folds={folds}: must be at least 2")
    found = len(np.unique(groups))
    if found < 2:
        raise ValueError("cross-fitting needs at least 2 different rows, and all are copies of one")
    outputs, number = dict(outputs), np.asarray(labels, np.int32)
    closed = scorer.unseen is not None
    state, distances = _whole(scorer, outputs, number, classes, closed)
    known = closed and not _unknown(distances, outputs)
    if known and found == len(labels):
        calibration, scores = _calibrated(distances, number)
        return Fitted(state, distances, calibration, scores, 0)
    fold = deal(labels, min(folds, found), 0, groups)
    if closed and not known:
        _warn_of_few(len(labels) - int(np.bincount(fold).max()), len(labels), outputs)
    distances = out_of_fold(scorer, outputs, number, classes, fold)
    calibration, scores = _calibrated(distances, number, _dealt(fold))
    return Fitted(state, distances, calibration, scores, int(fold.max()) + 1)


def out_of_fold(scorer: Scorer, outputs: Outputs, labels: ArrayLike, classes: int, fold: np.ndarray) -> jax.Array:
    """Computes distances of each row by the fit to all folds but its own.

    Args:
      scorer, outputs, labels, classes: as of `adjax.scorers.fit`.
      fold: int[N], 0 … k−1, each of them present, k ≥ 2.

    Returns:
      float32[N, K].
    """
    rows, real = _dealt(fold)
    dealt = _take((outputs, labels), rows)

    def without(stats: PyTree, first: int, last: int) -> list[jax.Array]:
        """The folds `first` … `last` − 1 each by a fit without it, given the statistics of all others.

        From one thread: two fits at once, from two, are faster, and now and then stand still for good where there are
        two cores (jaxlib 0.10.2).
        """
        if last - first == 1:
            return [_distances(scorer, stats, dealt[0], first)]
        middle = (first + last) // 2
        halves = (first, middle), (middle, last)
        found = []
        for half, other in (halves, halves[::-1]):
            found += without(_add(scorer, stats, dealt, real, *other), *half)
        return found

    each = without(scorer.start(outputs, classes), 0, len(rows))
    places = np.empty(len(fold), np.int32)
    places[rows[real]] = np.flatnonzero(real)
    return _restored(each, places)


@partial(jax.jit, static_argnames=("scorer", "classes", "closed"))
def _whole(
    scorer: Scorer, outputs: Outputs, labels: jax.Array, classes: int, closed: bool
) -> tuple[PyTree, jax.Array | None]:
    stats = scorers.gather(scorer, outputs, labels, classes)
    state = scorer.finalize(stats)
    return state, scorer.unseen(stats, state, outputs, labels) if closed and scorer.unseen is not None else None


@jax.jit
def _unknown(distances: jax.Array, outputs: Outputs) -> jax.Array:
    """Whether a row has a distance that is NaN where no output is."""
    sane = jnp.ones(len(distances), bool)
    for x in outputs.values():
        sane = sane & jnp.isfinite(x).reshape(len(x), -1).all(1)
    return (jnp.isnan(distances).any(1) & sane).any()


def _warn_of_few(least: int, rows: int, outputs: Outputs) -> None:
    """Warns if a fit to `least` of the rows has no more of them than features."""
    dim = outputs["features"].shape[-1] if "features" in outputs else 0
    if dim >= least - 1:
        warnings.warn(
            f"{rows} rows of {dim} features are too few to cross-fit this covariance: fresh rows may be flagged far "
            "less or more often than asked for (less than 1 % to 9 % were seen, where 5 % was). Shrink "
            f"it, as by the scorer's option shrinkage=0.1, give more than {rows * dim // max(least - 1, 1) + 2} rows, "
            "or hold some out",
            stacklevel=3,
        )


@jax.jit
def _take(arrays: PyTree, rows: jax.Array) -> PyTree:
    return jax.tree.map(lambda x: x[rows], arrays)


@jax.jit
def _restored(each: list[jax.Array], places: jax.Array) -> jax.Array:
    """The distances in the order of the rows, which lie at these places of the folds."""
    return jnp.concatenate(each)[places]


@partial(jax.jit, static_argnames="scorer")
def _add(
    scorer: Scorer, stats: PyTree, dealt: tuple[Outputs, jax.Array], real: jax.Array, first: int, last: int
) -> PyTree:
    """The statistics with the folds `first` … `last` − 1."""

    def one(f: jax.Array, stats: PyTree) -> PyTree:
        outputs, labels = jax.tree.map(lambda x: x[f], dealt)
        return scorer.update(stats, outputs, labels, jnp.asarray(real)[f])

    return lax.fori_loop(first, last, one, stats)


@partial(jax.jit, static_argnames="scorer")
def _distances(scorer: Scorer, stats: PyTree, dealt: Outputs, fold: int) -> jax.Array:
    return scorer.distances(scorer.finalize(stats), jax.tree.map(lambda x: x[fold], dealt))


def _dealt(fold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows each fold has, int32[k, m], and which of these are real, bool[k, m]; what is left over is row 0."""
    counts = np.bincount(fold)
    real = np.arange(counts.max())[None] < counts[:, None]
    rows = np.zeros(real.shape, np.int32)
    rows[real] = np.argsort(fold, kind="stable")
    return rows, real


@jax.jit
def _calibrated(
    distances: jax.Array, labels: jax.Array, dealt: tuple[jax.Array, jax.Array] | None = None
) -> tuple[thresholds.Calibration, jax.Array]:
    """The calibration, and each row's level in that of the other rows, or of the other folds.

    With one distance per row all levels are by one table: it ranks them as their distances, and nothing else matters.
    """
    calibration = thresholds.calibrate(distances, labels)
    if distances.shape[1] == 1:
        return calibration, thresholds.classwise_quantile(calibration, distances)
    if dealt is None:
        return calibration, leave_one_out_quantile(distances, labels)

    rows, real = dealt
    n = len(distances)
    places = jnp.where(real, rows, n)
    left_out = jax.vmap(lambda own: jnp.zeros(n, bool).at[own].set(True, mode="drop"))(places)
    others = thresholds.calibrate_without(distances, labels, left_out)
    found = jax.vmap(thresholds.classwise_quantile)(others, distances[rows])
    return calibration, jnp.zeros(n).at[places].set(found, mode="drop")
