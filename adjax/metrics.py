"""Detection metrics (AUROC, average precision, FPR at a TPR, F1), exact with ties, on the device.

One idea: *sort once, then count*. After one sort every row knows how many normal and how many anomalous
images score strictly below it and how many score at most as much (`_rank`); AUROC, average precision, FPR at
a TPR and DeLong's variance are each one line over those four integer counts, so a group of tied scores is one
threshold, as it must be. Counts are int32 and their means are taken in integer limbs (`_mean`): float32
answers are right to about 1e-7 for up to 2^24 images without x64, and do not depend on the order of the
images, bit for bit.

Everywhere: a higher score is more anomalous; label 1 = anomalous, 0 = normal; **a NaN score ranks as +inf**,
the most anomalous; rows where `mask` is False (padding) count for nothing. All functions are pure and run
under `jit` and under `vmap` over a leading axis of members; called as they are, they compile once a shape.
With one class only, a ranking metric is undefined and **NaN is returned**: a traced program can't raise, its
caller on the host should.

Example:
  >>> round(float(auroc(jnp.array([0.1, 0.2, 0.3, 0.9]), jnp.array([0, 1, 0, 1]))), 2)
  0.75
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import NormalDist
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Shaped

Scalar = Float[Array, ""]
Scores = Float[ArrayLike, " n"]
Labels = Int[ArrayLike, " n"] | Bool[ArrayLike, " n"]
Mask = Bool[ArrayLike, " n"] | None


class Interval(NamedTuple):
    """An estimate between its confidence limits; all float32, of one shape."""

    value: Array
    low: Array
    high: Array


class _Ranks(NamedTuple):
    """Rows in ascending order of score: how many images score strictly below each, and how many up to it."""

    normal: Array
    anomalous: Array
    normal_below: Array
    anomalous_below: Array
    normal_upto: Array
    anomalous_upto: Array
    normals: Array
    anomalies: Array


def _check_lengths(scores: ArrayLike, labels: ArrayLike, mask: Mask, what: str = "scores") -> None:
    """Refuses rows of other numbers, which are known while it is traced.

    Raises:
      ValueError: with both.
    """
    for name, other in (("labels", labels), ("mask", mask)):
        if other is not None and jnp.shape(other) != jnp.shape(scores):
            raise ValueError(
                f"{what} {list(jnp.shape(scores))} and {name} {list(jnp.shape(other))}: must be [n], one for each image"
            )


def _rank(scores: Scores, labels: Labels, mask: Mask) -> _Ranks:
    scores = jnp.asarray(scores, jnp.float32)
    _check_lengths(scores, labels, mask)
    group = jnp.asarray(labels).astype(bool).astype(jnp.int32)
    if mask is not None:
        group = jnp.where(jnp.asarray(mask), group, 2)
    if not scores.size:
        scores, group = jnp.zeros(1), jnp.full(1, 2)
    keys, group = lax.sort((_ordered(scores), group), num_keys=1, is_stable=False)
    step, end = keys[1:] != keys[:-1], jnp.ones(1, bool)
    first, last = jnp.concatenate([end, step])[None], jnp.concatenate([step, end])[None]
    member = jnp.stack([group == 0, group == 1])
    upto = jnp.cumsum(member.astype(jnp.int32), axis=1)
    total = upto[:, -1]
    below = lax.cummax(jnp.where(first, upto - member.astype(jnp.int32), 0), axis=1)
    upto = lax.cummin(jnp.where(last, upto, total[:, None]), axis=1, reverse=True)
    return _Ranks(*member, *below, *upto, *total)


def _ordered(scores: Array) -> Array:
    """int32 keys in the order of float32 scores, whose bits they are: XLA compares subnormal floats as zeros."""
    bits = lax.bitcast_convert_type(jnp.where(jnp.isnan(scores), jnp.inf, scores), jnp.int32)
    least = jnp.iinfo(jnp.int32).min
    return jnp.where(bits < 0, least - bits, bits)  # a negative score has its size in all bits but the first; −0 is 0


def _check_level(level: float) -> None:
    """Refuses a coverage that is none, such as 95.

    Raises:
      ValueError: with it.
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie in (0, 1), such as 0.95")


