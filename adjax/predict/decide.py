"""Decisions of a scored table at another threshold, without scoring again.

Score, p-value and class of a picture depend on the detector alone. Its decision, whether that is uncertain, and the
boxes round what is above the threshold depend on the threshold too. The first two are a comparison. Boxes take the map
of the picture, which no table has: those of flagged pictures are drawn again (`boxes`), or left empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from adjax.conformal import ThresholdInterval
from adjax.data.split import DataError
from adjax.predict.readers import numbers
from adjax.predict.writers import Part


class Decider:
    """Rewrites the columns of a table that depend on its threshold.

    Attributes:
      counts: of rows, by decision, or "error" for a file that could not be scored.
      lost: rows whose boxes are left empty, since they were drawn at another threshold.
    """

    def __init__(
        self,
        sha256: str,
        threshold: float,
        interval: ThresholdInterval | None,
        draws: bool = True,
        boxes: Mapping[str, str | None] | None = None,
    ):
        """Takes what decides.

        Args:
          sha256: of the manifest of the detector that scored.
          threshold: of the score, the value of a float32.
          interval: scores that are uncertain; None: not known.
          draws: whether the detector draws boxes.
          boxes: path → those of each flagged picture, at this threshold; None: not known.
        """
        self.counts, self.lost = Counter[str](), 0
        self._sha256, self._threshold, self._draws, self._boxes = sha256, threshold, draws, boxes
        self._interval = None if interval is None else ThresholdInterval(*map(np.asarray, interval))

    def parts(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Decides again.

        Args:
          parts: of the table, see `adjax.predict.readers`.

        Yields:
          The same with other decisions.

        Raises:
          DataError: rows of another detector.
        """
        for part in parts:
            other = {str(found) for found in part["detector"]} - {self._sha256}
            if other:
                raise DataError(
                    f"the table has rows of detector {min(other)[:16]}…, and this one is {self._sha256[:16]}…: name "
                    "the detector that scored it by --detector DIR, or score again by predict"
                )
            yield part | self._decided(part)

    def _decided(self, part: Part) -> Part:
        scored = [bool(decision) for decision in part["decision"]]
        found = numbers(part["score"])
        scores = np.array([np.nan if score is None else score for score in found], np.float32)
        above = ~(scores <= np.float32(self._threshold))
        uncertain = None if self._interval is None else self._interval.holds(scores).tolist()
        names = ("normal", "anomalous")
        decisions = [  # no threshold changes that of a score that isn't finite
            (before if score is None else names[flagged])
            for before, score, flagged in zip(part["decision"], found, above.tolist(), strict=True)
        ]
        self.counts.update(decision or "error" for decision in decisions)
        boxes = self._drawn(part, decisions)
        return {
            "decision": decisions,
            "uncertain": [None if uncertain is None or not ok else uncertain[row] for row, ok in enumerate(scored)],
            "boxes": boxes,
            "threshold": [self._threshold] * len(scored),
        }

    def _drawn(self, part: Part, decisions: list[str]) -> list[str | None]:
        same = {before for before in set(part["threshold"]) if float(before) == self._threshold}
        known = part["boxes"] if self._boxes is None else map(self._boxes.get, part["path"])
        boxes = [
            box if decision == "anomalous" and (self._boxes is not None or before in same) else None
            for box, decision, before in zip(known, decisions, part["threshold"], strict=True)
        ]
        if self._draws and self._boxes is None:
            self.lost += sum(d == "anomalous" and not b for d, b in zip(decisions, boxes, strict=True))
        return boxes


def flagged(parts: Iterable[Part]) -> list[str]:
    """Lists the paths of the files that are flagged, as they stand in the table.

    Args:
      parts: of a table.

    Returns:
      The paths.
    """
    return [
        path
        for part in parts
        for path, decision in zip(part["path"], part["decision"], strict=True)
        if decision == "anomalous"
    ]
