"""scikit-learn's outlier API: every scorer for rows of features, and every method, trained, for images.

    OutlierDetector        rows of features, scored as they are
    ImageOutlierDetector   images, by a network that `fit` trains

Their sense is scikit-learn's, the reverse of adjax's: `score_samples` and `decision_function` are higher for what is
more normal, `predict` says 1 for normal and −1 for anomalous. What they hold is a `Detector`, `detector_`, with all
that is adjax's: p-values, `export`, and of images `save`.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from adjax import crossfit, features, methods
from adjax.custom import detector_from
from adjax.data.splitting import copies, validation_split
from adjax.detector import Detector
from adjax.models.hog import coarse
from adjax.pipeline import Recipe, train_one, training_steps

ANOMALOUS = -1
"""The label of an anomaly, in `y` as in what `predict` says."""
FALSE_POSITIVE_RATE = 0.05
"""What `contamination="auto"` asks of fresh normal rows, as `python -m adjax train` does."""
FINE_PX = 32
"""Images up to this side have HOG's cells of 4 px, larger ones eight cells a side."""
BATCH_SIZE = 32
"""Of a training, unless told."""
_FEWEST = math.ceil(1 / FALSE_POSITIVE_RATE) - 1
"""Normal rows that can promise it: n ≥ 1/α − 1."""


