"""Anomaly maps drawn on pictures: redder the higher, with an outline of what is above the threshold.

A picture that is flagged as a whole, no place of it above the threshold, is outlined as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from adjax import localise, tiles
from adjax.data.io import reading, upload
from adjax.data.io.pixels import seen_part
from adjax.detector import Detector
from adjax.report.pictures import heat, shrunk
from adjax.spec import FunctionSpec, Spec

SIDE = 256
"""Longest side of a picture that a report shows, px."""


def of_images(
    detector: Detector, seen: np.ndarray, flagged: Sequence[bool], shown: Sequence[np.ndarray] | None = None
) -> list[np.ndarray] | None:
    """Draws on images what a detector says of their places.

    Args:
      detector: to ask.
      seen: uint8[k, H, W, C], as it takes them.
      flagged: of each, whether it is; of others nothing is outlined.
      shown: the same parts of the same pictures, of any size, uint8[h, w, C]; None: `seen`.

    Returns:
      uint8[h, w, 3], k of them; None: its scorer has no places.
    """
    if localise.kind(detector) != "score":
        return None
    each = zip(seen if shown is None else shown, np.asarray(detector.maps(seen)), flagged, strict=True)
    return [_drawn(detector, *one) for one in each]


def of_tiled(detector: Detector, source: upload.Source) -> tuple[np.ndarray, np.ndarray]:
    """Scores a picture by its tiles and draws on it, as `of_images` does.

    Args:
      detector: of tiles.
      source: the picture.

    Returns:
      The picture and the drawing, uint8[h, w, 3], of at most `SIDE` px.

    Raises:
      DataError: it can't be read.
    """
    picture = upload.read(source, detector.spec.image_shape, "tiles", **reading.of(detector.spec)).pixels
    tiled, small = tiles.score(detector, picture), shrunk(picture, SIDE)
    return small, _drawn(detector, small, tiled.places, not tiled.score <= float(detector.threshold))


def _drawn(detector: Detector, image: np.ndarray, places: np.ndarray, flagged: bool) -> np.ndarray:
    threshold = float(detector.threshold)
    image = image if image.shape[-1] == 3 else image.repeat(3, -1)
    scores = enlarged(places, image.shape[:2], detector.spec)
    return overlay(image, scores, level(places, threshold) if flagged else threshold)


def level(places: np.ndarray, threshold: float | None) -> float:
    """Chooses the score above which places are outlined.

    Args:
      places: float32[h, w], scores.
      threshold: of the score; None: the map has another unit.

    Returns:
      The threshold; −inf, the picture as a whole, if no place is above it; without a threshold, the middle between the
      median and the highest score.
    """
    scores = np.where(np.isnan(places), np.inf, places)
    highest = float(scores.max())
    if threshold is not None:
        return threshold if highest > threshold else -np.inf
    if np.isinf(highest):
        return float(scores[np.isfinite(scores)].max(initial=0))
    return (float(np.median(scores)) + highest) / 2


def enlarged(places: np.ndarray, size: tuple[int, int], spec: Spec | FunctionSpec) -> np.ndarray:
    """Enlarges scores to a map of the picture, bilinear.

    Args:
      places: float32[h, w], scores.
      size: (height px, width px) of the picture.
      spec: of the detector, for the part of the picture that it saw.

    Returns:
      float32[height, width]; NaN in parts that the detector did not see.
    """
    from PIL import Image

    top, left, height, width = (round(x) for x in seen_part(*size, spec.image_shape, spec.frame))
    part = Image.fromarray(places.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    part = part.crop((max(-left, 0), max(-top, 0), min(width, size[1] - left), min(height, size[0] - top)))
    full = np.full(size, np.nan, np.float32)
    full[max(top, 0) :, max(left, 0) :][: part.height, : part.width] = np.asarray(part)
    return full


def overlay(picture: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Paints scores on a picture: redder the higher, with an outline of what is above the threshold.

    Args:
      picture: uint8[H, W, 3].
      scores: float32[H, W]; NaN in parts that the detector did not see.
      threshold: of the score; −inf outlines all that the detector saw.

    Returns:
      uint8[H, W, 3].
    """
    known = scores[np.isfinite(scores)]
    low = float(np.median(known)) if known.size else 0.0
    high = max(float(known.max(initial=threshold)), threshold)
    strength = np.clip((np.nan_to_num(scores, nan=low) - low) / max(high - low, 1e-12), 0, 1)[..., None]
    mixed = picture * (1 - 0.55 * strength) + heat(scores[None], low, high)[0] * (0.55 * strength)
    above, seen = np.nan_to_num(scores, nan=-np.inf) > threshold, np.isfinite(scores)
    thick = max(max(scores.shape) // 400, 1)
    if (above == seen).all():  # all of it: the line lies inside, where there is room
        edge = above & ~ndimage.binary_erosion(above, iterations=thick)
    else:
        edge = ndimage.binary_dilation(above, iterations=thick) & ~above
    mixed[edge] = (255, 40, 40)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
