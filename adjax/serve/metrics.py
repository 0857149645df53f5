"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from adjax.drift import FALSE_ALARMS, Monitor
from adjax.serve.model import Model, Said

LATENCIES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCHES = tuple(1 << k for k in range(11))


class Metrics:
    """Counters, histograms and gauges in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of: Any = {"registry": self._registry}
        self._requests = Counter("adjax_requests", "Requests answered", ["route", "code"], **of)
        self._latency = Histogram("adjax_request_seconds", "Time to answer", ["route"], buckets=LATENCIES_S, **of)
        self._pictures = Counter("adjax_pictures", "Pictures scored", ["decision"], **of)
        self._batch = Histogram("adjax_batch_pictures", "Pictures scored together", buckets=BATCHES, **of)
        self._pending = Gauge("adjax_queue_pictures", "Pictures taken and not yet answered", **of)
        self._model = Gauge("adjax_detector", "1 for the detector that is served", ["name", "sha256"], **of)
        self._reloads = Counter("adjax_reloads", "Detectors loaded while serving", ["result"], **of)
        tests = f"Tests of scores below the threshold against those that calibrated; false alarms: {FALSE_ALARMS:g}"
        self._tests = Counter("adjax_drift_tests", tests, **of)
        self._alarms = Counter("adjax_drift_alarms", "Drift tests that raised an alarm", **of)
        self._p_value = Gauge("adjax_drift_p_value", "p-value of the latest drift test; NaN before the first", **of)
        self._distance = Gauge("adjax_drift_distance", "Kolmogorov–Smirnov distance of the latest drift test", **of)
        self._above = Gauge("adjax_drift_above", "Probability that a score exceeds one that calibrated: 0.5", **of)
        self._drift: tuple[Model, Monitor] | None = None
        self._untested()

    def answered(self, route: str, code: int, seconds: float) -> None:
        """Counts a request.

        Args:
          route: path as it is declared.
          code: of the answer.
          seconds: it took.
        """
        self._requests.labels(route, str(code)).inc()
        self._latency.labels(route).observe(seconds)

    def scored(self, model: Model, said: Sequence[Said]) -> None:
        """Counts a batch, and looks for drift; called in one thread.

        Args:
          model: that scored.
          said: of its images.
        """
        flagged = sum(bool(one["anomalous"]) for one in said)
        self._batch.observe(len(said))
        self._pictures.labels("anomalous").inc(flagged)
        self._pictures.labels("normal").inc(len(said) - flagged)
        if self._drift is None or self._drift[0] is not model:
            detector = model.loaded.detector
            self._drift = model, Monitor(np.asarray(detector.calibration_scores), float(detector.threshold))
            self._untested()
        monitor = self._drift[1]
        tests, alarms = monitor.tests, monitor.alarms
        monitor.add(np.array([one["score"] for one in said]))
        if monitor.latest is not None and monitor.tests > tests:
            self._tests.inc(monitor.tests - tests)
            self._alarms.inc(monitor.alarms - alarms)
            self._p_value.set(monitor.latest.p_value)
            self._distance.set(monitor.latest.distance)
            self._above.set(monitor.latest.above)

    def _untested(self) -> None:
        for gauge in (self._p_value, self._distance, self._above):
            gauge.set(np.nan)

    def serves(self, name: str, model: Model) -> None:
        """Says which detector is served.

        Args:
          name: of the detector.
          model: it.
        """
        self._model.clear()
        self._model.labels(name, model.loaded.sha256).set(1)

    def reloaded(self, ok: bool) -> None:
        """Counts a detector that was loaded while serving, or refused."""
        self._reloads.labels("ok" if ok else "refused").inc()

    def text(self, pending: int) -> bytes:
        """Writes all of it in Prometheus' text format.

        Args:
          pending: pictures taken and not yet answered.

        Returns:
          UTF-8.
        """
        self._pending.set(pending)
        return generate_latest(self._registry)