def _mean(values: Array, where: Array, count: Array) -> Scalar:
    """Mean of whole numbers in [0, 2^32), exact but for rounding: four limbs, each summed as integers."""
    values = jnp.where(where, values, 0).astype(jnp.uint32)
    total = jnp.float32(0)
    for shift in (24, 16, 8, 0):
        limbs = (values >> jnp.uint32(shift)) & jnp.uint32(255)
        total = total * 256 + jnp.sum(limbs, dtype=jnp.uint32).astype(jnp.float32)
    return total / count.astype(jnp.float32)


def _defined(value: Array, ranks: _Ranks) -> Scalar:
    return jnp.where((ranks.normals > 0) & (ranks.anomalies > 0), value, jnp.nan)


@jax.jit
def auroc(scores: Scores, labels: Labels, mask: Mask = None) -> Scalar:
    """Area under the ROC curve: the chance that an anomaly scores above a normal image, a tie counting ½.

    The Mann-Whitney statistic with mid-ranks, equal to `sklearn.metrics.roc_auc_score`.

    Args:
      scores: float[n], higher = more anomalous.
      labels: int or bool [n], 1 = anomalous.
      mask: bool[n], False for padding.

    Returns:
      float32 in [0, 1]; NaN if either class is absent.

    Example:
      >>> float(auroc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0, 0, 1, 1])))
      0.875
    """
    return _auroc(_rank(scores, labels, mask))


def _auroc(r: _Ranks) -> Scalar:
    doubled = _mean(r.normal_below + r.normal_upto, r.anomalous, r.anomalies)
    return _defined(doubled / (2 * r.normals).astype(jnp.float32), r)


@jax.jit
def aupr(scores: Scores, labels: Labels, mask: Mask = None) -> Scalar:
    """Average precision with anomalies as the positive class: the mean precision at each anomaly's score.

    Equal to `sklearn.metrics.average_precision_score`: a step-wise sum, not the optimistic trapezoid. For "AUPR-in",
    where normal images are positive, pass `-scores` and `1 - labels` (finite scores only: NaN ranks highest here too).

    Args:
      scores: float[n], higher = more anomalous.
      labels: int or bool [n], 1 = anomalous.
      mask: bool[n], False for padding.

    Returns:
      float32 in [0, 1]; NaN if either class is absent.
    """
    r = _rank(scores, labels, mask)
    true, false = r.anomalies - r.anomalous_below, r.normals - r.normal_below
    precision = true.astype(jnp.float32) / jnp.maximum(true + false, 1).astype(jnp.float32)
    return _defined(_mean(precision * 2.0**30, r.anomalous, r.anomalies) / 2.0**30, r)


def fpr_at_tpr(
    scores: Scores,
    labels: Labels,
    mask: Mask = None,
    *,
    tpr: float | Scalar = 0.95,
    positive: Literal["normal", "anomalous"] = "normal",
) -> Scalar:
    """FPR95: the error on one class at the tightest threshold that gets 95 % of the positive class right.

    Two conventions are published, and the numbers differ; always say which.

    * `positive="normal"` (default; Hendrycks & Gimpel 2017 and most papers, OpenOOD 1.0): the share of
      *anomalous* images that are accepted at the lowest threshold which accepts 95 % of the normal ones.
    * `positive="anomalous"` (OpenOOD from 1.5 on): the share of *normal* images that are flagged at the
      highest threshold which flags 95 % of the anomalous ones.

    Both equal `fpr[argmax(tpr >= 0.95)]` of scikit-learn's `roc_curve` for that positive class: tied scores
    are accepted or flagged together.

    Args:
      scores: float[n], higher = more anomalous.
      labels: int or bool [n], 1 = anomalous.
      mask: bool[n], False for padding.
      tpr: share of the positive class to get right, in (0, 1]; to four decimals.
      positive: the class whose recall is fixed.

    Returns:
      float32 in [0, 1]; NaN if either class is absent, or for a traced `tpr` out of range.

    Raises:
      ValueError: another `positive`, or `tpr` out of range.
    """
    if not isinstance(tpr, jax.core.Tracer) and not 0 < np.asarray(tpr) <= 1:
        raise ValueError(f"tpr={tpr}: must lie in (0, 1], such as 0.95")
    return _fpr_at_tpr(scores, labels, mask, tpr, positive)


