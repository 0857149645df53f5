"""Strict decoding of one image file to uint8 pixels: what doesn't fit 8-bit grey or RGB is refused.

What a picture that is taken looks like, a camera's orientation tag applied, is decided in `adjax.data.io.pixels`, for
training and scoring alike. `open_image` is where files become images, there and here: what Pillow is known to read
wrongly it fixes, or hands to `adjax.data.io.tiff`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from adjax.data.io import tiff
from adjax.data.io.pixels import orientation, pixels, seen_size
from adjax.data.split import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 4096 * 4096  # a file of 300 bytes can claim 81 megapixels
CHANNELS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "P": 3}
"""Pillow's modes that map to grey or RGB without loss, if nothing is transparent."""


def open_image(file: BinaryIO) -> Any:
    """Opens a picture file by its content; decodes nothing.

    Args:
      file: open for reading, and for as long as the image is needed.

    Returns:
      Pillow's image; or a `tiff.Page`, of a TIFF file that Pillow can't open or is known to read wrongly.

    Raises:
      tiff.Unfit: a TIFF file of which nothing says what it looks like.
      Exception: Pillow's, of any kind.
    """
    from PIL import Image

    if tiff.is_tiff(file):
        return tiff.open_image(file)
    image = Image.open(file, formats=FORMATS)
    key = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(key, int) and (depth := bits(image)) < 8:
        image.info["transparency"] = key * 255 // ((1 << depth) - 1)  # Pillow scales the pixels, but not this one
    return image


class Header(NamedTuple):
    """A file's header, read before it is decoded."""

    height: int
    width: int
    channels: int


def read_header(path: Path) -> Header:
    """Reads size and colour.

    Raises:
      DataError: unreadable, too large, more than 8 bits a channel, several frames, or a mode such as CMYK.
    """
    with _opened(path) as image:
        return _header(image, path)


def read_pixels(path: Path, channels: int) -> np.ndarray:
    """Decodes one file.

    Args:
      path: the file.
      channels: 1, for files that are grey; or 3, for any.

    Returns:
      uint8 [H, W, channels].

    Raises:
      DataError: as `read_header`; cut short or damaged; or with transparent pixels.
    """
    with _opened(path) as image:
        turned = orientation(image)
        return pixels(_opaque(image, path), channels, turned)


def read_square(path: Path, side_px: int) -> np.ndarray:
    """Decodes one file and brings the middle of it to a square: the shorter side becomes `side_px`.

    Args:
      path: the file.
      side_px: at least 1; smaller images are enlarged.

    Returns:
      uint8 [side_px, side_px, 3].

    Raises:
      DataError: as `read_pixels`.
    """
    with _opened(path) as image:
        turned = orientation(image)
        return pixels(_opaque(image, path), 3, turned, side_px, side_px)


def _opaque(image: Any, path: Path) -> Any:
    """The image, once it is known to be 8-bit grey or RGB, and nowhere transparent."""
    _header(image, path)
    if isinstance(image, tiff.Page):
        image = image.decode()
    transparent = image.mode in ("LA", "RGBA") or "transparency" in image.info
    if transparent and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        raise DataError(f"{path} has transparent pixels, whose colour is undefined: lay it on a background first")
    return image


def _header(image: Any, path: Path) -> Header:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{path} claims {width}×{height} pixels, more than {MAX_PIXELS:,}: resize it first")
    depth = bits(image)
    if depth > 8 or image.mode not in CHANNELS:
        raise DataError(
            f"{path} is of mode {image.mode} with {depth} bits a channel, but 8-bit grey or RGB is needed: "
            "scale and convert it yourself, since clipping would spoil it"
        )
    # A camera's JPEG with a preview behind it opens as MPO: its first frame is the picture.
    # Of a TIFF file's pages, `tiff.open_image` has found the only one that is no smaller copy.
    if image.format not in ("MPO", "TIFF") and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{path} has {image.n_frames} frames: save one of them alone")
    width, height = seen_size(image, orientation(image))
    return Header(height, width, CHANNELS[image.mode])


def bits(image: Any) -> int:
    """Bits a channel in the file; Pillow shows RGB of 16 bits as if it had 8."""
    if isinstance(image, tiff.Page):
        return image.bits
    if image.format == "PNG":
        before = image.fp.tell()
        image.fp.seek(24)  # signature, then IHDR: length, type, width, height, bit depth
        depth = image.fp.read(1)[0]
        image.fp.seek(before)
        return depth
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))
    if image.format == "PPM":  # Pillow's decoder is told the mode of its bytes, or that and the header's maximum
        told = image.tile[0][3]
        return (16 if "16" in told else 8) if isinstance(told, str) else told[-1].bit_length()
    return 8 if image.mode in CHANNELS else 16


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from PIL import Image

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with open(path, "rb") as file, open_image(file) as image:
            yield image
    except tiff.Unfit as error:
        raise DataError(f"cannot read {path}: {error}") from error
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, *bombs) as error:
        raise DataError(f"cannot read {path}: {error}; repair it or take it out") from error
