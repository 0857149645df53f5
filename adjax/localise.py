"""Anomaly maps, in the unit of the score where the scorer has places.

    map_p = class-wise quantile of s(f_p)       score = max_p map_p, for a scorer whose image score is its highest place

So the threshold that flags an image also says which places do it, and of normal images no more than the promised share
has such a place at all. Where the score is the mean of the highest places (`top`), a flagged image has a place above
the threshold as well, but so may others. A network that reconstructs has a map as well: the mean absolute error of a
pixel's channels, in the range of the network's input; no threshold belongs to that.

`places` has them at the resolution at which they are made: of the network's map, or of the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from adjax import thresholds
from adjax._numerics import enlarged
from adjax.detector import Detector, outputs_of
from adjax.extraction import seen, shapes
from adjax.spec import Spec, resolve
from adjax.types import Outputs

Kind = Literal["score", "reconstruction"]
NO_PLACES = "scorer {!r} has no places: try patchcore, padim or patchwise"


def kind(detector: Detector) -> Kind | None:
    """Kind of a detector's maps: "score", in its unit; "reconstruction", an error; None: it has none."""
    if isinstance(detector.spec, Spec):
        return kind_by(detector, shapes(detector.spec))
    image = jax.ShapeDtypeStruct((1, *detector.spec.image_shape), jnp.dtype(detector.spec.dtype))
    return kind_by(detector, jax.eval_shape(outputs_of, detector, image))


def kind_by(detector: Detector, said: Mapping[str, Any]) -> Kind | None:
    """Finds the kind of a detector's maps by the shapes of its network's outputs; nothing is computed.

    Args:
      detector: the one to ask; of feature rows it has none.
      said: outputs of its network by name, or their shapes.

    Returns:
      As of `kind`.
    """
    if len(detector.spec.image_shape) != 3:
        return None
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
        raise ValueError(NO_PLACES.format(detector.spec.names[-1]))
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
    found = places(detector, images, outputs_of(detector, images))
    if found is None:
        raise ValueError(NO_PLACES.format(detector.spec.names[-1]))
    return enlarged(found, images.shape[1:3])


def places(detector: Detector, images: jax.Array, said: Outputs, compare: bool = False) -> jax.Array | None:
    """Computes anomaly maps as they are made, from outputs that are known already; a pure function.

    Args:
      detector: of images [H, W, C].
      images: [N, H, W, C].
      said: outputs of its network for them, N rows each.
      compare: as in `adjax.thresholds.class_quantiles`.

    Returns:
      float32[N, h, w]: scores; or reconstruction errors, h = H and w = W; None: the detector has no maps.
    """
    found = kind_by(detector, said)
    if found == "reconstruction":
        return jnp.abs(seen(detector.normalise, images) - said["reconstruction"]).mean(-1)
    return None if found is None else cells(detector, said, compare)