class _Outliers(OutlierMixin, BaseEstimator):
    """What both have in common: a `detector_` and an `offset_`."""

    contamination: Literal["auto"] | float
    detector_: Detector
    offset_: float
    false_positive_rate_: float

    def _images(self, X: Any, reset: bool) -> np.ndarray:
        """What the detector takes; `reset` in fitting."""
        raise NotImplementedError

    def score_samples(self, X: Any) -> np.ndarray:
        """float64[N], higher = more normal: the detector's score with its sign changed.

        Args:
          X: as in `fit`.
        """
        check_is_fitted(self, "detector_")
        images = self._images(X, reset=False)
        # A score may round otherwise in a batch of another size, and scikit-learn's have to be the same of any subset.
        missing = max(features.batch_size_for(self.detector_.spec.seen_shape) - len(images), 0)
        whole = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)])
        return -np.asarray(self.detector_.score(whole)[: len(images)], np.float64)

    def decision_function(self, X: Any) -> np.ndarray:
        """float64[N]: `score_samples` less `offset_`, negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """int[N]: 1 = normal, −1 = anomalous."""
        return np.where(self.decision_function(X) >= 0, 1, ANOMALOUS)  # a NaN is not ≥ 0

    def _check_contamination(self) -> None:
        share = self.contamination
        if not (self._auto or (isinstance(share, Real) and 0 < share <= 0.5)):
            raise ValueError(f"contamination {share!r}: must be 'auto' or a share in (0, 0.5]")

    @property
    def _auto(self) -> bool:
        return isinstance(self.contamination, str) and self.contamination == "auto"

    def _decide(self, fitted: Detector, X: Any) -> None:
        """Sets the threshold that the different rows behind `calibration_scores` can promise, and what follows."""
        self.detector_, self.false_positive_rate_ = fitted, math.nan
        if not self._auto:
            scores = self.score_samples(X)
            known = np.isfinite(scores)
            least = scores[known].min(initial=np.inf)  # none: nothing is normal
            self.offset_ = float(np.percentile(np.where(known, scores, least), 100 * float(self.contamination)))
            self.detector_ = dataclasses.replace(fitted, threshold=jnp.float32(-self.offset_))
            return
        if n := len(fitted.calibration_scores):
            rate = self.false_positive_rate_ = max(FALSE_POSITIVE_RATE, 1 / (n + 1))
            self.detector_ = fitted.with_false_positive_rate(rate)
            if rate > FALSE_POSITIVE_RATE:
                warnings.warn(
                    f"{n} different rows to set a threshold by can promise a false-positive rate of {rate:.1%}, not "
                    f"{FALSE_POSITIVE_RATE:.0%}: give {_FEWEST} or more that are no copies of one another",
                    stacklevel=3,
                )
        self.offset_ = -float(self.detector_.threshold)


AS_THEY_ARE: Mapping[str, Mapping[str, Any]] = {"knn": {"normalise": False}}
"""Options of scorers whose defaults are for the features of networks, of which they take the direction alone."""


class OutlierDetector(_Outliers):
    """A scorer of adjax on rows of features.

    Args:
      scorer: a name in `adjax.scorers.SCORERS` that takes features alone.
      options: its keyword arguments, a dict. Rows are compared as they are: `knn` by Euclidean distance, unless told
        `{"normalise": True}`, its default for the features of networks.
      contamination: "auto": the threshold is to flag 5 % of fresh normal rows. It is conformal, from scores of the
        training rows by fits that have not seen them (`adjax.crossfit`; how well that does:
        `experiments/results/calibration_features.json`). With fewer than 19 different rows it can't be so low: see
        `false_positive_rate_`. Or the share of the *training* rows to take for anomalous, any real number in (0, 0.5].
        The center-loss paper's threshold, the 97.5 % quantile of training distances, is
        `detector_.with_quantile(0.975)` of `adjax.detector_from`.
      folds: of the cross-fit, k ≥ 2, where the scorer has no closed form: it is fitted k + 1 times. Fewer folds flag
        fewer rows than asked for.
      use_labels: take `y` for classes, each with statistics and a threshold of its own. Otherwise `y` is ignored, as
        scikit-learn's outlier detectors do.

    Attributes:
      detector_: the `adjax.Detector`.
      offset_: of `decision_function`.
      false_positive_rate_: the share of fresh normal rows that the threshold is to flag: 0.05, or 1/(n + 1) where n
        different training rows can promise no less, with a warning. NaN where nothing is promised: of rows that are all
        copies of one, and of a `contamination` that is a number.
      n_features_in_: columns.

    Example:
      >>> from sklearn.datasets import load_iris
      >>> X, y = load_iris(return_X_y=True)
      >>> iris = OutlierDetector("mahalanobis", options={"shrinkage": 0.0}).fit(X[y == 0])
      >>> iris.predict(X[y == 0]).sum(), iris.predict(X[y == 2]).sum()
      (np.int64(50), np.int64(-50))
    """

    def __init__(
        self,
        scorer: str = "mahalanobis",
        *,
        options: Mapping[str, Any] | None = None,
        contamination: Literal["auto"] | float = "auto",
        folds: int = crossfit.FOLDS,
        use_labels: bool = False,
    ) -> None:
        self.scorer = scorer
        self.options = options
        self.contamination = contamination
        self.folds = folds
        self.use_labels = use_labels

    def fit(self, X: Any, y: Any = None) -> OutlierDetector:
        """Fits the scorer to rows that are taken for normal.

        Args:
          X: [N, D] numbers; kept as float32.
          y: classes [N], if `use_labels`.

        Returns:
          The estimator itself.

        Warns:
          UserWarning: too few rows for a false-positive rate of 5 %.

        Raises:
          ValueError: an option out of range, rows that are not finite numbers, a scorer that takes more than features.
        """
        self._check_contamination()
        rows, labels = self._images(X, reset=True), None
        if self.use_labels:
            if y is None:
                raise ValueError("use_labels=True needs y: a class for each row")
            labels = np.unique(_column(y, len(rows)), return_inverse=True)[1].astype(np.int32)
        unseen = self.folds if self._auto and _different(rows) > 1 else None
        options = {**AS_THEY_ARE.get(self.scorer, {}), **(self.options or {})}
        fitted = detector_from(None, {}, self.scorer, rows, labels, folds=unseen, scorer_options=options)
        self._decide(fitted, X)
        return self

    def _images(self, X: Any, reset: bool) -> np.ndarray:
        return validate_data(self, X, dtype=np.float32, reset=reset)


class ImageOutlierDetector(_Outliers):
    """A method of adjax, trained on images.

    Args:
      method: a name in `adjax.methods.METHODS`.
      image_shape: (height px, width px, channels) of the rows of `X`; None: `X` is [N, H, W, C], or rows of square grey
        images.
      pixel_max: the value of white: 255, or 1, or 16 for scikit-learn's digits. Black is 0.
      model: a name in `adjax.models.MODELS`; None: the one in the method's entry.
      scorer: a name in `adjax.scorers.SCORERS`; None: the one that the method is published with.
      epochs: passes through the training images; None: by their number, as `adjax.pipeline.training_steps` has it. A
        method that trains nothing takes neither this nor the two that follow.
      batch_size: images a step, at most as many as there are; None: 32.
      hparams: hyper-parameters that differ from the method's own, such as `{"learning_rate": 0.002}`.
      method_options, model_options, scorer_options: keyword arguments, dicts. Without `model_options` HOG has cells of
        4 px for images of up to 32 px, and eight cells a side for larger ones: a Gaussian of D features costs D³.
      weights: of a pre-trained network: the path of a file, or "random" to draw them. None: the published ones, where
        the model has any (see `adjax.models.weights`).
      held_out: share of the normal images that is kept from training, in [0, 1): for p-values, and for the threshold
        if `contamination` is "auto" (then at least 19 of them, or half). Exact copies of an image are kept from it
        together. With 0 a method that trains nothing is cross-fitted instead (`adjax.crossfit`); of any other, the
        threshold is the 97.5 % quantile of the training images, which a network comes to know better than others, and
        promises nothing.
      contamination: "auto": the threshold is conformal, and flags at most 5 % of fresh normal images on average; or the
        share of `X` to take for anomalous, any real number in (0, 0.5].
      seed: of the images held out, initial weights and of the order of images.

    Attributes:
      detector_: the `adjax.Detector`.
      offset_: of `decision_function`.
      false_positive_rate_: as of `OutlierDetector`: 0.05, more where too few images are held out, or NaN.
      classes_: the classes of normal images in `y`, for methods that learn them.
    """

    def __init__(
        self,
        method: str = "deep_svdd",
        *,
        image_shape: tuple[int, int, int] | None = None,
        pixel_max: float = 255.0,
        model: str | None = None,
        scorer: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        hparams: Mapping[str, float] | None = None,
        method_options: Mapping[str, Any] | None = None,
        model_options: Mapping[str, Any] | None = None,
        scorer_options: Mapping[str, Any] | None = None,
        weights: str | None = None,
        held_out: float = 0.2,
        contamination: Literal["auto"] | float = "auto",
        seed: int = 0,
    ) -> None:
        self.method = method
        self.image_shape = image_shape
        self.pixel_max = pixel_max
        self.model = model
        self.scorer = scorer
        self.epochs = epochs
        self.batch_size = batch_size
        self.hparams = hparams
        self.method_options = method_options
        self.model_options = model_options
        self.scorer_options = scorer_options
        self.weights = weights
        self.held_out = held_out
        self.contamination = contamination
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> ImageOutlierDetector:
        """Trains the method's network, then fits the scorer and the thresholds.

        Args:
          X: images, [N, H, W, C] or [N, H · W · C], from 0 to `pixel_max`.
          y: [N]; −1 marks labelled anomalies, anything else is the class of a normal image. A method that learns from
            normal images alone ignores it, as scikit-learn's outlier detectors do: all of `X` is normal then.

        Returns:
          The estimator itself.

        Raises:
          ValueError: an option out of range, or of training for a method that trains nothing; images that don't fit, or
            floats in 0 … 1 where `pixel_max` is 255; a method that learns from labels, without them.
        """
        self._check_contamination()
        if not (isinstance(self.held_out, Real) and 0 <= self.held_out < 1):
            raise ValueError(f"held_out={self.held_out!r}: must be a share in [0, 1)")
        if not (isinstance(self.seed, Integral) and 0 <= self.seed < 2**31):
            raise ValueError(f"seed={self.seed!r}: must be a whole number in [0, 2³¹)")
        batch_size = self._batch_size()
        images = self._images(X, reset=True)
        shape = images.shape[1:]
        recipe = Recipe(
            self.method,
            self.model,
            self.scorer,
            self.method_options or {},
            self._model_options(shape),
            self.scorer_options or {},
            self.weights,
        )
        labels, classes = self._labels(y, len(images), recipe.supervision(shape))
        normal = np.flatnonzero((labels >= 0) & (labels < len(classes)))
        aside = normal[:0]
        if self.held_out:
            groups = copies(images[normal])
            count = len(np.unique(groups))
            share = max(self.held_out, min(_FEWEST, count // 2) / count if self._auto else 0)
            aside = normal[validation_split(labels[normal], share, self.seed, groups)[1]]
        rows = np.setdiff1d(np.flatnonzero(labels >= 0), aside)
        batch_size = min(batch_size, len(rows))
        steps = self.epochs and self.epochs * (len(rows) // batch_size)
        fitted, _ = train_one(
            recipe,
            images,
            labels,
            classes,
            rows,
            aside,
            steps=training_steps(self.method, len(rows), batch_size, steps),
            batch_size=batch_size,
            hparams=self.hparams,
            seed=self.seed,
            folds=crossfit.FOLDS if self._auto and not self.held_out and _different(images[rows]) > 1 else None,
        )
        self._decide(fitted, X)
        return self

    def _batch_size(self) -> int:
        """Images a step, at most; options of training are refused where nothing is trained."""
        batch_size = BATCH_SIZE if self.batch_size is None else self.batch_size
        for name, value in (("epochs", self.epochs), ("batch_size", batch_size)):
            if value is not None and not (isinstance(value, Integral) and value >= 1):
                raise ValueError(f"{name}={value!r}: must be a whole number, at least 1")
        if not methods.entry(self.method).trains:
            for name in ("epochs", "batch_size", "hparams"):
                if value := getattr(self, name):
                    raise ValueError(
                        f"{name}={value!r} does nothing with method {self.method!r}, which trains nothing: leave it "
                        "out, or take a method that trains, as 'deep_svdd' or 'autoencoder'"
                    )
        return batch_size

    def _model_options(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """Those given; without any, of HOG for large images those that `python -m adjax train` takes."""
        model = self.model or getattr(methods.METHODS.get(self.method), "model", None)
        if self.model_options is None and model == "hog" and min(shape[:2]) > FINE_PX:
            return coarse(min(shape[:2]))
        return self.model_options or {}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        known = methods.METHODS.get(self.method)
        tags.target_tags.required = getattr(known, "supervision", None) not in ("normal", None)
        return tags

    def _labels(self, y: Any, n: int, supervision: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """int32[N] as the method takes them, −1 for images it may not see, and the names of the classes."""
        if supervision == "normal":
            return np.zeros(n, np.int32), ("normal",)
        if y is None:
            raise ValueError(
                f"{self.method!r} learns from {supervision}: it requires y to be passed, but the target y is None; "
                f"give y, with {ANOMALOUS} for anomalies"
            )
        y = _column(y, n)
        anomalous = y == ANOMALOUS
        if "anomalies" in supervision and not anomalous.any():
            raise ValueError(f"{self.method!r} learns from {supervision}, and no y is {ANOMALOUS}: label some")
        if anomalous.all():
            raise ValueError(f"all y are {ANOMALOUS}: there is no normal image")
        self.classes_, index = np.unique(y[~anomalous], return_inverse=True)
        labels = np.full(n, -1, np.int32)
        labels[~anomalous] = index if "classes" in supervision else 0
        classes = tuple(map(str, self.classes_)) if "classes" in supervision else ("normal",)
        if "anomalies" in supervision:
            labels[anomalous] = len(classes)
        return labels, classes

    def _images(self, X: Any, reset: bool) -> np.ndarray:
        """uint8[N, H, W, C]."""
        given, shape = np.shape(X), self.image_shape
        if len(given) == 4:
            shape = given[1:] if shape is None else shape
            X = np.reshape(X, (len(X), -1)) if given[1:] == tuple(shape) else X
        X = validate_data(self, X, dtype="numeric", reset=reset)
        side = math.isqrt(X.shape[1])
        shape = (side, side, 1) if shape is None else shape
        if X.shape[1] != math.prod(shape):
            raise ValueError(f"X of shape {given}: must be [N, {', '.join(map(str, shape))}], or as many columns")
        if X.size and not 0 <= X.min() <= X.max() <= self.pixel_max:
            limit = f"0..{self.pixel_max:g}, see pixel_max"
            raise ValueError(f"pixels from {X.min():g} to {X.max():g}: must lie in {limit}")
        fractions = X.dtype.kind == "f" and X.size and 0 < X.max() <= 1 and (reset or (X % 1).any())
        if fractions and self.pixel_max == 255:
            raise ValueError(
                f"float pixels from {X.min():g} to {X.max():g}, where white is pixel_max=255: they would be rounded to "
                "the grey levels 0 and 1; give pixel_max=1"
            )
        if X.dtype != np.uint8 or self.pixel_max != 255:
            X = np.rint(X * (255 / self.pixel_max)).astype(np.uint8)
        return X.reshape(len(X), *shape)


def _different(rows: np.ndarray) -> int:
    """How many rows there are but for exact copies, which tell nothing more of how often fresh ones are flagged."""
    return len(np.unique(copies(rows)))


def _column(y: Any, n: int) -> np.ndarray:
    y = np.asarray(y)
    if y.shape != (n,):
        raise ValueError(f"y of shape {y.shape}: must be [{n}], one for each row of X")
    if missing := sum(value is None or value != value for value in y.tolist()):
        raise ValueError(f"y has no label for {missing} of {n} rows: give each its class, or leave these rows out")
    return y
