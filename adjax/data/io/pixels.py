"""A decoded picture to a detector's pixels, in one place, so that training and scoring see the same.

    fitted(upright(flat(image, channels)), height, width)

Strict reading (`picture`, for data sets) and lenient reading (`upload`, for whatever people upload) differ in what they
refuse, not in what they make of a picture that both take.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

MODE = {1: "L", 3: "RGB"}
"""Channels → Pillow's mode."""
ORIENTATION = 0x0112  # EXIF
QUARTER_TURNED = (5, 6, 7, 8)
FINER = 4
Frame = Literal["middle", "whole", "letterbox", "tiles"]
"""How a picture is brought to the size wanted: the largest middle part of its proportions; all of it, stretched; or all
of it in its own proportions, between black bars. "tiles": it keeps its size, and is cut into tiles (`adjax.tiles`)."""


def orientation(image: Any) -> int:
    """The camera's orientation tag, 1 … 8; 1, as it is, where there is none that can be read. Decodes nothing."""
    # Pillow turns TIFF itself; of a PNG only a tag before the pixels counts, since a later one is seen by decoding.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged tag is no tag; Pillow's parsers fail in any way
        return 1
    return value if value in range(1, 9) else 1


def seen_size(image: Any, turned: int) -> tuple[int, int]:
    """Size of a stored image as a viewer shows it.

    Args:
      image: Pillow's.
      turned: its orientation tag, 1 … 8.

    Returns:
      (width px, height px).
    """
    width, height = image.size
    return (height, width) if turned in QUARTER_TURNED else (width, height)


def decode_small(image: Any, size: tuple[int, int] | None, most_pixels: int | None = None) -> None:
    """Lets a JPEG be decoded at a half, a quarter or an eighth, which its format offers at a fraction of the time.

    Args:
      image: Pillow's, not decoded yet; of other formats it is left alone.
      size: (width, height) wanted of its middle, as stored: it is decoded to at least four times that, which
        changes photographs by about one grey level (twice: by three). None: as it is.
      most_pixels: a JPEG of more is made smaller even so.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = image.size
    enough = 1.0 if size is None else min(1.0, FINER * max(size[0] / width, size[1] / height))
    part = next((part for part in (8, 4, 2) if enough * part <= 1), 1)
    if most_pixels is not None:
        part = next((p for p in (1, 2, 4, 8) if p >= part and width * height <= most_pixels * p**2), 8)
    if part > 1:
        image.draft(None, (width // part, height // part))


def stored(height: int, width: int, turned: int) -> tuple[int, int]:
    """Size of an image before it is turned.

    Args:
      height, width: in px, after it is turned.
      turned: the orientation tag, 1 … 8.

    Returns:
      (width px, height px).
    """
    return (height, width) if turned in QUARTER_TURNED else (width, height)


def pixels(
    image: Any,
    channels: int,
    turned: int,
    height: int | None = None,
    width: int | None = None,
    frame: Frame = "middle",
) -> np.ndarray:
    """Converts an 8-bit image without transparency to a detector's pixels.

    Colours become grey by ITU-R 601's weights. The image is resized bilinearly, anti-aliased when it shrinks, as
    `frame` says. It is cut before it is resized, so that a file of 1 × 16,000,000 pixels costs no more than another. A
    JPEG that is far larger is decoded small, see `decode_small`.

    Args:
      image: Pillow's, as stored.
      channels: 1 or 3.
      turned: its orientation tag, which is applied.
      height, width: wanted, in px; None: as it is, and for tiles.
      frame: see `Frame`.

    Returns:
      uint8 [height, width, channels].
    """
    from PIL import Image

    size = None if height is None or width is None or frame == "tiles" else stored(height, width, turned)
    if frame != "tiles":
        decode_small(image, size)
    image = image.convert(MODE[channels])
    if size is not None and image.size != size:  # before it is turned, which is cheaper
        box = _middle(image.size, size) if frame == "middle" else None
        left, top, right, bottom = _between_bars(image.size, size) if frame == "letterbox" else (0, 0, *size)
        image = image.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    image = upright(image, turned)
    if height is not None and width is not None and frame == "letterbox":
        content, image = image, Image.new(image.mode, (width, height))
        image.paste(content, _between_bars(content.size, image.size)[:2])
    array = np.asarray(image)
    return array.reshape(*array.shape[:2], channels)


def unseen(height: int, width: int, shape: tuple[int, ...], frame: Frame) -> float:
    """Computes the share of a picture's area that a detector does not see.

    Args:
      height, width: of the picture, in px.
      shape: (height px, width px, …) of the detector's images.
      frame: see `Frame`.

    Returns:
      In [0, 1).
    """
    *_, tall, wide = seen_part(height, width, shape, frame)
    return max(1 - tall * wide / (height * width), 0.0)


def seen_part(height: int, width: int, shape: tuple[int, ...], frame: Frame) -> tuple[float, float, float, float]:
    """Computes the part of a picture that a detector sees.

    Args:
      height, width: of the picture, in px.
      shape: (height px, width px, …) of the detector's images.
      frame: see `Frame`.

    Returns:
      (top, left, height, width), in px of the picture; between bars larger than it, and then top or left is negative.
    """
    if frame in ("whole", "tiles"):
        return 0.0, 0.0, height, width
    if frame == "letterbox":
        before, above, end, foot = _between_bars((width, height), (shape[1], shape[0]))
        across, down = width / (end - before), height / (foot - above)
        return -above * down, -before * across, shape[0] * down, shape[1] * across
    left, top, right, bottom = _middle((width, height), (shape[1], shape[0]))
    return top, left, bottom - top, right - left


def upright(image: Any, turned: int) -> Any:
    """Turns an image as its orientation tag says.

    Args:
      image: Pillow's.
      turned: the tag; other than 2 … 8, nothing is done.

    Returns:
      Pillow's image.
    """
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return image.transpose(turns[turned]) if turned in turns else image


def _between_bars(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where all of `size` lies in `wanted`, in the middle and in its own proportions; (width, height), whole px."""
    scale = min(wanted[0] / size[0], wanted[1] / size[1])
    width, height = (max(min(round(side * scale), most), 1) for side, most in zip(size, wanted, strict=True))
    left, top = (wanted[0] - width) // 2, (wanted[1] - height) // 2
    return left, top, left + width, top + height


def _middle(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """The largest box of the proportions of `wanted` in the middle of `size`; all (width, height)."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = wanted[0] * scale, wanted[1] * scale
    left, top = max((size[0] - width) / 2, 0), max((size[1] - height) / 2, 0)
    return left, top, min(left + width, size[0]), min(top + height, size[1])
