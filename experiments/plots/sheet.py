"""A sheet of thumbnails: one panel measured in inches, filled from top to bottom."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from PIL import Image

from experiments.plots.canvas import INK, NOTE, canvas

WIDTH, GAP = 7.4, 0.08
MAX_PIXELS = 150_000
"""Of all thumbnails together: the file stays below the limit whatever the images show."""


def unit(images: ArrayLike) -> np.ndarray:
    """uint8[N, H, W(, C)], or floats in 0..1, of any number of channels -> float32[N, H, W, 1 or 3] in 0..1."""
    pictures = np.asarray(images)
    pictures = pictures[..., None] if pictures.ndim == 3 else pictures
    if pictures.ndim != 4:
        raise ValueError(f"images of shape {pictures.shape}: expected [N, H, W, C] or [N, H, W]")
    scale = 255 if np.issubdtype(pictures.dtype, np.integer) else 1
    channels = 3 if pictures.shape[-1] >= 3 else 1
    return pictures[..., :channels].astype(np.float32) / scale


def rgb(pictures: np.ndarray, together: int) -> np.ndarray:
    """float[N, H, W, 1 or 3] in 0..1 -> uint8[N, h, w, 3], no larger than `together` of them may be; NaN is red."""
    known = np.isfinite(pictures).all(-1, keepdims=True)
    shades = np.where(known, np.clip(pictures, 0, 1), to_rgb(NOTE))
    whole = np.round(255 * shades).astype(np.uint8)
    height, width = whole.shape[1:3]
    shrink = (MAX_PIXELS / max(together, 1) / max(height * width, 1)) ** 0.5
    if shrink >= 1 or not len(whole):
        return whole
    size = max(1, int(shrink * width)), max(1, int(shrink * height))
    return np.stack([np.asarray(Image.fromarray(x).resize(size, Image.Resampling.BOX)) for x in whole])


def sheet() -> tuple[Figure, Axes]:
    figure, (ax,) = canvas(1, WIDTH, 1.0)
    ax.axis("off")
    return figure, ax


def close(figure: Figure, ax: Axes, height: float) -> None:
    """Sets the size, once it is known how far down the sheet reaches."""
    figure.set_size_inches(WIDTH, height)
    ax.set(xlim=(0, WIDTH), ylim=(height, 0), aspect="equal")


def heading(ax: Axes, top: float, text: str) -> float:
    """Writes a line; returns where the next thing begins."""
    style: dict[str, Any] = {"size": 9, "weight": "bold", "va": "center", "color": INK}
    ax.text(0.02, top + 0.13, text, **style, in_layout=False)  # a long line must not shrink the images
    return top + 0.32


def place(ax: Axes, picture: np.ndarray, left: float, top: float, width: float, edge: str) -> float:
    """Draws uint8[h, w, 3] there, framed; returns its lower edge."""
    bottom = top + width * picture.shape[0] / max(picture.shape[1], 1)
    ax.imshow(picture, extent=(left, left + width, bottom, top), interpolation="nearest")
    ax.add_patch(Rectangle((left, top), width, bottom - top, fill=False, ec=edge, lw=1.0))
    return bottom


def below(ax: Axes, x: float, top: float, text: str, width: float, colour: str = INK) -> None:
    """Writes a short text of eight signs or so, small enough for the width."""
    ax.text(x, top + 0.03, text, size=min(8.5, 13 * width), ha="center", va="top", color=colour)
