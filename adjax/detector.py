"""Detectors: a trained network, a fitted scorer and thresholds in one pytree.

A `Detector` is one pytree: normalisation, network parameters, scorer state and thresholds as arrays, and a
small static spec (`adjax.spec`) that says which functions they belong to. So `score`, `predict` and `classify` run
inside other people's `jit`, `vmap` and `grad`; called with plain arrays they run compiled, in batches.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from adjax import crossfit, features, thresholds
from adjax._fitting import check_enough, fit_outputs, fit_streamed, no_distance, sigma_level
from adjax.augment import Normalise
from adjax.conformal import check_number
from adjax.data.io import preprocessing, reading
from adjax.data.io.preprocessing import Preprocessing
from adjax.data.io.scratch import Images, StoredImages, held
from adjax.data.splitting import copies
from adjax.extraction import check, pooled_by, seen
from adjax.extraction import extract as extract
from adjax.extraction import read_by as read_by
from adjax.scorers._logits import answer
from adjax.spec import FunctionSpec, resolve
from adjax.spec import Spec as Spec
from adjax.types import Outputs, PyTree


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["normalise", "params", "scorer", "calibration", "calibration_scores", "threshold"],
    meta_fields=["spec"],
)
@dataclass(frozen=True, eq=False, repr=False)
class Detector:
    """Scores images: higher = more anomalous. Made by `fit` or `detector_from`, read from disk by `adjax.load`.

    The score is the *class-wise quantile* (see `adjax.thresholds`): the lowest level at which the class
    thresholds, moving together, would accept the image; in [0, 1] within the range of the training images of
    some class, above 1 beyond. A threshold of 0.975 on it is the rule of the center-loss paper.

    The methods take any number of images, on the host or a device, and give NumPy arrays; they run compiled,
    in batches, in flat memory. Inside someone's `jit`, `vmap` or `grad` they are pure JAX functions of the
    images, and of the detector, which is a pytree.

    Attributes:
      normalise: pixel values to network input; None: the network takes images as they come.
      params: the network's parameters.
      scorer: the scorer's fitted state.
      calibration: quantiles of the training distances, class by class, each by the fit without that image where the
        scorer has it in closed form; in cross-fitting, of the out-of-fold ones.
      calibration_scores: float32[n], scores of normal images that the fit had not seen, ascending: held out of
        training, or out of fold. n may be 0.
      threshold: float32[], scores that are not ≤ it are anomalous.
      spec: what the arrays belong to.

    Example:
      >>> import adjax
      >>> rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
      >>> detector = adjax.detector_from(None, {}, "mahalanobis", rows[:200], held_out=rows[200:])
      >>> detector.with_false_positive_rate(0.05).predict(rows[:1] + 10)
      array([ True])
    """

    normalise: Normalise | None
    params: PyTree
    scorer: PyTree
    calibration: thresholds.Calibration
    calibration_scores: jax.Array
    threshold: jax.Array
    spec: Spec | FunctionSpec

    @property
    def normal_levels(self) -> jax.Array:
        """The old name of `calibration_scores`."""
        warnings.warn("Detector.normal_levels is now calibration_scores", DeprecationWarning, stacklevel=2)
        return self.calibration_scores

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How picture files become its images, see `adjax.read_images`; None: it takes no pictures."""
        return preprocessing.of_images(self.spec.image_shape, self.spec.dtype, self.spec.frame, **reading.of(self.spec))

    def __repr__(self) -> str:
        spec, unseen = self.spec, getattr(self.calibration_scores, "shape", "?")[-1:]
        try:
            threshold = f"{float(self.threshold):.4g}"
        except TypeError:  # traced, or a stack of detectors
            threshold = "?"
        shape = "×".join(map(str, spec.image_shape))
        return (
            f"Detector({', '.join(spec.names)}; {shape} px, {len(spec.classes)} classes; "
            f"threshold {threshold}, calibrated by {unseen[0]} images)"
        )

    def outputs(self, images: ArrayLike, names: Collection[str] | None = None) -> Outputs:
        """Computes the network's outputs: `features` [N, D], `logits` [N, K], `score` [N], as far as the method gives
        them, and the model's named intermediates.

        Args:
          images: as for `score`.
          names: of the outputs to keep; None: all. A map of features takes h × w × C numbers per image: with many
            images, name what you need.

        Returns:
          The outputs by name, N rows each.

        Raises:
          ValueError: images of another shape or dtype; a name that is not there.
        """
        return self._run(outputs_of if names is None else _named(tuple(names)), images)

    def score(self, images: ArrayLike) -> jax.Array:
        """Scores images, higher = more anomalous.

        Args:
          images: uint8[N, H, W, C], or float in the same range 0..255 (to differentiate by pixels); H, W, C
            as trained.

        Returns:
          float32[N]; NaN where an image holds one, or a pixel that is not finite: `predict` never takes it for normal.

        Raises:
          ValueError: images of another shape or dtype.
        """
        return self._run(_score, images)

    def predict(self, images: ArrayLike) -> jax.Array:
        """Decides which images are anomalous, not (score ≤ threshold): bool[N]."""
        return self._run(_predict, images)

    def classify(self, images: ArrayLike) -> jax.Array:
        """Predicts the class of each image, an index into `spec.classes`: int32[N].

        −1 where a logit is NaN. A method that trains nothing (`gmm`) draws a head that the weights lack: chance.

        Raises:
          ValueError: the method knows no classes.
        """
        return self._run(_classify, images)

    def p_value(self, images: ArrayLike) -> jax.Array:
        """Conformal p-value, the share of normal images at least as anomalous: float32[N] in (0, 1].

        Raises:
          ValueError: the detector was made without held-out normal images.
        """
        if self.calibration_scores.shape[0] == 0:
            raise ValueError("no p-values: this detector was fitted without held-out normal images; give `fit` some")
        return self._run(_p_value, images)

    def maps(self, images: ArrayLike) -> jax.Array:
        """Where each image is anomalous: float32[N, H, W], in the unit of `score` if the scorer has places (its places
        above `threshold` are those that flag the image), else the error of a network that reconstructs.

        Raises:
          ValueError: neither; images of another shape or dtype.
        """
        from adjax import localise  # to the right of this layer: for the user's sake, when called

        return self._run(localise.maps_of, images)

    def uncertain(self, images: ArrayLike, alpha: float, confidence: float = 0.95) -> jax.Array:
        """Tells which decisions another draw of held-out images might have changed, see
        `adjax.thresholds.threshold_interval`.

        Args:
          images: as for `score`.
          alpha: false positive rate of the threshold, in (0, 1).
          confidence: of the interval, in (0, 1).

        Returns:
          bool[N]; False for a score that is not finite.

        Raises:
          ValueError: no held-out normal images; alpha or confidence outside of (0, 1).
        """
        if self.calibration_scores.shape[0] == 0:
            raise ValueError("no uncertainty: this detector was fitted without held-out normal images; give `fit` some")
        interval = thresholds.threshold_interval(self.calibration_scores, alpha, confidence)
        return interval.holds(self.score(images))

    def with_quantile(self, level: float = 0.975) -> Detector:
        """The same detector with each class's threshold at that quantile of its own training distances, as in the
        center-loss paper; of its out-of-fold ones in cross-fitting.

        Raises:
          ValueError: level outside of (0, 1].
        """
        check_number("level", level, "quantile level")
        if not 0 < level <= 1:
            raise ValueError(f"quantile level {level} must lie in (0, 1]")
        return dataclasses.replace(self, threshold=jnp.asarray(level, jnp.float32))

    def with_false_positive_rate(self, alpha: float) -> Detector:
        """The same detector with a conformal threshold: it flags a new normal image with probability ≤ alpha.

        A bound if images were held out; in cross-fitting what is aimed at, see `adjax.crossfit`.

        Raises:
          ValueError: alpha outside of (0, 1), or too few held-out normal images to promise it; says how many
            it takes.
        """
        check_number("alpha", alpha, "false positive rate")
        return dataclasses.replace(self, threshold=thresholds.conformal(self.calibration_scores, alpha))

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the detector to a directory; see `adjax.serialization.save`."""
        from adjax import serialization  # to the right of this layer: for the user's sake, when called

        serialization.save(self, directory)

    def export(self, directory: str | os.PathLike) -> None:
        """Writes it as a StableHLO program that runs without adjax's networks; see `adjax.export.save`."""
        from adjax import export  # as above

        export.save(self, directory)

    def _run(self, function: Callable, images: Images) -> Any:
        check(images, self.spec)
        if any(isinstance(x, jax.core.Tracer) for x in (images, *jax.tree.leaves(self))):
            return function(self, images)
        images = held(images)
        floats = images.dtype != np.uint8 and self.spec.dtype == "uint8"
        if floats and images.size and images.min() >= 0 and 0 < images.max() <= 1:
            warnings.warn(
                f"float images between 0 and {images.max():.3g}: adjax takes pixel values 0..255",
                stacklevel=3,
            )
        size = features.batch_size_of_few(len(images), self.spec.seen_shape)
        return features.apply(_jitted(function), self, images, size)


