"""Prediction of a batch in one compiled pass: score, p-value, decision and class."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax import localise, thresholds
from adjax.detector import Detector, outputs_of
from adjax.scorers._logits import answer
from adjax.spec import resolve

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
      none, that the network takes the image for), NONE for a detector of one class or where that is NaN; `probability`
      float32[N] of being anomalous, the network's own, NaN where it gives none; with `interval` also `uncertain`
      bool[N]; of a detector with maps also `places` float32[N, h, w], see `adjax.localise.places`.
    """
    said = outputs_of(detector, images)
    distances = resolve(detector.spec).scorer.distances(detector.scorer, said)
    score = thresholds.classwise_quantile(detector.calibration, distances)
    n, classes = score.shape[0], len(detector.spec.classes)
    held_out = detector.calibration_scores.shape[0]
    p_value = thresholds.p_value(detector.calibration_scores, score) if held_out else jnp.full(n, jnp.nan)
    nearest = jnp.full(n, NONE, jnp.int32)
    if distances.shape[1] == classes > 1:
        nearest = jnp.where(jnp.isnan(score), NONE, thresholds.nearest(detector.calibration, distances))
    elif "logits" in said and said["logits"].shape[-1] == classes > 1:
        nearest = answer(said["logits"])
    uncertain = {} if interval is None else {"uncertain": (score > interval.low) & (score <= interval.high)}
    places = localise.places(detector, images, said)
    return {
        **uncertain,
        **({} if places is None else {"places": places}),
        "score": score,
        "anomalous": thresholds.is_anomalous(score, detector.threshold),
        "p_value": p_value,
        "nearest": nearest,
        "probability": said.get("probability", jnp.full(n, jnp.nan)),
    }
