"""Conformal thresholds and p-values: what n normal images promise of the false positive rate, whatever the detector.

A NaN counts as +inf among the calibration scores, and of the images to come it is always flagged. So the promise is
for every image, whatever its score, as long as NaN are rare: of n calibration images and a new one, the new one is
flagged with probability at most alpha, or at most the share of NaN among these n + 1 where that is more.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

_FEWEST = 10
"""Scores that it takes to say anything of their tail."""


def conformal(scores: Float[ArrayLike, " n"], alpha: float) -> Float[Array, ""]:
    """Conformal threshold: a new normal image is flagged with probability at most alpha, whatever n.

    Unless more than that share of images score NaN, see above: the threshold is +inf then, and NaN alone are flagged.
    The ⌈(n+1)(1−α)⌉-th smallest score of n normal images that were not trained on. Where a plain quantile of 100 images
    gives 1.9 % false positives for 1 % asked, this gives 1 %.

    Args:
      scores: [n], normal calibration scores, exchangeable with those to come; NaN counts as +inf.
      alpha: false positive rate to keep below, static, in (0, 1).

    Returns:
      float32 scalar.

    Raises:
      ValueError: scores that are not [n]; alpha outside of (0, 1), or too few images, n < 1/α − 1.

    References:
      Vovk, Gammerman & Shafer 2005; Bates et al. 2023, "Testing for outliers with conformal p-values".
    """
    check_number("alpha", alpha, "false positive rate")
    scores = _checked(scores)
    n = scores.shape[0]
    if not 0 < alpha < 1:
        raise ValueError(f"alpha={alpha}: the false positive rate must lie between 0 and 1")
    if n < (least := needed(alpha)):
        raise ValueError(f"n={n} normal images can't guarantee alpha={alpha}: {least} are needed (n >= 1/alpha - 1)")
    flagged = math.floor((n + 1) * alpha * (1 + 1e-12))
    return jnp.sort(scores)[n - flagged]


def _checked(scores: ArrayLike) -> Float[Array, " n"]:
    """Calibration scores, float32[n], in which a NaN is +inf.

    Raises:
      ValueError: another shape.
    """
    scores = jnp.asarray(scores, jnp.float32)
    if scores.ndim != 1:
        raise ValueError(f"calibration scores {list(scores.shape)}: must be [n], one for each image; flatten them")
    return jnp.where(jnp.isnan(scores), jnp.inf, scores)


def check_number(name: str, value: Any, what: str) -> None:
    """Refuses None, and text that was never read as a number.

    Args:
      name: of the argument.
      value: of it.
      what: it is, in words.

    Raises:
      ValueError: it is no number.
    """
    if value is None or isinstance(value, str | bytes):
        raise ValueError(f"{name}={value!r}: the {what} must be a number between 0 and 1")


def needed(alpha: float) -> int:
    """The fewest held-out images that a conformal threshold takes for a false positive rate in (0, 1): 1/α − 1."""
    return math.ceil((1 / alpha - 1) * (1 - 1e-12))


class ThresholdInterval(NamedTuple):
    """Scores between which a threshold lies; float32 scalars, `low` ≤ `high`."""

    low: Array | np.ndarray
    high: Array | np.ndarray

    def holds(self, scores: Any) -> Any:
        """Tells which scores, float[...], are uncertain, in (low, high]: bool[...]; False where it is not finite."""
        return (scores > self.low) & (scores <= self.high) & (abs(scores) < float("inf"))


def threshold_interval(scores: Float[ArrayLike, " n"], alpha: float, confidence: float = 0.95) -> ThresholdInterval:
    """Confidence interval of the threshold for a false positive rate of alpha, from n normal images.

    The share of *all* normal images above a conformal threshold varies with the n that were drawn. This is the
    distribution-free confidence interval of the quantile itself: two order statistics, chosen by the binomial law of
    how many of n scores lie below it. A score in (low, high] is *uncertain*: another draw might have decided otherwise.

    With few scores (below 72 for α = 5 %) the quantile may lie beyond the largest score. Then `high` is extrapolated:
    the upper half of the scores is taken to fall off as fast as an exponential, or faster. So what is far beyond all
    normal images is certain. Heavier tails (a power law) may reach beyond `high`.

    Args:
      scores, alpha: as of `conformal`.
      confidence: probability that the true quantile lies within, static, in (0, 1).

    Returns:
      A `ThresholdInterval`. low is -inf where n is too small to tell, and high is +inf where it is and is below 10, too
      few to extrapolate from; as they may be where scores are infinite or NaN.

    Raises:
      ValueError: scores that are not [n]; alpha or confidence outside of (0, 1).

    References:
      Thompson, "On confidence ranges for the median and other expectation distributions" (1936); David & Nagaraja,
      "Order statistics" (2003), section 7.1; of tails, Pickands, "Statistical inference using extreme order statistics"
      (1975).
    """
    from scipy.stats import binom, chi2  # when called: they take a quarter of a second

    for name, value, what in (("alpha", alpha, "false positive rate"), ("confidence", confidence, "confidence")):
        check_number(name, value, what)
        if not 0 < value < 1:
            raise ValueError(f"{name}={value}: must lie between 0 and 1")
    scores = _checked(scores)
    n = scores.shape[0]
    ordered = jnp.concatenate([jnp.array([-jnp.inf], jnp.float32), jnp.sort(scores), jnp.array([jnp.inf], jnp.float32)])
    # B of n scores lie below the quantile: it is at least the r-th smallest where B >= r, at most the s-th where B < s.
    tail = (1 - confidence) / 2
    r = int(binom.ppf(tail, n, 1 - alpha)) if n else 0
    s = int(binom.ppf(1 - tail, n, 1 - alpha)) + 1 if n else 1
    if s <= n or n < _FEWEST:
        return ThresholdInterval(ordered[r], ordered[s])
    # Of an exponential the largest of n falls short of the quantile by more than `short` scales with probability tail;
    # and the mean excess of m over the median falls short of the scale by chi2 / 2m.
    m = n // 2
    short = math.log((1 - tail ** (1 / n)) / alpha)
    excess = jnp.mean(ordered[n + 1 - m : n + 1] - ordered[n - m])
    excess = jnp.where(jnp.isnan(excess), jnp.inf, excess)  # where most scores are infinite
    return ThresholdInterval(ordered[r], ordered[n] + jnp.float32(short * 2 * m / chi2.ppf(tail, 2 * m)) * excess)


def p_value(calibration_scores_sorted: Float[ArrayLike, " n"], scores: Float[ArrayLike, " m"]) -> Float[Array, " m"]:
    """Conformal p-value (1 + #{calibration >= score}) / (n + 1).

    Args:
      calibration_scores_sorted: float[n], normal scores in ascending order.
      scores: float[m].

    Returns:
      float32 [m] in [1/(n+1), 1]; a NaN score has the smallest, NaN calibration scores (sorted last) count as
      +inf. A new normal image has p ≤ α with probability at most α, for every α that is no less than the share of NaN
      among all n + 1.

    Raises:
      ValueError: calibration scores that are not [n].
    """
    normal, scores = _checked(calibration_scores_sorted), jnp.asarray(scores, jnp.float32)
    n = normal.shape[0]
    below = jnp.searchsorted(normal, scores)  # a NaN is above all
    return (1 + n - below).astype(jnp.float32) / (n + 1)
