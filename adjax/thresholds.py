"""Thresholds: one per class, moved by one class-wise quantile; conformal guarantees.

The rule of the center-loss paper: class i's threshold t_i is the 97.5 % quantile of the distances d_i over
class i's own training images (`adjax.fit` leaves each out of its own fit, where a scorer has that in closed
form); an image is normal if *any* class has d_i <= t_i. The ROC curve moves all
thresholds together by one quantile level. Turned round, that is a score: `classwise_quantile`, the smallest
class-wise quantile level of an image, for which `level <= 0.975` is the paper's rule exactly, to the last
bit. Calibration is a table of quantiles (`Calibration`) rather than the training distances: 281 numbers a
class whatever the size of the training set.

Everywhere: higher = more anomalous, and a NaN is never normal (`is_anomalous`). Training values that are not
finite are left out of a calibration; only `conformal` counts a NaN, as +inf: its promise is for every image
(see `adjax.conformal` for what holds where more images than alpha score NaN).

Example:
  >>> normal = jnp.linspace(0, 1, 99)
  >>> threshold = conformal(normal, alpha=0.05)
  >>> is_anomalous(jnp.array([0.5, 2.0, jnp.nan]), threshold).tolist()
  [False, True, True]
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from adjax.conformal import ThresholdInterval as ThresholdInterval
from adjax.conformal import conformal as conformal
from adjax.conformal import needed as needed
from adjax.conformal import p_value as p_value
from adjax.conformal import threshold_interval as threshold_interval

_STEPS = np.concatenate([np.arange(0, 9000, 100), np.arange(9000, 9900, 10), np.arange(9900, 10001)])
LEVELS = _STEPS / 10_000
"""Quantile levels of a `Calibration`: steps of 0.01 to 0.9, 0.001 to 0.99, 0.0001 to 1."""
_MEDIAN = 50  # LEVELS[50] == 0.5
_TINY = float(np.finfo(np.float32).tiny)
_RENAMED = {"common_quantile": "classwise_quantile", "band": "threshold_interval", "Band": "ThresholdInterval"}


def __getattr__(name: str) -> Any:
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"adjax.thresholds.{name} is now {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
    return globals()[_RENAMED[name]]


class Calibration(NamedTuple):
    """Quantile table of the training distances of each of K classes.

    Attributes:
      levels: float32 [L], ascending from 0 to 1, with 0.9, 0.95, 0.975 and 0.99 among them.
      knots: float32 [K, L], class k's training distances at these levels, so a column is one threshold per
        class (see `class_thresholds`). A class without images has -inf: no distance is within it.
      scale: float32 [K], positive: the distance that counts as one level outside of the training range.
    """

    levels: Float[Array, " L"]
    knots: Float[Array, "K L"]
    scale: Float[Array, " K"]


def _interpolate(values: Array, start: Array, count: Array, steps: Array, skipped: Array | None = None) -> Array:
    """Quantiles of `values[start : start + count]`, sorted, interpolated linearly as `numpy.quantile` does.

    Without the value at the place `skipped`, if there is one; then `count` is of the others.

    Levels are whole ten-thousandths, so that the position between two values is exact in int32: in float32
    0.9999 * 5999 is off by 5e-4 of a gap that is wide out there, and 0.975 * 40 may miss the 39 that it is.
    """
    last = jnp.maximum(count - 1, 0)
    whole, rest = last // 10_000, (last % 10_000) * steps
    low = start + whole * steps + rest // 10_000
    part = (rest % 10_000).astype(jnp.float32) / 10_000
    places = [low, jnp.minimum(low + 1, start + last)]
    if skipped is not None:
        places = [i + (i >= skipped) for i in places]
    a, b = (values[jnp.clip(i, 0, values.shape[0] - 1)] for i in places)
    return jnp.minimum(a + part * (b - a), b)


@jax.jit
def calibrate(
    distances: Float[ArrayLike, "N K"],
    labels: Int[ArrayLike, " N"],
    mask: Bool[ArrayLike, " N"] | None = None,
) -> Calibration:
    """Tabulates, class by class, the quantiles of the class's own training distances.

    One sort of N numbers, whatever K.

    Args:
      distances: [N, K], distance of each image from each class.
      labels: [N], true class in 0 … K−1; rows with another label count for nothing. With K = 1 (a scorer that
        knows no classes) every row belongs to class 0 whatever its label.
      mask: [N], False for padding.

    Returns:
      A `Calibration`. Distances that are not finite are left out; a class without images accepts none.
    """
    own, count, _ = _sorted(distances, labels, mask)
    return _table(own, count)


@jax.jit
def calibrate_without(
    distances: Float[ArrayLike, "N K"], labels: Int[ArrayLike, " N"], left_out: Bool[ArrayLike, "F N"]
) -> Calibration:
    """Calibrates once per group, without its rows: the results of `calibrate` on the others, by one sort for all.

    Args:
      distances, labels: as of `calibrate`.
      left_out: [F, N], the rows that each is without.

    Returns:
      A `Calibration`, all of its arrays stacked [F, ...].
    """
    own, count, order = _sorted(distances, labels, None)
    n, first = len(own), jnp.cumsum(count) - count
    number = jnp.searchsorted(jnp.cumsum(count), jnp.arange(n), side="right")  # the class of each place

    def one(left_out: Array) -> Calibration:
        keep = ~jnp.asarray(left_out)[order]
        before = jnp.cumsum(keep)
        kept = jnp.full(n, jnp.inf).at[jnp.where(keep, before - 1, n)].set(own, mode="drop")
        fewer = jax.ops.segment_sum((keep & (number < len(first))).astype(jnp.int32), number, len(first))
        return _table(kept, fewer)

    return lax.map(one, jnp.asarray(left_out))


def _sorted(distances: ArrayLike, labels: ArrayLike, mask: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Distances from the own class that count, class by class and ascending; how many each has; and whose they are."""
    distances = jnp.asarray(distances, jnp.float32)
    n, classes = distances.shape
    labels = jnp.zeros(n, jnp.int32) if classes == 1 else jnp.asarray(labels, jnp.int32)
    own = lax.platform_dependent(distances, jnp.clip(labels, 0, classes - 1), cpu=_looked_up, default=_chosen)
    known = jnp.isfinite(own) & (labels >= 0) & (labels < classes)
    if mask is not None:
        known = known & jnp.asarray(mask)
    labels = jnp.where(known, labels, classes)
    place = jnp.arange(n, dtype=jnp.int32)
    _, own, order = lax.sort((labels, jnp.where(known, own, jnp.inf), place), num_keys=2)
    return own, jnp.sum(labels[:, None] == jnp.arange(classes)[None, :], axis=0, dtype=jnp.int32), order


