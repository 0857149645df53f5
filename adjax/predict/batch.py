"""Prediction of a batch in one compiled pass: score, p-value, decision and class."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import localise, thresholds, tiles
from adjax.detector import Detector, outputs_of
from adjax.scorers._logits import answer
from adjax.spec import FunctionSpec, resolve

NONE = -1


@jax.jit
def predict_batch(
    detector: Detector, images: jax.Array, interval: thresholds.ThresholdInterval | None = None
) -> dict[str, jax.Array]:
    """Scores images and decides.

    Args:
      detector: a single one.
      images: uint8[N, H, W, C], as trained.
      interval: scores within are uncertain, see `adjax.thresholds.threshold_interval`; None: not known.

    Returns:
      `score` float32[N]; `anomalous` bool[N], by the detector's threshold; `p_value` float32[N], NaN where no normal
      images were held out; `nearest` int32[N], the class that `score` is the distance to (or, of a scorer that knows
      none, that a trained network takes the image for), NONE for a detector of one class or where that is NaN;
      `probability` float32[N] of being anomalous, the network's own, NaN where it gives none; with `interval` also
      `uncertain` bool[N]; of a detector with maps also `places` float32[N, h, w], see `adjax.localise.places`.
    """
    said = outputs_of(detector, images)
    distances = resolve(detector.spec).scorer.distances(detector.scorer, said)
    score = thresholds.classwise_quantile(detector.calibration, distances)
    n, classes = score.shape[0], len(detector.spec.classes)
    nearest = jnp.full(n, NONE, jnp.int32)
    if distances.shape[1] == classes > 1:
        nearest = jnp.where(jnp.isnan(score), NONE, thresholds.nearest(detector.calibration, distances))
    elif "logits" in said and said["logits"].shape[-1] == classes > 1 and _knows_classes(detector):
        nearest = answer(said["logits"])
    places = localise.places(detector, images, said)
    return {
        **_decided(detector, score, interval),
        **({} if places is None else {"places": places}),
        "nearest": nearest,
        "probability": said.get("probability", jnp.full(n, jnp.nan)),
    }


def _knows_classes(detector: Detector) -> bool:
    """Whether the network's logits are of the detector's classes: a method that trains nothing has drawn the head."""
    return isinstance(detector.spec, FunctionSpec) or resolve(detector.spec).method.step is not None


def predict_tiled(
    detector: Detector, picture: np.ndarray, interval: thresholds.ThresholdInterval | None = None
) -> dict[str, Any]:
    """Scores one picture by its tiles and decides, as `predict_batch` does of one image.

    Args:
      detector: a single one, whose scorer has places.
      picture: uint8[H, W, C], at least as large as the detector's images.
      interval: as of `predict_batch`.

    Returns:
      As of `predict_batch`, N = 1; no class is nearest, and the network gives no probability.
    """
    tiled = tiles.score(detector, picture)
    score = jnp.asarray([tiled.score], jnp.float32)
    return {
        **_decided(detector, score, interval),
        "places": tiled.places[None],
        "nearest": np.array([NONE]),
        "probability": np.array([np.nan]),
    }


def _decided(
    detector: Detector, score: jax.Array, interval: thresholds.ThresholdInterval | None
) -> dict[str, jax.Array]:
    held_out = detector.calibration_scores.shape[0]
    uncertain = {} if interval is None else {"uncertain": interval.holds(score)}
    return {
        **uncertain,
        "score": score,
        "anomalous": thresholds.is_anomalous(score, detector.threshold),
        "p_value": thresholds.p_value(detector.calibration_scores, score)
        if held_out
        else jnp.full(len(score), jnp.nan),
    }
