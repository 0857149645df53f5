"""A folder of made pictures to try adjax on: textures, and the same with made defects. Nothing is fetched.

FOLDER/train/good/000.png             normal, to learn from
FOLDER/test/good/000.png              normal, to evaluate on
FOLDER/test/scratch/000.png           with a defect of `adjax.data.defects`, one folder per kind
FOLDER/ground_truth/scratch/000_mask.png    white where the defect is

That is the layout of MVTec AD, which `adjax train FOLDER` reads. Each picture is drawn for itself: threads, grain and
light differ from one to the next as those of photographs of one product do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data.split import DataError

SIDE_PX = 160
TRAINED, TESTED, DEFECTS = 80, 20, 10
"""Normal pictures to learn from, normal ones to evaluate on, and pictures of each kind of defect."""
SHOWN = ("scratch", "spot", "missing")
SHARE = (0.004, 0.03)
"""Of a picture's area that a defect takes."""


class Written(NamedTuple):
    """How many pictures were written: normal to learn from, normal to evaluate on, with a defect."""

    trained: int
    tested: int
    defects: int


def write(folder: str | os.PathLike, texture: str = "fabric", seed: int = 0) -> Written:
    """Writes an example folder.

    Args:
      folder: made if it isn't there; empty, if it is.
      texture: a key of `TEXTURES`.
      seed: of all draws, ≥ 0. The same seed writes the same pictures.

    Returns:
      How many pictures there are of each sort.

    Raises:
      DataError: no such texture, or a folder with something in it.
    """
    from adjax.data.defects import defects

    if texture not in TEXTURES:
        raise DataError(f"texture {texture!r}: choose one of {', '.join(TEXTURES)}")
    root, rng = Path(folder), np.random.default_rng(seed)
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        raise DataError(f"{root} is there and not an empty folder: name one that isn't there yet")
    for part, count in (("train", TRAINED), ("test", TESTED)):
        _save(pictures(texture, count, rng), root / part / "good")
    for kind in SHOWN:
        made, masks, _ = defects(pictures(texture, DEFECTS, rng), SHARE, int(rng.integers(2**31)), (kind,))
        _save(made, root / "test" / kind)
        _save(np.where(masks, 255, 0).astype(np.uint8), root / "ground_truth" / kind, "_mask")
    return Written(TRAINED, TESTED, DEFECTS * len(SHOWN))


def pictures(texture: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws normal pictures.

    Args:
      texture: a key of `TEXTURES`.
      count: number of pictures, ≥ 0.
      rng: that draws them.

    Returns:
      uint8[count, 160, 160, 3].
    """
    draw, tint = TEXTURES[texture]
    drawn = np.empty((count, SIDE_PX, SIDE_PX, 3), np.uint8)
    for row in range(count):
        height = draw(rng)
        slope = np.linspace(-1, 1, SIDE_PX)
        light = rng.uniform(0.95, 1.05) + 0.04 * (rng.normal() * slope + rng.normal() * slope[:, None])
        colour = ((120 + 45 * height) * light)[..., None] * np.array(tint)
        drawn[row] = np.clip(np.rint(colour + rng.normal(0, 3, colour.shape)), 0, 255)
    return drawn


def _smooth(rng: np.random.Generator, *sigma: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=(SIDE_PX, SIDE_PX)), sigma, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def _fabric(rng: np.random.Generator) -> np.ndarray:
    """A plain weave: each thread lies above every other one that it crosses, and none is quite straight."""
    period = 10.0
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX] + rng.uniform(0, period, (2, 1, 1))
    across, along = (x / period + 0.05 * _smooth(rng, 12, 12) for x in (columns, rows))
    above = (np.floor(across) + np.floor(along)) % 2 == 0
    round_ = np.where(above, np.sin(np.pi * (across % 1)), np.sin(np.pi * (along % 1)))
    return 1.6 * round_ - 1 + 0.15 * np.where(above, 1, -1) + 0.1 * _smooth(rng, 1, 1)


def _metal(rng: np.random.Generator) -> np.ndarray:
    """A brushed sheet: grain that is long in one direction."""
    return 0.5 * _smooth(rng, 0.7, 30) + 0.2 * _smooth(rng, 2, 60)


def _plaster(rng: np.random.Generator) -> np.ndarray:
    """A rough wall: grain of several sizes."""
    return 0.4 * _smooth(rng, 1, 1) + 0.35 * _smooth(rng, 3, 3) + 0.25 * _smooth(rng, 8, 8)


def _save(images: np.ndarray, folder: Path, ending: str = "") -> None:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}{ending}.png")


TEXTURES: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], tuple[float, float, float]]] = {
    "fabric": (_fabric, (1.0, 0.95, 0.82)),
    "metal": (_metal, (1.0, 1.02, 1.05)),
    "plaster": (_plaster, (1.0, 0.98, 0.93)),
}
"""Name → `(rng) -> height float[160, 160]`, about −1 … 1, and the tint of red, green and blue."""