def _looked_up(distances: Array, labels: Array) -> Array:
    """float32[N]: of each row of float32[N, K] the number at its label."""
    return jnp.take_along_axis(distances, labels[:, None], axis=1)[:, 0]


def _chosen(distances: Array, labels: Array) -> Array:
    """As `_looked_up`, by comparing with all labels: accelerators look up one by one."""
    here = labels[:, None] == jnp.arange(distances.shape[1])[None]
    return jnp.sum(jnp.where(here, distances, 0), axis=1)


def _table(own: Array, count: Array) -> Calibration:
    """The quantiles of the first `count` sorted distances of each class, one class after another."""
    levels, steps = jnp.asarray(LEVELS, jnp.float32), jnp.asarray(_STEPS, jnp.int32)
    knots = jax.vmap(lambda start, n: _interpolate(own, start, n, steps))(jnp.cumsum(count) - count, count)
    empty = count == 0
    knots = jnp.where(empty[:, None], 0.0, knots)
    scale = _scale(knots[:, 0], knots[:, _MEDIAN], knots[:, -1])
    return Calibration(levels, jnp.where(empty[:, None], -jnp.inf, knots), scale)


def _scale(least: Array, median: Array, most: Array) -> Array:
    """The distance that counts as one level outside of the training range."""
    scale = jnp.maximum(most - median, 1e-6 * jnp.maximum(jnp.abs(least), jnp.abs(most)))
    return jnp.where(scale > _TINY, scale, 1.0)


def class_thresholds(calibration: Calibration, level: float | Float[ArrayLike, ""] = 0.975) -> Float[Array, " K"]:
    """Reads the K class thresholds at one common level: quantiles at the next tabulated level.

    Args:
      calibration: of the training set.
      level: share of training images to accept; above 1, the tail beyond the largest is extrapolated.

    Returns:
      float32[K], t_k.
    """
    level = jnp.asarray(level, jnp.float32)
    column = jnp.searchsorted(calibration.levels[:-1], level)
    return calibration.knots[:, column] + jnp.maximum(level - 1, 0) * calibration.scale


