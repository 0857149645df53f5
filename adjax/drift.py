"""Drift: do today's normal scores still look like those that the detector was calibrated by?

A threshold keeps its promise while normal images score as the calibration images did. Anomalies are expected among
today's, so only what is below the threshold t is compared, on both sides:

    D = sup_x |F_calibration(x | s < t) − F_today(x | s < t)|        two-sample Kolmogorov–Smirnov

Given t, an order statistic of the calibration scores (`adjax.thresholds.conformal`) or a number known before, scores
below t are independent draws of one distribution on both sides if nothing has changed. So the test is exact for
continuous scores, whatever their distribution and however few calibrated; ties make it conservative. It takes one look:
of K looks at level a, about a·K raise a false alarm.

The scores of cross-fitting (`adjax.crossfit`) are of other fits than today's, so there the rate is approximate. Fitted
to 40 to 300 normal vectors of 4 to 64 dimensions in 20 folds, 2 to 12 % of tests had p ≤ 0.05 (six settings, 150 tests
each).

Massey, "The Kolmogorov-Smirnov test for goodness of fit" (1951); Hodges, "The significance probability of the Smirnov
two-sample test" (1958).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from scipy import stats

FEWEST = 30
"""Scores on each side, for a test."""
FALSE_ALARMS = 0.001
"""Probability that a test of scores which have not changed raises an alarm."""
WINDOW = 500
"""Scores below the threshold in a test of a stream."""


class Drift(NamedTuple):
    """The result of a test.

    Attributes:
      n, calibration: scores below the threshold, today's and those that calibrated.
      distance: greatest difference of the two distribution functions, in [0, 1].
      p_value: probability of at least that distance if nothing has changed.
      above: probability that one of today's scores exceeds one that calibrated, ties half: 0.5 if nothing has changed.
    """

    n: int
    calibration: int
    distance: float
    p_value: float
    above: float

    @property
    def alarm(self) -> bool:
        """Whether the difference is more than chance explains, see `FALSE_ALARMS`."""
        return self.p_value <= FALSE_ALARMS

    def __str__(self) -> str:
        found = (
            f"scores below the threshold have drifted: {self.n:,} of today and {self.calibration:,} that calibrated "
            f"differ by {self.distance:.2f} (p = {self.p_value:.1g})"
        )
        if self.above > 0.5:
            return (
                f"{found}, and today's are higher. The threshold may flag more normal images than promised: look at "
                "the pictures, and train again if this is the new normal"
            )
        return (
            f"{found}, and today's are lower, as of images that the detector was fitted to. If they are others, the "
            "threshold may miss anomalies: look at the pictures, and train again if this is the new normal"
        )


def compare(calibration_scores: np.ndarray, scores: np.ndarray, threshold: float) -> Drift | None:
    """Tests whether scores below the threshold are distributed as those that calibrated.

    Args:
      calibration_scores: float[m], of held-out normal images.
      scores: float[n], of today's images, anomalies among them; NaN counts as above the threshold.
      threshold: scores above it are anomalous.

    Returns:
      The `Drift`; None with fewer than `FEWEST` scores below the threshold on either side.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> normal, today = rng.normal(size=500), rng.normal(size=200)
      >>> compare(normal, today, 2.0).alarm, compare(normal, today + 0.5, 2.0).alarm
      (False, True)
    """
    before, now = (x[x < threshold] for x in (np.asarray(calibration_scores), np.asarray(scores)))
    if min(len(before), len(now)) < FEWEST:
        return None
    found = stats.ks_2samp(before, now)
    ranks = stats.rankdata(np.concatenate([before, now]))[len(before) :]
    above = (ranks.mean() - (len(now) + 1) / 2) / len(before)
    return Drift(len(now), len(before), float(found.statistic), float(found.pvalue), float(above))


class Monitor:
    """Tests a stream of scores, a window at a time.

    Attributes:
      latest: of the last whole window; None before the first.
      tests, alarms: counts of both.
    """

    def __init__(self, calibration_scores: np.ndarray, threshold: float, window: int = WINDOW):
        """Begins with no scores.

        Args:
          calibration_scores, threshold: as of `compare`.
          window: scores below the threshold in a test, at least `FEWEST`.

        Raises:
          ValueError: a smaller window.
        """
        if window < FEWEST:
            raise ValueError(f"window {window}: must be at least {FEWEST} scores")
        self.latest: Drift | None = None
        self.tests = self.alarms = 0
        self._calibration, self._threshold, self._window = np.asarray(calibration_scores), threshold, window
        self._scores: deque[float] = deque()

    def add(self, scores: np.ndarray) -> None:
        """Takes scores, and tests each window that becomes whole."""
        self._scores.extend(x for x in np.asarray(scores, float).tolist() if x < self._threshold)
        while len(self._scores) >= self._window:
            whole = np.array([self._scores.popleft() for _ in range(self._window)])
            found = compare(self._calibration, whole, self._threshold)
            if found is not None:
                self.latest, self.tests, self.alarms = found, self.tests + 1, self.alarms + found.alarm
