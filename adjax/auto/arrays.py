"""An array of normal images to a detector, as `python -m adjax train` makes one of a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from adjax.auto import fit, plan, select
from adjax.data import words
from adjax.data.io.upload import Header
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.pipeline import training_steps
from adjax.spec import Precision


def train_detector(
    images: np.ndarray,
    labels: Sequence[Any] | np.ndarray | None = None,
    *,
    method: str | None = None,
    model: str | None = None,
    scorer: str | None = None,
    weights: str | None = None,
    held_out: float | None = None,
    false_positive_rate: float = 0.05,
    steps: int | None = None,
    seed: int = 0,
    precision: Precision = "default",
    report: Callable[[int, dict[str, np.ndarray]], None] = lambda step, metrics: None,
) -> Detector:
    """Trains a detector on normal images, and sets a threshold that keeps its promise on images that it has not seen.

    What is not named is chosen as `python -m adjax train` chooses it, from the number, size and classes of the images
    (`adjax.auto.plan`): a pre-trained network's features for fewer than 1,000 images or above 64 px, else center loss
    for classes and an autoencoder without.

    Args:
      images: uint8[N, H, W, C], normal, C = 1 or 3; at least 50 different ones, or 10 for a network that is not
        trained. Copies, exact or near, count once for the threshold and lie on one side of the split.
      labels: the class of each, [N] of numbers or strings; None: one class.
      method: a name in `adjax.methods.METHODS` that learns without labelled anomalies.
      model, scorer: names in `adjax.models.MODELS` and `adjax.scorers.SCORERS`.
      weights: of a pre-trained network: the path of a file, or "random" to draw them; None: the published ones.
      held_out: share of the images, in (0, 1), kept from training for the threshold and p-values; more, if the rate
        takes more. Where too few can be kept, and the network is not trained, the scorer is cross-fitted to all of them
        instead (`adjax.crossfit`). None: a fifth; of fewer than 100, to a network that is not trained, none.
      false_positive_rate: share of normal images, in (0, 1), that the threshold may flag on average (conformal).
      steps: of the optimiser, at least 1, for a network that is trained; None: by the number of images.
      seed: of all draws, 0 … 2³¹ − 1.
      precision: of the detector's network: "highest" computes it in float32 on every device, so that scores are the
        same on all; "default" lets accelerators round, which is faster there. On a CPU there is no difference.
      report: called with (steps done, metrics) while it trains.

    Returns:
      The detector; `detector.predict` flags what lies above its threshold, `detector.save` keeps it.

    Warns:
      UserWarning: images that are copies of others; published weights that can't be had.

    Raises:
      ValueError: an argument out of its range, too few images, a method that can't do with them, or steps of one that
        trains no network, named or chosen.
      WeightsError: weights that were named and are not to be found.

    Example:
      >>> import adjax
      >>> digits = adjax.data.load("digits", "train")
      >>> zeros = digits.images[digits.labels == 0]
      >>> detector = train_detector(zeros, method="hog_ocsvm")
      >>> detector
      Detector(hog_ocsvm, hog, ocsvm; 8×8×1 px, 1 classes; threshold 10.96, calibrated by 26 images)
      >>> bool(detector.predict(digits.images[digits.labels != 0]).mean() > 0.9)
      True
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(
            f"images {images.dtype}{list(images.shape)}: must be uint8[N, H, W, C], 0 = black and 255 = white, "
            "with 1 or 3 channels"
        )
    shares = {"false_positive_rate": false_positive_rate} | ({} if held_out is None else {"held_out": held_out})
    for name, value in shares.items():
        if not (isinstance(value, Real) and 0 < value < 1):
            raise ValueError(f"{name}={value!r}: must be a share in (0, 1)")
    if steps is not None and not (isinstance(steps, Integral) and steps >= 1):
        raise ValueError(f"steps={steps!r}: must be a whole number, at least 1")
    if not (isinstance(seed, Integral) and 0 <= seed < 2**31):
        raise ValueError(f"seed={seed!r}: must be a whole number from 0 to 2³¹ − 1")
    index, classes = _classes(labels, len(images))
    if len(images) < fit.FEWEST_CROSSED:
        raise DataError(fit.too_few(len(images)))
    height, width, channels = images.shape[1:]
    asked = plan.UserChoices(method, model, scorer, None, weights, precision=precision)
    header = Header(height, width, channels, "")
    planned = plan.choose([header] * len(images), len(classes), asked, (height, width, channels))
    plan.check_steps(planned, asked, steps)
    for why in planned.why:
        if plan.NO_WEIGHTS in why:
            warnings.warn(why, stacklevel=2)
    parts = fit.hold_out(index, false_positive_rate, seed, images, held_out, planned.frozen)
    if told := parts.told():
        warnings.warn(told, stacklevel=2)
    outputs = None
    if planned.selects:
        planned, outputs = select.refined(planned, images[parts.train], index[parts.train], classes, seed)
    length = training_steps(planned.method, len(parts.train), planned.batch_size, steps)
    trained = fit.fit(
        planned,
        images,
        index,
        classes,
        parts,
        alpha=false_positive_rate,
        steps=length,
        seed=seed,
        outputs=outputs,
        report=report,
    )
    return trained.detector


def _classes(labels: Any, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """int32[n], and the names of the classes."""
    if labels is None:
        return np.zeros(n, np.int32), ("normal",)
    given = np.asarray(labels)
    if given.shape != (n,):
        raise ValueError(f"labels of shape {given.shape}: must be [{n}], one for each image")
    if np.issubdtype(given.dtype, np.number) and (np.isnan(given).any() or given.min(initial=0) < 0):
        raise ValueError(
            f"labels down to {given.min()}: all images are normal here, so a label is a class, at least 0. For methods "
            "that learn from labelled anomalies see adjax.sklearn.ImageOutlierDetector"
        )
    if np.issubdtype(given.dtype, np.floating) and (odd := given[given != np.floor(given)]).size:
        raise ValueError(f"labels hold {odd[0]}: a label is the class of a normal image, a whole number or a string")
    if given.dtype == bool or (given.dtype == object and not all(isinstance(x, str) for x in given)):
        raise ValueError(f"labels of dtype {given.dtype}: must be numbers or strings, the class of each normal image")
    names, index = np.unique(given, return_inverse=True)
    if odd := [str(name) for name in names if words.verdict(words.tokens(str(name))) == words.ANOMALOUS]:
        raise ValueError(f"labels say {odd[0]!r}: all images are normal here; leave the others out, to test with them")
    return index.astype(np.int32), tuple(map(str, names))