class NoDistance(ValueError):
    """No training image has a finite distance: the scorer can't be fitted to what this network says."""


def fit(
    spec: Spec | FunctionSpec,
    params: PyTree,
    normalise: Normalise | None,
    images: Images,
    labels: np.ndarray,
    held_out: Images | None = None,
    *,
    folds: int | None = None,
    quantile: float = 0.975,
    sigma: float | None = None,
    outputs: Outputs | None = None,
) -> Detector:
    """Makes a detector from a trained network: fits scorer and class thresholds on the training images.

    Args:
      spec: what to make.
      params: of the trained method, `state["params"]`.
      normalise: as in training.
      images, labels: the training images uint8[N, H, W, C], N ≥ 1, and their classes int[N]. Images in a file
        (`adjax.data.io.scratch`) are read a batch at a time, and outputs of no more than a batch are kept.
      held_out: normal images uint8[n, H, W, C] not trained on, for p-values and conformal thresholds; exact copies of
        one count once.
      folds: cross-fit the scorer in this many folds: calibration, p-values and conformal thresholds are from distances
        of the training images by fits that have not seen them (`adjax.crossfit`; 20 is a good number). Only for a
        network that has not learned from these images. None: the calibration is of the training distances, as in the
        center-loss paper, but each by the scorer's fit without that image where it has one in closed form (Mahalanobis,
        one Gaussian, nearest neighbours, layers of these).
      quantile: level of the class thresholds.
      sigma: if given, the threshold lies that many standard deviations above the mean training distance instead, as
        "log-likelihood below mean − 3σ" asks of a mixture; for scorers with one distance per image.
      outputs: the network's outputs on `images`, if known already (extract once, fit many scorers).

    Returns:
      The detector.

    Raises:
      ValueError: images or labels that don't fit the spec; folds below 2, of fewer than 2 different images, or beside
        held_out; sigma with several distances an image, or not finite.
      NoDistance: no image has a finite distance, and why (a ValueError, too).

    Example:
      >>> from adjax import augment, data
      >>> digits = data.load("digits", "train")
      >>> spec = Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), "0123456789")
      >>> method = resolve(spec).method
      >>> state = jax.jit(method.init)(jax.random.key(0), dict(method.hparams))  # and adjax.loop.train
      >>> normalise = augment.normalise_of(digits.images)
      >>> detector = fit(spec, state["params"], normalise, digits.images[300:], digits.labels[300:],
      ...                held_out=digits.images[:300])
      >>> detector
      Detector(centerloss, lenet5, mahalanobis; 8×8×1 px, 10 classes; threshold 0.975, calibrated by 300 images)
      >>> bool(detector.predict(digits.images[300:]).mean() < 0.03)
      True
      >>> int(detector.with_false_positive_rate(0.01).predict(digits.images[:300]).sum())
      2
    """
    check(images, spec)
    if folds is not None and held_out is not None:
        raise ValueError(f"folds={folds} and held-out images: each calibrates, give one of them")
    classes, labels = len(spec.classes), np.asarray(labels)
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels {labels.dtype}{list(labels.shape)}: must be int[{len(images)}], one per image")
    if len(images) == 0:
        raise ValueError("no image to fit a detector to: give at least 1")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: must lie in 0..{classes - 1}")
    check_enough(spec.names[-1], resolve(spec).scorer.fewest, images, folds)
    none = jnp.zeros(0, jnp.float32)
    streams = resolve(spec).scorer.maps is not None or isinstance(images, StoredImages)
    if outputs is None and (folds is not None or not streams):
        outputs = extract(spec, params, normalise, images, means=pooled_by(spec))
    if folds is None and streams:
        state, calibration, distances = fit_streamed(spec, params, normalise, images, labels, outputs)
        normal = none
    elif folds is None:
        assert outputs is not None
        state, calibration, distances = fit_outputs(dict(outputs), jnp.asarray(labels, jnp.int32), spec=spec)
        normal = none
    else:
        assert outputs is not None
        groups = copies(images)
        state, unseen, calibration, normal, _ = crossfit.fit(
            resolve(spec).scorer, outputs, labels, classes, groups, folds
        )
        distances, normal = unseen[:, 0], normal[np.unique(groups)]
    if not np.isfinite(np.asarray(calibration.knots)).any():
        raise NoDistance(no_distance(spec.names[-1], {} if outputs is None else outputs))
    params = jax.device_put(params)
    if normalise is not None:
        normalise = Normalise(*(jnp.asarray(x, jnp.float32) for x in normalise))
    detector = Detector(normalise, params, state, calibration, jnp.sort(normal), none, spec).with_quantile(quantile)
    if sigma is not None:
        detector = dataclasses.replace(detector, threshold=sigma_level(calibration, distances, sigma, spec))
    if held_out is None:
        return detector
    different = np.unique(copies(held_out))
    return dataclasses.replace(detector, calibration_scores=jnp.sort(jnp.asarray(detector.score(held_out))[different]))


