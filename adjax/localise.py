"""Anomaly maps, in the unit of the score where the scorer has places.

    map_p = class-wise quantile of s(f_p)       score = max_p map_p, for a scorer whose image score is its highest place

So the threshold that flags an image also says which places do it, and of normal images no more than the promised share
has such a place at all. A network that reconstructs has a map as well: the mean absolute error of a pixel's channels,
in the range of the network's input; no threshold belongs to that.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from adjax import thresholds
from adjax.detector import Detector, outputs_of
from adjax.extraction import seen
from adjax.spec import resolve
from adjax.types import Outputs

Kind = Literal["score", "reconstruction"]


def kind(detector: Detector) -> Kind | None:
    """Kind of a detector's maps: "score", in its unit; "reconstruction", an error; None: it has none."""
    if resolve(detector.spec).scorer.maps is not None:
        return "score"
    image = jax.ShapeDtypeStruct((1, *detector.spec.image_shape), jnp.dtype(detector.spec.dtype))
    said = jax.eval_shape(outputs_of, detector, image)
    return "reconstruction" if getattr(said.get("reconstruction"), "shape", ())[1:] == image.shape[1:] else None


def cells(detector: Detector, said: Outputs) -> jax.Array:
    """Computes the score of each place, at the resolution of the network.

    Args:
      detector: one whose scorer has maps.
      said: outputs of its network, N rows each.

    Returns:
      float32[N, h, w], in the unit of the score.

    Raises:
      ValueError: the scorer has no maps.
    """
    maps = resolve(detector.spec).scorer.maps
    if maps is None:
        raise ValueError(f"scorer {detector.spec.names[-1]!r} has no places: try patchcore, padim or patchwise")
    found = maps(detector.scorer, said)
    return thresholds.classwise_quantile(detector.calibration, found.reshape(-1, 1)).reshape(found.shape)


def maps_of(detector: Detector, images: jax.Array) -> jax.Array:
    """Computes anomaly maps at the resolution of the images; a pure function.

    Args:
      detector: one whose scorer or network has maps.
      images: [N, H, W, C].

    Returns:
      float32[N, H, W]: scores, bilinear, or reconstruction errors.

    Raises:
      ValueError: neither the scorer nor the network has maps.
    """
    said = outputs_of(detector, images)
    if resolve(detector.spec).scorer.maps is None and "reconstruction" in said:
        return jnp.abs(seen(detector.normalise, images) - said["reconstruction"]).mean(-1)
    found = cells(detector, said)
    return jax.image.resize(found, (found.shape[0], *images.shape[1:3]), "bilinear")