@partial(jax.jit, static_argnames="positive")
def _fpr_at_tpr(scores: Scores, labels: Labels, mask: Mask, tpr: float | Scalar, positive: str) -> Scalar:
    r = _rank(scores, labels, mask)
    if positive == "normal":
        right, positives, wrong, negatives = r.normal_upto, r.normals, r.anomalous_upto, r.anomalies
    elif positive == "anomalous":
        right, positives = r.anomalies - r.anomalous_below, r.anomalies
        wrong, negatives = r.normals - r.normal_below, r.normals
    else:
        raise ValueError(f"positive={positive!r}: choose 'normal' or 'anomalous'")
    # ceil(tpr * positives) in whole ten-thousandths, for 19 of 20 *is* 95 %, which float32 may miss.
    part = jnp.round(tpr * 10_000).astype(jnp.int32)
    needed = positives // 10_000 * part - (-(positives % 10_000) * part) // 10_000
    wrong = jnp.min(jnp.where(right >= needed, wrong, negatives))
    share = wrong.astype(jnp.float32) / negatives.astype(jnp.float32)
    return _defined(jnp.where((tpr > 0) & (tpr <= 1), share, jnp.nan), r)


def accuracy(pred: Labels, labels: Labels, mask: Mask = None) -> Scalar:
    """Accuracy: share of the rows where `pred == labels`.

    Args:
      pred: int or bool [n].
      labels: int or bool [n].
      mask: bool[n], False for padding.

    Returns:
      float32 in [0, 1]; NaN if there is no row.
    """
    _check_lengths(pred, labels, mask, "pred")
    right = jnp.asarray(pred, jnp.int32) == jnp.asarray(labels, jnp.int32)
    kept = jnp.ones_like(right) if mask is None else jnp.asarray(mask)
    return jnp.sum(right & kept).astype(jnp.float32) / jnp.sum(kept).astype(jnp.float32)


def f1(pred: Labels, labels: Labels, mask: Mask = None) -> Scalar:
    """F1 of the anomalous class, 2·TP / (2·TP + FP + FN).

    Args:
      pred: int or bool [n], 1 = flagged.
      labels: int or bool [n], 1 = anomalous.
      mask: bool[n], False for padding.

    Returns:
      float32 in [0, 1]; 0 where it is 0 / 0.
    """
    _check_lengths(pred, labels, mask, "pred")
    return _f1_counts(jnp.asarray(pred).astype(bool), jnp.asarray(labels).astype(bool), mask)[0]


@partial(jax.jit, static_argnames="classes")
def macro_f1(pred: Labels, labels: Labels, classes: int, mask: Mask = None) -> Scalar:
    """Unweighted mean over classes of the one-vs-rest F1: the classification figure of the center-loss paper.

    Equal to `sklearn.metrics.f1_score(average="macro")`. A class that is in neither `pred` nor `labels` is
    left out of the mean; one that is only in one of them counts with F1 = 0. Numbers outside 0 … classes−1
    are no class: a prediction of -1 is a miss for the true class and nothing else.

    Args:
      pred: int[n], predicted classes.
      labels: int[n], true classes.
      classes: number of classes K, static.
      mask: bool[n], False for padding.

    Returns:
      float32 in [0, 1]; NaN if no class is present.
    """
    _check_lengths(pred, labels, mask, "pred")
    pred, labels = jnp.asarray(pred, jnp.int32), jnp.asarray(labels, jnp.int32)
    each, present = jax.vmap(lambda k: _f1_counts(pred == k, labels == k, mask))(jnp.arange(classes))
    return jnp.sum(each) / jnp.sum(present).astype(jnp.float32)


def _f1_counts(pred: Array, labels: Array, mask: Mask) -> tuple[Array, Array]:
    if mask is not None:
        pred, labels = pred & jnp.asarray(mask), labels & jnp.asarray(mask)
    both, either = jnp.sum(pred & labels), jnp.sum(pred) + jnp.sum(labels)
    return (2 * both).astype(jnp.float32) / jnp.maximum(either, 1).astype(jnp.float32), either > 0