def score_outputs(detector: Detector, outputs: Outputs, compare: bool = False) -> jax.Array:
    """Computes scores from network outputs; a pure function.

    Args:
      detector: a single one.
      outputs: of its network, N rows each.
      compare: as in `adjax.thresholds.class_quantiles`.

    Returns:
      float32[N].
    """
    distances = resolve(detector.spec).scorer.distances(detector.scorer, outputs)
    return thresholds.classwise_quantile(detector.calibration, distances, compare)


def outputs_of(detector: Detector, images: jax.Array) -> Outputs:
    """Computes the network's outputs; a pure function.

    Args:
      detector: a single one.
      images: uint8 or float [N, H, W, C], as for `Detector.score`.

    Returns:
      The outputs by name, N rows each; NaN throughout for an image that has a NaN, or a pixel that is not finite: a
      network may lose it.
    """
    found = resolve(detector.spec).method.outputs(detector.params, seen(detector.normalise, images))
    if not jnp.issubdtype(images.dtype, jnp.floating):
        return found
    odd = ~jnp.isfinite(images) if isinstance(detector.spec, Spec) else jnp.isnan(images)
    broken = odd.any(tuple(range(1, images.ndim)))

    def marked(x: jax.Array) -> jax.Array:
        rows = broken.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(rows, jnp.asarray(jnp.nan, x.dtype), x) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return {name: marked(x) for name, x in found.items()}


@functools.lru_cache
def _named(names: tuple[str, ...]) -> Callable:
    def function(detector: Detector, images: jax.Array) -> Outputs:
        said = outputs_of(detector, images)
        for name in names:
            if name not in said:
                raise ValueError(f"no output {name!r}; the network gives {', '.join(said)}")
        return {name: said[name] for name in names}

    return function


def _score(detector, images):
    return score_outputs(detector, outputs_of(detector, images))


def _predict(detector, images):
    return thresholds.is_anomalous(_score(detector, images), detector.threshold)


def _classify(detector, images):
    outputs = outputs_of(detector, images)
    if "logits" not in outputs:
        network = detector.spec.names[0]
        raise ValueError(f"{network!r} gives no logits, which `classify` needs: use `score` or `predict`")
    return answer(outputs["logits"])


def _p_value(detector, images):
    return thresholds.p_value(detector.calibration_scores, _score(detector, images))


_jitted = functools.lru_cache(jax.jit)
