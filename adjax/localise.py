"""Anomaly maps, in the unit of the score where the scorer has places.

    map_p = class-wise quantile of s(f_p)       score = max_p map_p, for a scorer whose image score is its highest place

So the threshold that flags an image also says which places do it, and of normal images no more than the promised share
has such a place at all. A network that reconstructs has a map as well: the mean absolute error of a pixel's channels,
in the range of the network's input; no threshold belongs to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from adjax import thresholds
from adjax.detector import Detector, outputs_of
from adjax.extraction import seen
from adjax.spec import resolve
from adjax.types import Outputs

Kind = Literal["score", "reconstruction"]


def kind(detector: Detector) -> Kind | None:
    """Kind of a detector's maps: "score", in its unit; "reconstruction", an error; None: it has none."""
    if len(detector.spec.image_shape) != 3:
        return None
    image = jax.ShapeDtypeStruct((1, *detector.spec.image_shape), jnp.dtype(detector.spec.dtype))
    return kind_by(detector, jax.eval_shape(outputs_of, detector, image))


def kind_by(detector: Detector, said: Mapping[str, Any]) -> Kind | None:
    """Finds the kind of a detector's maps by the shapes of its network's outputs; nothing is computed.

    Args:
      detector: one of images [H, W, C].
      said: outputs of its network by name, or their shapes.

    Returns:
      As of `kind`.
    """
    maps = resolve(detector.spec).scorer.maps
    if maps is not None and len(jax.eval_shape(maps, detector.scorer, dict(said)).shape) == 3:
        return "score"
    again = getattr(said.get("reconstruction"), "shape", ())[1:]
    return "reconstruction" if again == detector.spec.image_shape else None


def cells(detector: Detector, said: Outputs, compare: bool = False) -> jax.Array:
    """Computes the score of each place, at the resolution of the network.

    Args:
      detector: one whose scorer has maps.
      said: outputs of its network, N rows each.
      compare: as in `adjax.thresholds.class_quantiles`.

    Returns:
      float32[N, h, w], in the unit of the score.

    Raises:
      ValueError: the scorer has no maps.
    """
    maps = resolve(detector.spec).scorer.maps
    if maps is None or kind_by(detector, said) != "score":
        raise ValueError(f"scorer {detector.spec.names[-1]!r} has no places: try patchcore, padim or patchwise")
    found = maps(detector.scorer, said)
    return thresholds.classwise_quantile(detector.calibration, found.reshape(-1, 1), compare).reshape(found.shape)


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
    return maps_of_outputs(detector, images, outputs_of(detector, images))


def maps_of_outputs(detector: Detector, images: jax.Array, said: Outputs, compare: bool = False) -> jax.Array:
    """Computes anomaly maps from outputs that are known already; a pure function.

    Args:
      detector: one whose scorer or network has maps.
      images: [N, H, W, C].
      said: outputs of its network for them, N rows each.
      compare: as in `adjax.thresholds.class_quantiles`.

    Returns:
      As of `maps_of`.

    Raises:
      ValueError: as of `maps_of`.
    """
    if kind_by(detector, said) == "reconstruction":
        return jnp.abs(seen(detector.normalise, images) - said["reconstruction"]).mean(-1)
    found = cells(detector, said, compare)
    rows, columns = map(_bilinear, found.shape[1:], images.shape[1:3])
    return jnp.einsum("ah,nhw,bw->nab", rows, found, columns, precision=jax.lax.Precision.HIGHEST)


def _bilinear(few: int, many: int) -> np.ndarray:
    """Weights float32[many, few] of `jax.image.resize`, which jax2onnx converts for a known number of images only."""
    at = (np.arange(many) + 0.5) * few / many - 0.5
    hat = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(few)) / max(few / many, 1))
    return (hat / hat.sum(1, keepdims=True)).astype(np.float32)
