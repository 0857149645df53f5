"""Synthetic defects: normal pictures with a defect at a known place, to choose and to measure by.

Real anomalies are few and belong to the test. Synthetic defects serve every choice before it: which features, layers
and scorers see small defects in such pictures. Eight kinds, drawn from an explicit generator:

| kind | what is done to the place |
|---|---|
| `cutpaste` | a part of the picture from elsewhere, turned and lit otherwise (Li et al., "CutPaste", CVPR 2021) |
| `noise` | the grain of an unrelated photograph in the shape of smooth noise (Zavrtanik et al., "DRAEM", ICCV 2021) |
| `scratch` | a thin bent line, lighter or darker |
| `crack` | a ragged dark line |
| `spot` | a stain, lighter or darker, with a soft edge |
| `missing` | nothing but the mean colour of its edge |
| `blur` | the same, out of focus |
| `hue` | another tint; of grey pictures another contrast |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

LEAST, CONTRAST = 6.0, 0.5
"""Least mean difference of the place, in grey levels and in deviations of the whole picture; below, it is drawn again:
nobody sees a flat place blurred, or grass a little darker than grass."""
_TRIES = 20
_GRAINS = 16


def defect(
    image: np.ndarray, kind: str, share: float, rng: np.random.Generator, other: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A picture with one made defect.

    Args:
      image: uint8[H, W, C], normal, at least 16 px high and wide.
      kind: a key of `KINDS`.
      share: of the picture's area that it takes, about, in (0, 0.25].
      rng: that draws place, shape and strength.
      other: uint8[H, W, C], another picture, whose grain `noise` takes; None: a photograph.

    Returns:
      (uint8[H, W, C], bool[H, W] where it differs). If no try makes a visible difference, as of a blur where all is
      flat, it is a `spot`.

    Raises:
      ValueError: no such kind, a share out of range, or too small a picture.
    """
    _check(image, kind, share)
    other = foreign(1, image.shape, int(rng.integers(2**31)))[0] if other is None else other
    return _visible(image, kind, share, rng, other)[:2]


def _check(image: np.ndarray, kind: str, share: float) -> None:
    if kind not in KINDS:
        raise ValueError(f"no defect {kind!r}; there are: {', '.join(KINDS)}")
    if not 0 < share <= 0.25:
        raise ValueError(f"share {share}: must be a part of the area in (0, 0.25]")
    height, width = image.shape[:2]
    if min(height, width) < 16:
        raise ValueError(f"a picture of {width}×{height} px: synthetic defects need at least 16×16")


