"""Contents of a report. Only a title is required; a section appears if it has data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Cell = str | float | int | None
"""Numbers are shown as they are; text is shown as text, whatever it holds."""


class Figure(NamedTuple):
    """A headline figure: "AUROC", "0.9956", "0.9950–0.9962", "95% interval, DeLong"."""

    name: str
    value: str
    interval: str = ""
    about: str = ""


class Table(NamedTuple):
    """Columns and rows of cells. `kinds`, one per row, sets a row apart: "own", "baseline", "reference" or ""."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    kinds: Sequence[str] = ()
    caption: str = ""


class Sweep(NamedTuple):
    """A hyper-parameter against figures: `metrics` is title -> [(mean, standard deviation, n), one per value]."""

    name: str
    values: Sequence[float]
    metrics: Mapping[str, Sequence[tuple[float, float, int]]]


@dataclass(frozen=True)
class Pictures:
    """Some of a view's images, small enough to be looked at; see `adjax.report.choose` for which.

    Attributes:
      rows: int[k], which images of the view these are.
      images: uint8[k, h, w, c], c = 1 or 3; or k of them, each of its own size.
      reconstructions: as `images`: what the network makes of them.
      maps: float[k, a, b], higher where an image is odder; any resolution.
      names: k file names.
      overlays: as `images`: what `adjax.overlays` draws on them; None for one that has none.
    """

    rows: np.ndarray
    images: np.ndarray | Sequence[np.ndarray]
    reconstructions: np.ndarray | None = None
    maps: np.ndarray | None = None
    names: Sequence[str] = ()
    overlays: Sequence[np.ndarray | None] | None = None


@dataclass(frozen=True)
class View:
    """Scores of one set of images by one detector.

    Attributes:
      name: what tells it from the other views.
      scores: float32[N], higher = more anomalous; NaN is above all.
      threshold: what is not ≤ it is flagged.
      truth: int[N], 1 = anomalous; None where nobody knows.
      labels: int[N], index into `classes`; -1: of none of them.
      classes: names.
      stranger: name of anomalies without a class.
      held_out: float32[n], scores of normal images that nothing was fitted to: p-values and calibration.
      nominal: the share of normal images that the threshold is meant to flag, if it is meant to.
      features: float32[N, 2], a plane of feature space (NaN: not shown), and what it is.
      features_about: what the plane is, in a sentence.
      pictures: some of the images.
    """

    name: str
    scores: np.ndarray
    threshold: float
    truth: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: Sequence[str] = ()
    stranger: str = "others"
    held_out: np.ndarray | None = None
    nominal: float | None = None
    features: np.ndarray | None = None
    features_about: str = ""
    pictures: Pictures | None = None

    def __post_init__(self) -> None:
        for name in ("truth", "labels", "features"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.scores):
                raise ValueError(f"view {self.name!r}: {len(value)} {name}, but {len(self.scores)} scores")


@dataclass(frozen=True)
class Report:
    """Everything on the page, from top to bottom.

    Attributes:
      title: of the page.
      lead: a sentence or two below it.
      note: what must not be overlooked (stand-in data, random weights), in red.
      figures: the headline.
      headline: the figures beside baselines and others' figures.
      views: sets of scores; the first is shown first, the ROC curves of all.
      members: a row for each class, fold or seed.
      sweep: figures against a hyper-parameter.
      errors: files that could not be scored, and why.
      facts: heading -> (name, value) pairs: timing, configuration, versions, hashes.
      command: reproduces it.
    """

    title: str
    lead: str = ""
    note: str = ""
    figures: Sequence[Figure] = ()
    headline: Table | None = None
    views: Sequence[View] = ()
    members: Table | None = None
    sweep: Sweep | None = None
    errors: Table | None = None
    facts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    command: str = ""