@partial(jax.jit, static_argnames="level")
def auroc_interval(scores: Scores, labels: Labels, mask: Mask = None, *, level: float = 0.95) -> Interval:
    """AUROC with DeLong's confidence interval, by mid-ranks in O(n log n).

    The limits are AUROC ± z·σ, clipped to [0, 1]. At perfect separation σ is 0 and the interval is a point,
    which overstates what few images can show.

    Args:
      scores: float[n], higher = more anomalous.
      labels: int or bool [n], 1 = anomalous.
      mask: bool[n], False for padding.
      level: coverage of the interval, static, in (0, 1).

    Returns:
      `Interval(value, low, high)`; NaN limits where a class has fewer than two images.

    Raises:
      ValueError: level out of range.

    References:
      DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014 (the mid-rank form).
    """
    _check_level(level)
    r = _rank(scores, labels, mask)
    value = _auroc(r)
    m, n = r.anomalies.astype(jnp.float32), r.normals.astype(jnp.float32)
    above = 2 * r.anomalies - r.anomalous_below - r.anomalous_upto
    v_anomalous = (r.normal_below + r.normal_upto).astype(jnp.float32) / (2 * n)
    v_normal = above.astype(jnp.float32) / (2 * m)
    s_anomalous = jnp.sum(jnp.where(r.anomalous, (v_anomalous - value) ** 2, 0)) / (m - 1)
    s_normal = jnp.sum(jnp.where(r.normal, (v_normal - value) ** 2, 0)) / (n - 1)
    half = NormalDist().inv_cdf(0.5 + level / 2) * jnp.sqrt(s_anomalous / m + s_normal / n)
    half = jnp.where(jnp.minimum(m, n) > 1, half, jnp.nan)
    return Interval(value, jnp.clip(value - half, 0, 1), jnp.clip(value + half, 0, 1))


@partial(jax.jit, static_argnames=("metric", "level", "resamples", "at_once"))
def bootstrap(
    metric: Callable[..., Array],
    key: Array,
    scores: Shaped[ArrayLike, "n ..."],
    labels: Labels,
    mask: Mask = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    at_once: int = 1,
) -> Interval:
    """Percentile bootstrap of any metric of this page, stratified: each label keeps its number of images.

    Args:
      metric: `(scores, labels)` or, where a mask is given, `(scores, labels, mask)` -> scalar, or an array of several
        figures.
      key: random key; the same key gives the same interval.
      scores: [n, ...], or predictions: whatever `metric` takes first.
      labels: int or bool [n]; resampling is within equal labels, so both classes stay present.
      mask: bool[n], False for padding.
      level: coverage, in (0, 1).
      resamples: number of draws, ≥ 1.
      at_once: draws held in memory at a time, ≥ 1; 1 is flat memory, more is faster on accelerators.

    Returns:
      `Interval(value, low, high)`, the value being that of the data themselves; each of the shape of `metric`.

    Raises:
      ValueError: level, resamples or at_once out of range.
    """
    _check_level(level)
    for name, count in (("resamples", resamples), ("at_once", at_once)):
        if count < 1:
            raise ValueError(f"{name}={count}: must be at least 1")
    data = tuple(jnp.asarray(x) for x in (scores, labels, mask) if x is not None)
    strata = data[1].astype(jnp.int32)
    if mask is not None:
        strata = jnp.where(data[2], strata, jnp.iinfo(jnp.int32).max)
    order = jnp.argsort(strata)
    grouped = strata[order]
    start, stop = (jnp.searchsorted(grouped, grouped, side=side) for side in ("left", "right"))
    size = (stop - start).astype(jnp.uint32)

    def draw(key: Array) -> Array:
        chosen = jax.random.bits(key, strata.shape) % size  # uniform but for size / 2^32
        rows = order[start + chosen.astype(jnp.int32)]
        return metric(*(x[rows] for x in data))

    # Whole batches only: a remainder would be compiled once more. fold_in: the draws don't depend on at_once.
    number = jnp.arange(-(-resamples // at_once) * at_once).reshape(-1, at_once)
    values = lax.map(jax.vmap(lambda i: draw(jax.random.fold_in(key, i))), number)
    values = values.reshape(-1, *values.shape[2:])[:resamples]
    low, high = jnp.quantile(values, jnp.array([0.5 - level / 2, 0.5 + level / 2]), axis=0)
    return Interval(metric(*data), low, high)