def _visible(
    image: np.ndarray, kind: str, share: float, rng: np.random.Generator, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """The picture, the mask and the kind: the first that can be seen, of the kind or else a spot."""
    least = max(LEAST, CONTRAST * float(image.mean(-1).std()))
    for tried in (kind, "spot"):
        for _ in range(_TRIES):
            made, mask = _made(image, tried, share, rng, other)
            if mask.any() and np.abs(made[mask].astype(float) - image[mask]).mean() >= least:
                break
        else:
            continue
        break
    return made, mask, tried


def defects(
    images: np.ndarray, share: float | tuple[float, float], seed: int = 0, kinds: tuple[str, ...] = ()
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """One defect for each picture, the kinds in turn.

    Args:
      images: uint8[N, H, W, C], normal.
      share: of the area, or (least, most), between which it is drawn evenly in the logarithm.
      seed: of all draws.
      kinds: keys of `KINDS`; none: all.

    Returns:
      (uint8[N, H, W, C], bool[N, H, W], the kind of each).

    Raises:
      ValueError: images of another shape or dtype, or as `defect`.
    """
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(f"images {images.dtype}{list(images.shape)}: must be uint8[N, H, W, C]")
    kinds, rng = kinds or tuple(KINDS), np.random.default_rng(seed)
    low, high = share if isinstance(share, tuple) else (share, share)
    made, masks, which = np.empty_like(images), np.zeros(images.shape[:3], bool), []
    grains = foreign(min(len(images), _GRAINS), images.shape[1:], seed)
    for row, image in enumerate(images):
        kind = kinds[row % len(kinds)]
        other = grains[row % len(grains)]
        size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        _check(image, kind, size)
        made[row], masks[row], kind = _visible(image, kind, size, rng, other)
        which.append(kind)
    return made, masks, which


def foreign(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Cuts pictures unrelated to a factory out of scikit-learn's two photographs.

    Args:
      count: number of pictures, ≥ 0.
      shape: (H px, W px, C), C = 1 or 3.
      seed: of the draw.

    Returns:
      uint8[count, H, W, C].
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng, (height, width, channels) = np.random.default_rng(seed), shape
    photographs = [Image.fromarray(x) for x in load_sample_images().images]
    found = np.empty((count, *shape), np.uint8)
    for row in range(count):
        photograph = photographs[row % len(photographs)].convert("L" if channels == 1 else "RGB")
        scale = rng.uniform(0.3, 1) * min(photograph.width / width, photograph.height / height)
        w, h = width * scale, height * scale
        left, top = rng.uniform(0, photograph.width - w), rng.uniform(0, photograph.height - h)
        part = photograph.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
        found[row] = np.asarray(part).reshape(shape)
    return found


def _made(
    image: np.ndarray, kind: str, share: float, rng: np.random.Generator, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    alpha, changed = KINDS[kind](image.astype(np.float32), share, rng, other.astype(np.float32))
    mixed = image * (1 - alpha[..., None]) + changed * alpha[..., None]
    made = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return made, (alpha > 0.25) & (made != image).any(-1)


def _place(shape: tuple[int, int], share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box of that share of the area, up to three times as long as wide."""
    height, width = shape
    ratio = float(np.exp(rng.uniform(-np.log(3) / 2, np.log(3) / 2)))
    h = int(np.clip(round(np.sqrt(share * height * width * ratio)), 2, height))
    w = int(np.clip(round(share * height * width / h), 2, width))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return slice(top, top + h), slice(left, left + w)


def _smooth(shape: tuple[int, int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    return ndimage.gaussian_filter(rng.normal(size=shape).astype(np.float32), sigma, mode="wrap")


def _blob(shape: tuple[int, int], share: float, rng: np.random.Generator, soft: float = 0.0) -> np.ndarray:
    """float32[H, W] in 0 … 1: one connected shape of that share of the area, made of smooth noise about a place."""
    height, width = shape
    area = max(share * height * width, 4.0)
    radius = np.sqrt(area / np.pi)
    y = rng.uniform(min(radius, height / 2), max(height - radius, height / 2))
    x = rng.uniform(min(radius, width / 2), max(width - radius, width / 2))
    rows, columns = np.mgrid[:height, :width]
    far = np.hypot(rows - y, columns - x) / radius
    noise = _smooth(shape, max(radius / 2, 1), rng)
    inner = far - 0.5 * noise / max(float(noise.std()), 1e-6)
    limit = np.partition(inner.ravel(), int(area))[int(area)]
    mask, count = ndimage.label(inner < limit)
    if count > 1:
        mask = mask == 1 + np.argmax(ndimage.sum_labels(mask > 0, mask, np.arange(1, count + 1)))
    alpha = (mask > 0).astype(np.float32)
    return ndimage.gaussian_filter(alpha, soft * radius) if soft else alpha


def _line(shape: tuple[int, int], share: float, rng: np.random.Generator, ragged: float) -> np.ndarray:
    """float32[H, W] in 0 … 1: a walk that keeps its direction, more or less, of that share of the area."""
    height, width = shape
    area = max(share * height * width, 6.0)
    thick = max(np.sqrt(area) / 6, 1.0)
    steps = int(area / thick) + 1
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, ragged, steps))
    points = np.stack([np.sin(angles), np.cos(angles)], 1).cumsum(0)
    middle = rng.uniform((0.2 * height, 0.2 * width), (0.8 * height, 0.8 * width))
    points += middle - points.mean(0)
    rows, columns = np.rint(points).astype(int).T
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    drawn = np.ones(shape, bool)
    drawn[rows[inside], columns[inside]] = False
    return np.clip(thick / 2 + 0.5 - ndimage.distance_transform_edt(drawn), 0, 1).astype(np.float32)


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _cutpaste(image, share, rng, other):
    rows, columns = _place(image.shape[:2], share, rng)
    h, w = rows.stop - rows.start, columns.stop - columns.start
    top, left = rng.integers(image.shape[0] - h + 1), rng.integers(image.shape[1] - w + 1)
    alpha, changed = np.zeros(image.shape[:2], np.float32), image.copy()
    part = image[top : top + h, left : left + w]
    turned = part[::-1, ::-1] if rng.random() < 0.5 else part[:, ::-1]
    gain = 1 + rng.uniform(0.3, 0.6) * _sign(rng)  # CutPaste jitters colours, too; less, where pictures have parts
    changed[rows, columns] = turned * gain
    alpha[rows, columns] = 1
    return alpha, changed


def _noise(image, share, rng, other):
    grain = np.roll(other, rng.integers(0, other.shape[0], 2), (0, 1))
    grain = grain * rng.uniform(0.6, 1.4) + rng.uniform(-30, 30, image.shape[2])
    return _blob(image.shape[:2], share, rng) * np.float32(rng.uniform(0.5, 1)), grain


def _scratch(image, share, rng, other):
    return _line(image.shape[:2], share, rng, 0.02), image + _sign(rng) * rng.uniform(40, 110)


def _crack(image, share, rng, other):
    return _line(image.shape[:2], share, rng, 0.35), image * rng.uniform(0.2, 0.5)


def _spot(image, share, rng, other):
    tint = rng.uniform(0.6, 1, image.shape[2])
    return _blob(image.shape[:2], share, rng, soft=0.15), image + _sign(rng) * rng.uniform(35, 100) * tint


def _missing(image, share, rng, other):
    alpha = _blob(image.shape[:2], share, rng)
    edge = ndimage.binary_dilation(alpha > 0, iterations=2) & (alpha == 0)
    around = image[edge].mean(0) if edge.any() else image.mean((0, 1))
    return alpha, np.broadcast_to(around, image.shape)


def _blur(image, share, rng, other):
    sigma = rng.uniform(0.02, 0.05) * np.sqrt(image.shape[0] * image.shape[1]) / 2
    return _blob(image.shape[:2], share, rng, soft=0.1), ndimage.gaussian_filter(image, (sigma, sigma, 0))


def _hue(image, share, rng, other):
    alpha = _blob(image.shape[:2], share, rng, soft=0.1)
    if image.shape[2] == 1:
        middle = image.mean()
        return alpha, middle + (image - middle) * rng.choice([0.3, 1.8]) + _sign(rng) * 15
    shift = rng.uniform(20, 60) * _sign(rng)
    tint = np.roll(np.array([1.0, -1.0, 0.0], np.float32), rng.integers(3))
    return alpha, image + shift * tint


KINDS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "cutpaste": _cutpaste,
    "noise": _noise,
    "scratch": _scratch,
    "crack": _crack,
    "spot": _spot,
    "missing": _missing,
    "blur": _blur,
    "hue": _hue,
}
"""Name -> `(image float32, share, rng, other) -> (how much of it float32[H, W], the changed picture)`."""
