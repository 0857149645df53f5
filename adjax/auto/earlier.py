"""An earlier run of `python -m adjax train`, whose network another scorer is fitted to.

The network's parameters are those of the run; the pictures are read again from where they were, and must be the same
to the last pixel, label and side of the split. So the detector is the one that `train --scorer NAME` makes, bit for
bit, and what calibrates has not been trained on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adjax import manifest, serialization
from adjax.auto import fit, record
from adjax.auto.plan import TrainingPlan
from adjax.auto.scan_folder import Layout
from adjax.data import Split, digest
from adjax.data.io import upload
from adjax.data.io.scratch import Images
from adjax.data.split import DataError
from adjax.detector import Detector


class Earlier(NamedTuple):
    """A run.

    Attributes:
      directory: of its detector.
      detector: that it made.
      record: its train.json.
    """

    directory: Path
    detector: Detector
    record: Mapping[str, Any]

    def applied(
        self,
        planned: TrainingPlan,
        found: Layout,
        parts: fit.Parts,
        images: Images,
        labels: np.ndarray,
        rows: np.ndarray,
    ) -> TrainingPlan:
        """Says in a plan whose network it takes, after checking that all but the scorer is as it was.

        Args:
          planned: with another scorer.
          found: the files.
          parts: rows that are learned from, and that calibrate.
          images, labels: what was read, uint8[N, H, W, C] and int32[N].
          rows: which of the files they are, int[N].

        Returns:
          The `TrainingPlan`.

        Raises:
          DataError: what differs, and what to do.
        """
        spec = self.detector.spec
        base = Path(self.record["directory"])
        now = {
            "method": (self.record["method"], planned.method),
            "model": (self.record["model"], planned.model),
            "image shape": (spec.image_shape, planned.shape),
            "frame": (spec.frame, planned.frame),
            "classes": (spec.classes, found.classes),
            "pixels and labels": (self.record["data_sha256"], digest(Split(images, labels))),
        }
        for name, index in (("trained_on", parts.train), ("held_out", parts.held_out)):
            before = [str(base / path) for path in self.record[name]]
            now[f"pictures {name}"] = (before, [upload.text(str(found.files[rows[i]])) for i in index])
        for name, (before, after) in now.items():
            if before != after:
                values = "" if len(f"{before}{after}") > 100 else f", {before} then and {after} now"
                raise DataError(
                    f"{self.directory} was trained otherwise: its {name} differ{values}. Only the scorer may: give the "
                    "pictures of then, or train again by `python -m adjax train`"
                )
        sha256 = manifest.digest(self.directory)
        why = f"the network of {self.directory} (manifest {sha256[:16]}…) as it is; only the scorer is fitted again"
        return replace(planned, why=(*planned.why, why))

    def told_of_tests(self, found: Layout) -> str | None:
        """A line for people where this run was evaluated on other pictures than those of now.

        Args:
          found: the files of now.

        Returns:
          The line, or None: they are the same, or the run is of a version that didn't write them down.
        """
        if (kept := self.record.get("evaluated_on")) is None:
            return None
        base = Path(self.record["directory"])
        then = {(kind, str(base / path)): sha256 for kind, files in kept.items() for path, sha256 in files.items()}
        now = {
            (kind, path): sha256 for kind, files in record.evaluated_on(found).items() for path, sha256 in files.items()
        }
        added, gone = (len(a.keys() - b.keys()) for a, b in ((now, then), (then, now)))
        changed = sum(now[one] != then[one] for one in now.keys() & then.keys())
        if not added + gone + changed:
            return None
        return (
            f"WARNING: the figures are of other test pictures than those of {self.directory}: {added:,} added, "
            f"{gone:,} gone, {changed:,} changed; to compare the two, train again, or put the pictures back"
        )


def read(directory: Path) -> Earlier:
    """Reads a run.

    Args:
      directory: of a detector that `python -m adjax train` wrote.

    Returns:
      An `Earlier`.

    Raises:
      DataError: its train.json is missing, or is of an earlier version, which doesn't hold the command.
      ArtefactError: no detector there.
    """
    detector = serialization.load(directory)
    try:
        found = json.loads((directory / record.NAME).read_text(encoding="utf-8"))
        complete = isinstance(found["arguments"], list) and isinstance(found["directory"], str)
    except (OSError, ValueError, TypeError, KeyError):
        complete = False
    if not complete:
        raise DataError(
            f"{directory / record.NAME} doesn't say by which command it was trained: only a detector of `python -m "
            "adjax train` of this version can be refitted; train again with --scorer"
        )
    return Earlier(directory, detector, found)
