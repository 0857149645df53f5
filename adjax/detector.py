"""Where method, scorer and threshold meet: what a user keeps.

A `Detector` is one pytree: preprocessing, network parameters, scorer state and thresholds as arrays, and a
small static `Spec` that says which functions they belong to. So `score`, `predict` and `classify` run inside
other people's `jit`, `vmap` and `grad`; called with plain arrays they run compiled, in batches.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from adjax import features, methods, models, scorers, thresholds
from adjax.augment import Normalise
from adjax.types import Method, Outputs, PyTree, Scorer


@dataclass(frozen=True)
class Spec:
    """Which functions a detector's arrays belong to. Hashable, and all JSON.

    Attributes:
      method, model, scorer: names in the registries.
      image_shape: (height px, width px, channels); any sequence will do.
      classes: names of the classes, in the order of the labels; any sequence.
      scorer_options, method_options, model_options: keyword arguments of the scorer, the method and the model, as
        sorted (name, value) pairs; a dict will do.
    """

    method: str
    model: str
    scorer: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    scorer_options: tuple[tuple[str, Any], ...] = ()
    method_options: tuple[tuple[str, Any], ...] = ()
    model_options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        height, width, channels = (operator.index(n) for n in self.image_shape)
        canonical = {
            "image_shape": (height, width, channels),
            "classes": tuple(self.classes),
            "scorer_options": _sorted(self.scorer_options),
            "method_options": _sorted(self.method_options),
            "model_options": _sorted(self.model_options),
        }
        for name, value in canonical.items():
            object.__setattr__(self, name, value)


def _sorted(options: Any) -> tuple[tuple[str, Any], ...]:
    """Options as sorted pairs; a list, as JSON has it, is a tuple again, so that the spec can be hashed."""

    def plain(value: Any) -> Any:
        return tuple(map(plain, value)) if isinstance(value, list | tuple) else value

    return tuple(sorted((str(k), plain(v)) for k, v in dict(options).items()))


class Parts(NamedTuple):
    """The functions that a `Spec` names."""

    method: Method
    scorer: Scorer


@functools.lru_cache
def parts(spec: Spec) -> Parts:
    """The functions that a spec names. Training settings don't matter: it is `outputs` that is used."""
    network = models.make(spec.model, spec.image_shape, len(spec.classes), **dict(spec.model_options))
    options = dict(spec.method_options)
    method = methods.make(spec.method, network, spec.image_shape, len(spec.classes), steps=1, **options)
    return Parts(method, scorers.make(spec.scorer, **dict(spec.scorer_options)))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["normalise", "params", "scorer", "calibration", "normal_levels", "threshold"],
    meta_fields=["spec"],
)
@dataclass(frozen=True, eq=False, repr=False)
class Detector:
    """Scores images: higher = more anomalous. Made by `fit`, read from disk by `adjax.load`.

    The score is the *common quantile* (see `adjax.thresholds`): the lowest level at which the class
    thresholds, moving together, would accept the image; in [0, 1] within the range of the training images of
    some class, above 1 beyond. A threshold of 0.975 on it is the rule of the center-loss paper.

    The methods take any number of images, on the host or a device, and give NumPy arrays; they run compiled,
    in batches, in flat memory. Inside someone's `jit`, `vmap` or `grad` they are pure JAX functions of the
    images, and of the detector, which is a pytree.

    Attributes:
      normalise: pixel values to network input.
      params: the network's parameters.
      scorer: the scorer's fitted state.
      calibration: quantiles of the training distances, class by class.
      normal_levels: float32[n], scores of normal images held out of training, ascending; n may be 0.
      threshold: float32[], scores that are not ≤ it are anomalous.
      spec: what the arrays belong to.
    """

    normalise: Normalise
    params: PyTree
    scorer: PyTree
    calibration: thresholds.Calibration
    normal_levels: jax.Array
    threshold: jax.Array
    spec: Spec

    def __repr__(self) -> str:
        spec, held_out = self.spec, getattr(self.normal_levels, "shape", "?")[-1:]
        try:
            threshold = f"{float(self.threshold):.4g}"
        except TypeError:  # traced, or a stack of detectors
            threshold = "?"
        shape = "×".join(map(str, spec.image_shape))
        return (
            f"Detector({spec.method}, {spec.model}, {spec.scorer}; {shape} px, {len(spec.classes)} classes; "
            f"threshold {threshold}, {held_out[0]} images held out)"
        )

    def outputs(self, images: ArrayLike) -> Outputs:
        """What the network says: `features` [N, D], `logits` [N, K], `score` [N], whichever the method gives, and the
        model's named intermediates."""
        return self._run(_outputs, images)

    def score(self, images: ArrayLike) -> jax.Array:
        """How anomalous each image is.

        Args:
          images: uint8[N, H, W, C], or float in the same range 0..255 (to differentiate by pixels); H, W, C
            as trained.

        Returns:
          float32[N]; NaN where an image holds one, which `predict` never takes for normal.

        Raises:
          ValueError: images of another shape or dtype.
        """
        return self._run(_score, images)

    def predict(self, images: ArrayLike) -> jax.Array:
        """bool[N]: True = anomalous, that is, not (score ≤ threshold)."""
        return self._run(_predict, images)

    def classify(self, images: ArrayLike) -> jax.Array:
        """int32[N]: the class that the network takes each image for, an index into `spec.classes`.

        Raises:
          ValueError: the method knows no classes.
        """
        return self._run(_classify, images)

    def p_value(self, images: ArrayLike) -> jax.Array:
        """float32[N] in (0, 1]: conformal p-value, the share of normal images at least as anomalous.

        Raises:
          ValueError: the detector was made without held-out normal images.
        """
        if self.normal_levels.shape[0] == 0:
            raise ValueError("no p-values: this detector was fitted without held-out normal images; give `fit` some")
        return self._run(_p_value, images)

    def with_quantile(self, level: float = 0.975) -> Detector:
        """The same detector with each class's threshold at that quantile of its own training distances."""
        if not 0 < level <= 1:
            raise ValueError(f"quantile level {level} must lie in (0, 1]")
        return dataclasses.replace(self, threshold=jnp.asarray(level, jnp.float32))

    def with_false_positive_rate(self, alpha: float) -> Detector:
        """The same detector with a conformal threshold: it flags a new normal image with probability ≤ alpha.

        Raises:
          ValueError: alpha outside of (0, 1), or too few held-out normal images to promise it; says how many
            it takes.
        """
        return dataclasses.replace(self, threshold=thresholds.conformal(self.normal_levels, alpha))

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the detector to a directory; see `adjax.artefact.save`."""
        from adjax import artefact  # to the right of this layer: for the user's sake, when called

        artefact.save(self, directory)

    def _run(self, function: Callable, images: ArrayLike) -> Any:
        _check(images, self.spec)
        if any(isinstance(x, jax.core.Tracer) for x in (images, *jax.tree.leaves(self))):
            return function(self, images)
        images = np.asarray(images)
        if images.dtype != np.uint8 and images.size and images.min() >= 0 and 0 < images.max() <= 1:
            warnings.warn(
                f"float images between 0 and {images.max():.3g}: adjax takes pixel values 0..255",
                stacklevel=3,
            )
        return features.apply(_jitted(function), self, images)


def fit(
    spec: Spec,
    params: PyTree,
    normalise: Normalise,
    images: np.ndarray,
    labels: np.ndarray,
    held_out: np.ndarray | None = None,
    *,
    quantile: float = 0.975,
    sigma: float | None = None,
    outputs: Outputs | None = None,
) -> Detector:
    """Makes a detector from a trained network: fits scorer and class thresholds on the training images.

    Args:
      spec: what to make.
      params: of the trained method, `state["params"]`.
      normalise: as in training.
      images, labels: the training images uint8[N, H, W, C], N ≥ 1, and their classes int[N].
      held_out: normal images uint8[n, H, W, C] not trained on, for p-values and conformal thresholds.
      quantile: level of the class thresholds.
      sigma: if given, the threshold lies that many standard deviations above the mean training distance instead, as
        "log-likelihood below mean − 3σ" asks of a mixture; for scorers with one distance an image.
      outputs: the network's outputs on `images`, if at hand already (extract once, fit many scorers).

    Returns:
      The detector.

    Raises:
      ValueError: images or labels that don't fit the spec; no image has a finite distance; sigma with several
        distances an image, or not finite.

    Example:
      >>> from adjax import augment, data
      >>> digits = data.load("digits", "train")
      >>> spec = Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), "0123456789")
      >>> method = parts(spec).method
      >>> state = jax.jit(method.init)(jax.random.key(0), dict(method.hparams))  # and adjax.loop.train
      >>> normalise = augment.normalise_of(digits.images)
      >>> detector = fit(spec, state["params"], normalise, digits.images[300:], digits.labels[300:],
      ...                held_out=digits.images[:300])
      >>> detector
      Detector(centerloss, lenet5, mahalanobis; 8×8×1 px, 10 classes; threshold 0.975, 300 images held out)
      >>> bool(detector.predict(digits.images[300:]).mean() < 0.03)
      True
      >>> int(detector.with_false_positive_rate(0.01).predict(digits.images[:300]).sum())
      2
    """
    _check(images, spec)
    classes, labels = len(spec.classes), np.asarray(labels)
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels {labels.dtype}{list(labels.shape)}: must be int[{len(images)}], one an image")
    if len(images) == 0:
        raise ValueError("no image to fit a detector to: give at least 1")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}: must lie in 0..{classes - 1}")
    if outputs is None:
        outputs = extract(spec, params, normalise, images)
    state, calibration, distances = _fit(dict(outputs), jnp.asarray(labels, jnp.int32), spec=spec)
    if not np.isfinite(np.asarray(calibration.knots)).any():
        raise ValueError(f"no training image has a finite {spec.scorer} distance: the network has diverged")
    params = jax.tree.map(jnp.asarray, params)
    normalise = Normalise(*(jnp.asarray(x, jnp.float32) for x in normalise))
    none = jnp.zeros(0, jnp.float32)
    detector = Detector(normalise, params, state, calibration, none, none, spec).with_quantile(quantile)
    if sigma is not None:
        detector = dataclasses.replace(detector, threshold=_sigma_level(calibration, distances, sigma, spec))
    if held_out is None:
        return detector
    return dataclasses.replace(detector, normal_levels=jnp.sort(jnp.asarray(detector.score(held_out))))


def extract(spec: Spec, params: PyTree, normalise: Normalise, images: ArrayLike) -> Outputs:
    """`features`, `logits` and `score` of all images, as far as there are any, NumPy on the host: extract once, score
    with many."""
    _check(images, spec)
    return features.apply(_extract(spec), (params, normalise), images)


def levels(detector: Detector, outputs: Outputs) -> jax.Array:
    """The score from network outputs, float32[N]; a pure function."""
    distances = parts(detector.spec).scorer.distances(detector.scorer, outputs)
    return thresholds.common_quantile(detector.calibration, distances)


@functools.lru_cache
def _extract(spec: Spec) -> Callable:
    def function(state, images):
        params, normalise = state
        outputs = parts(spec).method.outputs(params, normalise(images))
        return {name: outputs[name] for name in ("features", "logits", "score") if name in outputs}

    return jax.jit(function)


@partial(jax.jit, static_argnames="spec")
def _fit(outputs, labels, spec):
    scorer = parts(spec).scorer
    state = scorers.fit(scorer, outputs, labels, len(spec.classes))
    distances = scorer.distances(state, outputs)
    return state, thresholds.calibrate(distances, labels), distances[:, 0]


def _sigma_level(calibration: thresholds.Calibration, distances: jax.Array, sigma: float, spec: Spec) -> jax.Array:
    """The common quantile of the distance `sigma` standard deviations above the mean one."""
    if not np.isfinite(sigma):
        raise ValueError(f"sigma {sigma}: must be a finite number of standard deviations")
    if len(calibration.knots) > 1:
        raise ValueError(
            f"sigma={sigma:g} needs one distance an image, and {spec.scorer!r} gives {len(calibration.knots)}, one a "
            "class: set the thresholds by `quantile`"
        )
    limit = thresholds.mean_sigma(distances, sigma)
    return thresholds.common_quantile(calibration, limit.reshape(1, 1))[0]


def _outputs(detector: Detector, images: jax.Array) -> Outputs:
    return parts(detector.spec).method.outputs(detector.params, detector.normalise(images))


def _score(detector, images):
    return levels(detector, _outputs(detector, images))


def _predict(detector, images):
    return thresholds.is_anomalous(_score(detector, images), detector.threshold)


def _classify(detector, images):
    outputs = _outputs(detector, images)
    if "logits" not in outputs:
        method = detector.spec.method
        raise ValueError(f"{method!r} gives no logits, so it tells no classes apart: ask `score` or `predict` instead")
    return outputs["logits"].argmax(-1).astype(jnp.int32)


def _p_value(detector, images):
    return thresholds.p_value(detector.normal_levels, _score(detector, images))


_jitted = functools.lru_cache(jax.jit)


def _check(images: Any, spec: Spec) -> None:
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if len(shape) != 4 or shape[1:] != spec.image_shape:
        limit = ", ".join(map(str, spec.image_shape))
        raise ValueError(f"images of shape {shape}: this detector takes [N, {limit}]")
    if dtype is None or not (dtype == np.uint8 or jnp.issubdtype(dtype, jnp.floating)):
        raise ValueError(f"images of dtype {dtype}: must be uint8, or float with values 0..255")
