"""Other people's networks as detectors: any JAX function and training images, or features alone.

    apply_fn(params, images) -> features [N, D], scores [N], or a dict of named outputs

Flax linen's `model.apply`, `lambda state, x: nnx.merge(graph, state)(x)`, Equinox's `lambda m, x: jax.vmap(m)(x)`
(arrays partitioned off) or a plain function are all of that form. The function becomes a part of the detector's static
spec (`adjax.spec.FunctionSpec`): everything a `Detector` does, it does, but for `save`: files hold no code. `export`
writes it as a program.

Files do hold names: around the `apply` of `adjax.models.make`, whatever weights it has, and around features alone, a
detector whose scorer is given by name is saved and loaded as any other.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from adjax import detector as detectors
from adjax.augment import Normalise, normalise_of
from adjax.detector import Detector
from adjax.models.registered import Registered
from adjax.spec import FunctionSpec, resolve
from adjax.types import PyTree, Scorer


def detector_from(
    apply_fn: Callable[[PyTree, jax.Array], Any] | None,
    params: PyTree,
    scorer: str | Scorer,
    train_images: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    held_out: ArrayLike | None = None,
    classes: Sequence[str] | None = None,
    normalise: bool | Normalise = False,
    scorer_options: Mapping[str, Any] | None = None,
    folds: int | None = None,
    quantile: float = 0.975,
    sigma: float | None = None,
) -> Detector:
    """Makes a detector of a function, its parameters and normal training images.

    Args:
      apply_fn: as above, pure, an image's outputs depending on that image alone; it must be hashable, as functions are.
        None: the images are features already.
      params: its first argument, a pytree of arrays.
      scorer: a name in `adjax.scorers.SCORERS`, or an `adjax.types.Scorer`.
      train_images: normal images, N ≥ 1: uint8, or float in whatever range the function takes; of any rank ≥ 2. The
        detector takes images of that shape and kind from then on.
      labels: their classes, int[N] in 0 … K−1; None: all are one class.
      held_out: normal images not trained on, for p-values and conformal thresholds.
      classes: names of the K classes; None: their numbers, or "normal" if there is one.
      normalise: False: the function is given images as they come; True: standardised by the mean and deviation of each
        channel of `train_images`, uint8 [N, H, W, C]; or what to do instead. Published weights have a mean and a
        deviation, `Normalise(weights.mean, weights.sd)`.
      scorer_options: keyword arguments of a scorer that is given by name.
      folds, quantile, sigma: as in `adjax.fit`.

    Returns:
      A `Detector`.

    Raises:
      ValueError: images, labels, outputs or options that don't fit, and why.

    Example:
      >>> from adjax import data
      >>> digits = data.load("digits", "train").images
      >>> def rows_and_columns(params, images):
      ...     grey = images[..., 0] / 255
      ...     return jax.numpy.concatenate([grey.mean(1), grey.mean(2)], axis=1)
      >>> detector = detector_from(rows_and_columns, {}, "mahalanobis", digits[300:], held_out=digits[:300])
      >>> detector
      Detector(rows_and_columns, mahalanobis; 8×8×1 px, 1 classes; threshold 0.975, calibrated by 300 images)
      >>> bool(detector.predict(255 - digits[:300]).all())
      True
    """
    images = _array(train_images, "train_images")
    if labels is None:
        labels = np.zeros(len(images), np.int32)
    else:
        labels = np.asarray(labels)
        if labels.size and np.issubdtype(labels.dtype, np.integer) and classes is None:
            classes = ["normal"] if labels.max() < 1 else [str(k) for k in range(int(labels.max()) + 1)]
    spec = FunctionSpec(
        apply=_hashable(apply_fn),
        scorer=_scorer(scorer, scorer_options),
        image_shape=images.shape[1:],
        classes=tuple(classes or ["normal"]),
        scorer_options=tuple((scorer_options or {}).items()),
        dtype="uint8" if images.dtype == np.uint8 else "float32",
    )
    if isinstance(apply_fn, Registered) and normalise is False and images.dtype == np.uint8:
        warnings.warn(
            f"pixel values 0..255 go to {apply_fn.model} as they are, which takes values around 0 or 0..1: say "
            "normalise=True, or the Normalise that its weights were trained with",
            stacklevel=2,
        )
    jax.tree_util.tree_map_with_path(_check_leaf, params)
    chosen = normalise_of(images) if normalise is True else normalise or None
    scorer_made = resolve(spec).scorer  # options are refused before anything is computed
    outputs: Any = None
    if apply_fn is None and images.ndim == 2 and scorer != "score":
        outputs = {"features": images.astype(np.float32)}
        detectors.read_by(scorer_made, outputs, len(spec.classes))
    return detectors.fit(
        spec,
        params,
        chosen,
        images,
        labels,
        None if held_out is None else _array(held_out, "held_out"),
        folds=folds,
        quantile=quantile,
        sigma=sigma,
        outputs=outputs,
    )


def _array(images: ArrayLike, name: str) -> np.ndarray:
    """uint8, or float32 of whatever float it was."""
    array = np.asarray(images)
    if array.ndim < 2:
        raise ValueError(f"{name} of shape {array.shape}: must be [N, ...], an image or a row of features each")
    if array.dtype == np.uint8:
        return array
    if not jax.numpy.issubdtype(array.dtype, jax.numpy.floating):
        raise ValueError(f"{name} of dtype {array.dtype}: must be uint8 or float")
    return array.astype(np.float32)


def _hashable(apply_fn: Any) -> Any:
    if apply_fn is not None and not callable(apply_fn):
        raise ValueError(
            f"apply_fn is {type(apply_fn).__name__}: must be a function (params, images) -> outputs, or None"
        )
    try:
        hash(apply_fn)
    except TypeError as error:
        raise ValueError(f"apply_fn can't be hashed ({error}): wrap it, lambda params, images: ...") from error
    return apply_fn


def _scorer(scorer: Any, options: Any) -> str | Scorer:
    if isinstance(scorer, str):
        return scorer
    if not isinstance(scorer, Scorer):
        raise ValueError(f"scorer is {type(scorer).__name__}: must be a name or an adjax.types.Scorer")
    if options:
        raise ValueError(f"scorer_options {dict(options)}: a scorer that is made already takes none; give its name")
    return scorer


def _check_leaf(path: Any, leaf: Any) -> None:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic | float | int):
        where = jax.tree_util.keystr(path)
        raise ValueError(f"params{where} is {type(leaf).__name__}: must be an array; keep everything else in apply_fn")