@partial(jax.jit, static_argnames="compare")
def class_quantiles(
    calibration: Calibration, distances: Float[ArrayLike, "N K"], compare: bool = False
) -> Float[Array, "N K"]:
    """Level of each distance among its class's training distances, the inverse of the quantile table.

    * Inside the training range: the smallest level whose quantile reaches d, linear between knots, in [0, 1].
      A result lies in (levels[j−1], levels[j]] exactly when d lies in (knots[j−1], knots[j]], in float32 as
      on paper.
    * Beyond the largest training distance: 1 + (d − d_max) / scale, and likewise −(d_min − d) / scale below
      the smallest, with scale = d_max − median of the class. So the score never saturates: no tied mass bends
      a ROC curve, and with one class it ranks images as the distance itself does, up to float32 rounding. A
      spread, rather than d / d_max, because it asks neither that distances be positive (a negative
      log-likelihood is not) nor that d_max be other than 0, and a change of unit or origin leaves it as it
      is. A class whose distances are all equal has no spread: its scale is a millionth of their size, or 1 if
      they are 0.

    Args:
      calibration: of the training set.
      distances: [N, K].
      compare: find a distance's place in the table by comparing with all of it, in N x K x L memory, rather than
        by halving: for where there is no search (`adjax.onnx`). Changes no result.

    Returns:
      float32 [N, K]; NaN where the distance is; +inf for a class without training images, whatever the
      distance. The gradient is the slope of the piece, finite everywhere.
    """
    levels, knots, scale = calibration
    empty = knots[:, -1] == -jnp.inf
    knots = jnp.where(empty[:, None], 0.0, knots)
    width = jnp.maximum(jnp.diff(knots, axis=1), _TINY)  # a zero width (ties) is never looked up
    tail = (1 / scale)[:, None]
    # Piece j ends at knot j and meets it exactly: level_j - (knot_j - d) * slope_j. The last one is the tail.
    slopes = jnp.concatenate([tail, jnp.diff(levels)[None, :] / width, tail], axis=1)
    ends = jnp.concatenate([knots, knots[:, -1:]], axis=1)
    tops = jnp.concatenate([levels, levels[-1:]])
    floors = _floors(levels)

    def one(d: Array, knots: Array, slopes: Array, ends: Array) -> Array:
        find = _compared if compare else partial(lax.platform_dependent, cpu=_searched, default=_compared)
        return find(d, knots, tops, ends, slopes, floors)

    value = jax.vmap(one, in_axes=(1, 0, 0, 0), out_axes=1)(jnp.asarray(distances, jnp.float32), knots, slopes, ends)
    return jnp.where(empty[None, :], jnp.inf, value)


def _searched(d: Array, knots: Array, *pieces: Array) -> Array:
    """Levels of distances float32[N], each in a piece between knots that is found by halving."""
    j = jnp.searchsorted(knots, d)
    return _level(d, *(piece[j] for piece in pieces))


def _compared(d: Array, knots: Array, *pieces: Array) -> Array:
    """As `_searched`, by comparing with all knots: accelerators gather one by one, and this is a single loop."""
    low, high = jnp.concatenate([jnp.full(1, -jnp.inf), knots]), jnp.concatenate([knots, jnp.full(1, jnp.inf)])
    below = (low[:, None] >= d[None]) & (jnp.arange(len(low)) > 0)[:, None]
    here = ~(below | (d[None] > high[:, None]))  # of a NaN all pieces, and their sum is NaN
    return jnp.sum(jnp.where(here, _level(d[None], *(piece[:, None] for piece in pieces)), 0), axis=0)


def _level(d: Array, top: Array, end: Array, slope: Array, floor: Array) -> Array:
    return jnp.maximum(top + (d - end) * slope, lax.stop_gradient(floor))


def _floors(levels: Array) -> Array:
    """What a level in each piece of the table is above."""
    above = jnp.maximum(jnp.nextafter(levels, jnp.float32(2)), _TINY)  # what comes after 0 flushes to 0
    return jnp.concatenate([jnp.array([-jnp.inf], jnp.float32), above])


@partial(jax.jit, static_argnames="compare")
def classwise_quantile(
    calibration: Calibration, distances: Float[ArrayLike, "N K"], compare: bool = False
) -> Float[Array, " N"]:
    """Common quantile, the paper's score: the lowest level at which thresholds that move together accept the image.

    `classwise_quantile(c, d) <= level` equals `any_k d_k <= class_thresholds(c, level)[k]` for every tabulated level.

    Args:
      calibration: of the training set.
      distances: [N, K], distance of each image from each class.
      compare: as in `class_quantiles`.

    Returns:
      float32 [N]: in [0, 1] within the training range of some class, above 1 beyond all of them (see
      `class_quantiles`); NaN where any distance to a class with training images is NaN.
    """
    value = class_quantiles(calibration, distances, compare)
    return lowest(value)


@jax.custom_jvp
def lowest(value: Float[Array, "N K"]) -> Float[Array, " N"]:
    """Takes the lowest value of each row; NaN where one is. The gradient is 1 for the first of the lowest, and finite.

    That of `jnp.min` is NaN where the minimum is; and on CPU it loses a NaN among many (`adjax._numerics.highest`).
    """
    return jnp.where(jnp.isnan(value).any(axis=1), jnp.nan, jnp.min(value, axis=1))


