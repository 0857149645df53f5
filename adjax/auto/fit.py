"""Trains the plan, and sets a conformal threshold by held-out normal images.

If the network is not trained, and images are too few to hold enough out, the scorer is cross-fitted instead
(`adjax.crossfit`): it is fitted to all, and each calibrates by a fit without it.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from adjax import baselines, crossfit, localise, loop, metrics, pixel_metrics, thresholds
from adjax.augment import Augment
from adjax.auto.plan import FROZEN, TrainingPlan
from adjax.data.copies import near_copies
from adjax.data.io.scratch import Images, blocks
from adjax.data.split import DataError
from adjax.data.splitting import validation_split
from adjax.detector import Detector
from adjax.pipeline import train_one
from adjax.surface import words
from adjax.types import Outputs, PyTree

FEWEST, FEWEST_CROSSED, MANY = 50, 10, 100
"""The least that can be learned from: where images are held out, and where they are cross-fitted. From MANY on some can
be spared; with fewer, a scorer finds less for want of those held out."""
HELD_OUT, FEWEST_HELD_OUT, FEWEST_TRAINED = 0.2, 20, 30
"""Share of the normal images that calibrates, and the least of either part."""

MAPPED = 256
"""Pictures whose maps are held at full size."""


class Stopped(Exception):
    """Training was asked to stop, by `signal`; nothing is kept of it."""

    def __init__(self, signal: int):
        super().__init__(f"stopped by signal {signal}")
        self.signal = signal


class Parts(NamedTuple):
    """What is learned from, and what calibrates.

    Attributes:
      train: rows of the normal images to learn from.
      held_out: rows that set the threshold, no two of them copies; none: the rows to learn from are cross-fitted.
      copies: how many images are copies of another, exact or near (`adjax.data.copies`).
    """

    train: np.ndarray
    held_out: np.ndarray
    copies: int = 0

    @property
    def crossed(self) -> bool:
        """Whether the images to learn from calibrate themselves, by cross-fitting."""
        return not len(self.held_out)

    @property
    def calibrating(self) -> int:
        """How many images the threshold is taken from, no two of them copies."""
        return len(self.train) if self.crossed else len(self.held_out)

    def promise(self, alpha: float) -> str:
        """What the threshold says of fresh normal images, for people; `alpha`: the rate that it was set for."""
        least = 1 / (self.calibrating + 1)
        if self.crossed:
            rate = math.floor(alpha / least * (1 + 1e-12)) * least
            return (
                f"about {rate:.2%} of normal images like these will be flagged, on average (cross-fitted: each of the "
                f"{self.calibrating:,} different images scored by a fit without it; no bound, as held-out ones give; "
                f"{alpha:.2%} was asked for, and the rate is a multiple of {least:.2%})"
            )
        return (
            f"at most {alpha:.2%} of normal images like these will be flagged, on average (conformal, "
            f"{self.calibrating:,} held out, which could promise {least:.2%})"
        )

    def told(self) -> str | None:
        """What became of copies, for people; None: there are none."""
        if not self.copies:
            return None
        done = "left out" if self.crossed else "trained on or held out together with it, and held-out ones count once"
        return f"{self.copies:,} pictures, as the network sees them, are copies of another, exact or near: {done}"


def hold_out(
    labels: np.ndarray,
    alpha: float,
    seed: int,
    images: Images | None = None,
    share: float | None = None,
    frozen: bool = False,
) -> Parts:
    """Sets normal images aside, class by class, as many as the promise takes: n ≥ 1/α − 1 (see `thresholds.conformal`).

    Copies of an image count once, and lie on one side: no image calibrates whose copy was trained on, and none twice.

    Args:
      labels: int[N], N ≥ 50 of different images; of a frozen network N ≥ 10.
      alpha: the false-positive rate to promise.
      seed: of the draw.
      images: uint8[N, H, W, C]. None: no two of them are copies.
      share: to set aside if the promise takes no more, in (0, 1). None: a fifth, and of fewer than 100 for a frozen
        network none.
      frozen: the network is not trained: where too few can be held out none is, and all are cross-fitted.

    Returns:
      The `Parts`: rows to train on and rows held out.

    Raises:
      DataError: too few images, or too few for that rate.
    """
    if not 0 < alpha < 1:
        given = words(f"--false-positive-rate {alpha}", f"false_positive_rate={alpha}")
        raise DataError(f"{given}: must lie between 0 and 1")
    groups = np.arange(len(labels)) if images is None else near_copies(images)
    different = np.unique(groups)
    n, copies = len(different), len(labels) - len(different)
    needed, spare = thresholds.needed(alpha), n - FEWEST_TRAINED
    crossed = frozen and (n < (MANY if share is None else FEWEST) or spare < needed)
    share = HELD_OUT if share is None else share
    if n < (FEWEST_CROSSED if crossed else FEWEST):
        raise DataError(too_few(n, copies))
    count = max(round(share * n), FEWEST_HELD_OUT, needed)
    if needed <= spare < count and not crossed:
        raise DataError(
            f"holding out {share:g} of {n} images leaves {n - count} to train on, and {FEWEST_TRAINED} are needed: "
            f"give held_out={math.floor(100 * spare / n) / 100:g} at most"
        )
    if (n if crossed else spare) < needed:
        some = f"the {n} different ones" if copies else f"{n}"
        there = (
            f"different images to cross-fit, and there are {n}"
            if crossed
            else (f"held-out images, and of {some} only {spare} can be spared")
        )
        raise DataError(
            f"a false-positive rate of {alpha:g} takes {needed} {there}. The way forward: give more images, or "
            f"{_rate(n if crossed else spare)}"
        )
    classes, counts = np.unique(labels[different], return_counts=True)
    if counts.min() < 2:
        together = words("take them as one by --one-class", "take them as one class, labels=None")
        raise DataError(f"a class of {counts.min()} image: give each at least 2, or {together}")
    if crossed:
        return Parts(different, different[:0], copies)
    train_rows, held_out = validation_split(labels, count / n, seed, groups)
    held_out = np.intersect1d(held_out, different)
    if len(held_out) < needed:  # rounded class by class
        train_rows, held_out = validation_split(labels, min((count + len(classes)) / n, 0.5), seed, groups)
        held_out = np.intersect1d(held_out, different)
    return Parts(train_rows, held_out, copies)


def too_few(n: int, copies: int = 0) -> str:
    """Message that there are too few normal images.

    Args:
      n: how many different ones there are.
      copies: copies of them beside, which don't count.

    Returns:
      The text.
    """
    beside = f" beside {copies:,} copies of them" if copies else ""
    have = f"{n} {'different ' if copies else ''}normal images that can be read{beside}"
    if n >= FEWEST_CROSSED:
        name = words("leave out --method, or --method gmm", "leave out method, or method='gmm'")
        return (
            f"{have}: at least {FEWEST} are needed to train a network, {FEWEST_HELD_OUT} of them to calibrate. The way "
            f"forward: {name} takes a network that is not trained ({', '.join(FROZEN)}), from {FEWEST_CROSSED} on"
        )
    return (
        f"{have}: at least {FEWEST_CROSSED} are needed, and {thresholds.needed(0.05)} for a false-positive rate of "
        f"5 %. The way forward: take {FEWEST_CROSSED - n} more, of other parts or the same in other positions; copies, "
        f"turned or cropped ones count for nothing"
    )


def _rate(n: int) -> str:
    """The least rate that n images can promise, as an option."""
    rate = math.ceil(1000 / (n + 1)) / 1000
    return words(f"--false-positive-rate {rate:.3f}", f"false_positive_rate={rate:.3f}")


class Fitted(NamedTuple):
    """`detector`; `trained_steps`: 0 if nothing was trained."""

    detector: Detector
    trained_steps: int


def fit(
    plan: TrainingPlan,
    images: Images,
    labels: np.ndarray,
    classes: tuple[str, ...],
    parts: Parts,
    *,
    alpha: float,
    steps: int,
    seed: int = 0,
    params: PyTree | None = None,
    outputs: Outputs | None = None,
    report: Callable[[int, dict[str, np.ndarray]], None] = lambda step, metrics: None,
) -> Fitted:
    """Trains a detector.

    Args:
      plan: what to train.
      images: uint8[N, H, W, C], normal.
      labels: int32[N], 0 … K−1.
      classes: the K names.
      parts: rows trained on and rows held out.
      alpha: the false-positive rate that the threshold promises.
      steps: of training; ignored by a method that trains nothing.
      seed: of the weights, the order and the augmentation.
      params: of the network, which is trained already; None: it is trained here.
      outputs: of a network that is not trained on `parts.train`, if known already, see `select.refined`.
      report: as of `adjax.loop.train`.

    Returns:
      A `Fitted`.

    Raises:
      Stopped: SIGINT or SIGTERM came while it trained.
    """
    main = threading.current_thread() is threading.main_thread()  # which alone may ask for signals
    with loop.StopSignal() if main else contextlib.nullcontext() as stop:
        detector, trained_steps = train_one(
            plan.recipe,
            images,
            labels,
            classes,
            parts.train,
            parts.held_out,
            steps=steps,
            batch_size=plan.batch_size,
            hparams=plan.hparams,
            seed=seed,
            folds=crossfit.FOLDS if parts.crossed else None,
            params=params,
            outputs=outputs,
            augment=Augment(shift_px=plan.shift_px),
            stop=stop,
            report=report,
        )
    if stop is not None and stop.received is not None:
        raise Stopped(stop.received)
    return Fitted(detector.with_false_positive_rate(alpha), trained_steps)


class Pixels(NamedTuple):
    """How well maps show where, over all normal images and those whose masks are known, see `adjax.pixel_metrics`.

    Attributes:
      masks: how many.
      auroc: of pixels.
      aupro, aupro_small: per-region overlap to a false-positive rate of 0.3, and of 0.05.
      empty: how many of the masks mark nothing of what the network sees.
    """

    masks: int
    auroc: float
    aupro: float
    aupro_small: float
    empty: int = 0


class Evaluation(NamedTuple):
    """How well it does on images that were not learned from.

    Attributes:
      auroc: value and DeLong's 95 % limits.
      aupr, fpr95: see `adjax.metrics`.
      flagged: share of the anomalies above the threshold; false_alarms: of the normal images.
      normal, anomalous: how many.
      pixels: of the maps, where masks mark something, the scorer has places and normal images are at hand; None
        elsewhere.
      baselines: AUROC of each of `adjax.baselines`, on the same images; empty where no normal ones are at hand.
      copied: how many of the normal images are exact copies of some that were learned from, or calibrate.
      contradicted: how many of the anomalies are exact copies of normal images.
    """

    auroc: tuple[float, float, float]
    aupr: float
    fpr95: float
    flagged: float
    false_alarms: float
    normal: int
    anomalous: int
    pixels: Pixels | None = None
    baselines: Mapping[str, float] = MappingProxyType({})
    copied: int = 0
    contradicted: int = 0

    @property
    def warnings(self) -> list[str]:
        """What copies make of the figures, for people."""
        found, exact = [], "exact copies, as the network sees them, of"
        if self.copied:
            found.append(
                f"{self.copied:,} of the {self.normal:,} normal test images are {exact} images to train on: it knows "
                "them, and the figures are flattered. Take them out of one of the two"
            )
        if self.contradicted:
            found.append(
                f"{self.contradicted:,} of the {self.anomalous:,} anomalies are {exact} normal images: the labels "
                "contradict each other, and these can't be found. Take them out of one of the two"
            )
        return found

    @property
    def beaten_by(self) -> str | None:
        """The baseline that does better, if one does."""
        best = max(self.baselines, key=self.baselines.__getitem__, default=None)
        return best if best is not None and self.baselines[best] > self.auroc[0] else None


def evaluate(
    detector: Detector,
    normal: Images | None,
    anomalous: Images,
    masks: Mapping[int, np.ndarray] | None = None,
    train: Images | None = None,
) -> Evaluation:
    """Computes figures on uint8 images [n, H, W, C] of both kinds, at least one each.

    Args:
      detector: to evaluate.
      normal, anomalous: the images; normal None: those that calibrated.
      masks: of some of the anomalous ones, bool[H, W] by their number.
      train: the normal images that it learned from, for the baselines; None: without them.

    Returns:
      The figures, an `Evaluation`.
    """
    levels = detector.calibration_scores if normal is None else detector.score(normal)
    return of_scores(
        float(detector.threshold),
        np.asarray(levels),
        np.asarray(detector.score(anomalous)),
        _pixels(detector, normal, anomalous, masks or {}),
        {} if normal is None or train is None else baselines.aurocs(normal, anomalous, train),
    )


def of_scores(
    threshold: float,
    levels: np.ndarray,
    anomalous: np.ndarray,
    pixels: Pixels | None = None,
    trivial: Mapping[str, float] = MappingProxyType({}),
) -> Evaluation:
    """Computes figures from scores of both kinds, at least one each.

    Args:
      threshold: of the detector.
      levels, anomalous: float32[n], scores of normal and of anomalous images.
      pixels, trivial: figures that are known already.

    Returns:
      The figures, an `Evaluation`.
    """
    scores = np.concatenate([levels, anomalous])
    truth = np.repeat([0, 1], [len(levels), len(anomalous)])
    flagged = ~(scores <= threshold)
    value, low, high = (float(x) for x in metrics.auroc_interval(jnp.asarray(scores), truth))
    return Evaluation(
        (value, low, high),
        float(metrics.aupr(scores, truth)),
        float(metrics.fpr_at_tpr(scores, truth, positive="anomalous")),
        float(flagged[truth == 1].mean()),
        float(flagged[truth == 0].mean()),
        len(levels),
        len(anomalous),
        pixels,
        dict(trivial),  # train.json holds it
    )


def _pixels(
    detector: Detector, normal: Images | None, anomalous: Images, masks: Mapping[int, np.ndarray]
) -> Pixels | None:
    rows, marked = sorted(masks), sum(bool(mask.any()) for mask in masks.values())
    if normal is None or not marked or localise.kind(detector) != "score":
        return None
    size = (len(normal) + len(rows)) * math.prod(normal.shape[1:3])
    step = math.ceil((size / pixel_metrics.MOST_PIXELS) ** 0.5)  # of many pictures every second, third, … pixel
    found = [
        np.asarray(detector.maps(block))[:, ::step, ::step]
        for images in (normal, anomalous[np.array(rows)])
        for block in blocks(images, MAPPED)
    ]
    maps, truth = np.concatenate(found), np.stack([masks[row][::step, ::step] for row in rows])
    truth = np.concatenate([np.zeros((len(normal), *truth.shape[1:]), bool), truth])
    aupro, small = (float(pixel_metrics.aupro(maps, truth, limit)) for limit in (0.3, 0.05))
    return Pixels(len(rows), float(pixel_metrics.pixel_auroc(maps, truth)), aupro, small, len(rows) - marked)