@lowest.defjvp
def _(values: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (value,), (tangent,) = values, tangents
    first = jnp.arange(value.shape[1])[None] == jnp.argmin(value, axis=1)[:, None]
    return lowest(value), jnp.sum(jnp.where(first, tangent, 0), axis=1)


def nearest(calibration: Calibration, distances: Float[ArrayLike, "N K"]) -> Int[Array, " N"]:
    """Finds the class which attains `classwise_quantile`, the first among equals; NaNs are skipped.

    Args:
      calibration: of the training set.
      distances: [N, K], distance of each image from each class.

    Returns:
      int32[N], in 0 … K−1.
    """
    value = class_quantiles(calibration, distances)
    return jnp.argmin(jnp.where(jnp.isnan(value), jnp.inf, value), axis=1).astype(jnp.int32)


def is_anomalous(scores: Float[ArrayLike, "*n"], threshold: float | Float[ArrayLike, "*#n"]) -> Bool[Array, "*n"]:
    """Decides `not (score <= threshold)`, so that a NaN is anomalous.

    Args:
      scores: float[...], higher = more anomalous.
      threshold: one for all scores, or one for each.

    Returns:
      bool[...].
    """
    return ~(jnp.asarray(scores) <= jnp.asarray(threshold))


def quantile(scores: Float[ArrayLike, " n"], level: float = 0.975) -> Float[Array, ""]:
    """The plain quantile of the finite normal scores; -inf, which accepts nothing, if there are none.

    Args:
      scores: [n], of normal images.
      level: share to accept, in [0, 1], static; to four decimals.

    Returns:
      float32 scalar.

    Raises:
      ValueError: level outside of [0, 1].
    """
    if not 0 <= level <= 1:
        raise ValueError(f"level={level}: must lie in [0, 1]")
    scores = jnp.asarray(scores, jnp.float32)
    known = jnp.isfinite(scores)
    ordered, count = jnp.sort(jnp.where(known, scores, jnp.inf)), jnp.sum(known, dtype=jnp.int32)
    value = _interpolate(ordered, jnp.int32(0), count, jnp.int32(round(level * 10_000)))
    return jnp.where(count > 0, value, -jnp.inf)


def mean_sigma(scores: Float[ArrayLike, " n"], k: float | Float[ArrayLike, ""] = 3.0) -> Float[Array, ""]:
    """Threshold mean + k·σ (ddof = 0) of the finite normal scores: "log-likelihood below mean − 3σ", sign reversed.

    Args:
      scores: [n], of normal images.
      k: number of standard deviations.

    Returns:
      float32 scalar; NaN, which accepts nothing, if no score is finite.
    """
    scores = jnp.asarray(scores, jnp.float32)
    known = jnp.isfinite(scores)
    return jnp.mean(scores, where=known) + k * jnp.std(scores, where=known)


@jax.jit
def best_f1(
    scores: Float[ArrayLike, " n"],
    labels: Int[ArrayLike, " n"] | Bool[ArrayLike, " n"],
    mask: Bool[ArrayLike, " n"] | None = None,
) -> Float[Array, ""]:
    """Threshold with the highest F1 for `is_anomalous` on labelled validation images.

    Half way between the highest score that it accepts and the next one; among equals the highest threshold. So nothing
    that was seen is flagged if there is no anomaly. If flagging everything is best: -inf.

    Args:
      scores: float[n], higher = more anomalous.
      labels: int or bool [n], 1 = anomalous.
      mask: bool[n], False for padding.

    Returns:
      float32 scalar; never NaN. NaN scores are always flagged, so they count as such.
    """
    scores = jnp.asarray(scores, jnp.float32)
    kept = jnp.ones(scores.shape, bool) if mask is None else jnp.asarray(mask)
    anomalous, total = jnp.asarray(labels).astype(bool) & kept, jnp.sum(kept, dtype=jnp.int32)
    top = jnp.isnan(scores) | ~kept
    s, anomalous, kept = lax.sort((jnp.where(top, jnp.inf, scores), anomalous, kept), num_keys=1)
    positives = jnp.sum(anomalous, dtype=jnp.int32)
    # Candidate i accepts the i smallest scores; tied scores go together, and +inf is never accepted.
    s = jnp.concatenate([jnp.full(1, -jnp.inf, s.dtype), s, jnp.full(1, jnp.inf, s.dtype)])
    caught, accepted = (jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(x)]) for x in (anomalous, kept))
    caught = positives - caught
    flagged = total - accepted
    value = (2 * caught).astype(jnp.float32) / jnp.maximum(flagged + positives, 1).astype(jnp.float32)
    value = jnp.where(s[:-1] < s[1:], value, -1.0)
    best = value.shape[0] - 1 - jnp.argmax(value[::-1])
    low, high = s[best], s[best + 1]
    middle = low / 2 + high / 2
    return jnp.where((middle > low) & (middle < high), middle, low)
