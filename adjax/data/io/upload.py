"""The one reader of picture files: any of them to uint8 pixels, or the reason why not.

| the file | becomes |
|---|---|
| 8-bit grey, RGB, YCbCr, palette, black and white | as it is |
| camera's orientation tag (EXIF) | turned as a viewer turns it |
| transparent (RGBA, LA, a palette's or a key colour) | laid on white, as a page or a printer does |
| 16 bits a channel | the upper 8 bits: all of 0 … 65535 becomes all of 0 … 255, nothing is clipped |
| 2, 4, 10, 12, 14, … bits a sample | scaled likewise, by the white of that depth |
| 16 bits that hold fewer (a camera's 10 or 12) | scaled by the `depth` fitted on the training pictures, if told |
| TIFF with white as zero | turned over |
| TIFF palette whose table has no entry above 255 | taken for one of 8 bits |
| AVIF, and HEIF of telephones (extra `heif`) | 8 bits a channel: of 10 or 12 the upper 8 |
| DICOM grey of 8 to 16 bits, signed too (extra `dicom`) | by its rescale or modality table, and its first window |
| the same without a window | by its first VOI table; MONOCHROME1 is turned over, here and above |
| the same without either | from the least to the greatest value that its bits allow, whatever the picture uses |
| DICOM RGB and YBR of 8 bits | RGB |
| CMYK (print) | RGB by the plain formula; colour profiles are not applied, to no file |
| grey TIFF of floats, signed or 32-bit integers, with `--range LOW HIGH` | LOW is black, HIGH white; others refused |
| 32-bit and signed integers, floats without `--range`, LAB, HSV | refused: nothing says which value is white |
| grey of many bands, raw, other inks than CMYK | refused: nothing says which bands to look at |
| several frames or pages | refused: one would be looked at and the others not; of a camera's MPO the first |
| the same with `--page N` | page N of every file, from 1; a file with fewer is refused |
| a pyramid: one page, and smaller copies of it | the page |
| more than 16,777,216 pixels | a JPEG is decoded at ½, ¼ or ⅛ of its size; others are refused, but for tiles |
| colour, for a detector that learned from grey files alone | its lightness; `predict` says of how many |
| cut short, damaged, empty, no picture, of another kind | refused |

With `strict`, as published sets are read, only 8-bit grey, RGB and palettes are taken, opaque and of one frame: nothing
is scaled, laid on white or decoded small. What both take comes out the same.

The name's extension counts for nothing here: a file is what its first bytes say. A decoder that fails in whatever way
fails for its own file alone. TIFF files that Pillow can't open, or is known to read wrongly, go to a second reader,
`adjax.data.io.tiff`; DICOM files to a third, `adjax.data.io.dicom`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from adjax.data.io import dicom, tiff
from adjax.data.io.picture import CHANNELS, FORMATS, MAX_PIXELS, MOST_TILED, OWN, TooLarge, bits, open_image
from adjax.data.io.pixels import Frame, decode_small, orientation, pixels, seen_size, stored
from adjax.data.split import DataError

LONGEST_REASON = 300  # characters
LEAST_CHROMA = 8
"""Of 128: pictures that stay below are grey, whatever their files say; scans and JPEG are a little tinted."""
CELLS = 256
"""In a row and in a column, of whose means colours are looked for."""
_PLAIN = ("1", "L", "P", "RGB", "YCbCr", "CMYK")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")
Source = str | os.PathLike | BinaryIO
"""A path, or a file that is open for reading, can seek, and stands at its beginning."""


class NotAPicture(DataError):
    """A file that is empty, or no picture by its content."""


class Header(NamedTuple):
    """A file's header, read before it is decoded.

    Attributes:
      height, width: as a viewer shows it, px.
      channels: 1 for grey, else 3.
      mode: Pillow's name, with ";16" for more than 8 bits a channel.
    """

    height: int
    width: int
    channels: int
    mode: str


class Picture(NamedTuple):
    """A file, decoded.

    Attributes:
      pixels: uint8 [H, W, C], as asked for; of its own size for tiles.
      header: of the file.
      peak: the largest value in the file, its upper 8 of 16 bits; None: the file has another depth.
      coloured: whether its colours, not only its file, went lost in grey pixels.
    """

    pixels: np.ndarray
    header: Header
    peak: int | None = None
    coloured: bool = False


def look(
    source: Source, strict: bool = False, page: int | None = None, limits: tuple[float, float] | None = None
) -> Header:
    """Reads a file's header, decoding nothing.

    Args:
      source: the file, see `Source`.
      strict: refuse what isn't 8-bit grey or RGB, see above.
      page, limits: as of `read`.

    Returns:
      The `Header`.

    Raises:
      DataError: the reason, without the path.
    """
    with _opened(source, page, limits) as image:
        return _header(image, strict)


def read(
    source: Source,
    shape: tuple[int, ...],
    frame: Frame = "middle",
    strict: bool = False,
    depth: int = 16,
    page: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Picture:
    """Decodes a file to the pixels that a detector of this `image_shape` takes, see `adjax.data.io.pixels`.

    Args:
      source: the file, see `Source`.
      shape: (height px, width px, channels 1 or 3).
      frame: how the picture is brought to that size, see `adjax.data.io.pixels.Frame`.
      strict: refuse what isn't 8-bit grey or RGB, and opaque, see above.
      depth: bits that 16-bit grey uses, 8 to 16: white is 2^depth − 1. Less than 16: anything else is refused.
      page: of TIFF, and frame of what else has several, from 1; None: there must be one.
      limits: values that are black and white, of grey TIFF of floats, signed or 32-bit integers; anything else is
        refused. None: such files are.

    Returns:
      The `Picture`.

    Raises:
      DataError: the reason, without the path.
    """
    height, width, channels = shape
    with _opened(source, page, limits) as image:
        header, turned = _header(image, strict), orientation(image)
        most = MOST_TILED if frame == "tiles" else MAX_PIXELS
        if frame != "tiles":
            decode_small(image, stored(height, width, turned), most)
        elif header.height < height or header.width < width:
            raise DataError(f"{header.width}×{header.height} pixels, smaller than a tile of {width}×{height}")
        if image.width * image.height > most:
            claim = f"claims {header.width}×{header.height} pixels, more than {most:,}"
            raise TooLarge(f"{claim}: resize it first")
        own = bits(image)
        if depth < 16 and (own not in (depth, 16) or header.mode not in _DEEP):
            raise DataError(f"mode {header.mode} with {own} bits a channel, but grey of {depth} bits is expected")
        flat = _flat(image, header, strict, depth)
        peak = _peak(flat, tiff.white_is_zero(image)) >> (16 - depth) if own == 16 and limits is None else None
        coloured = channels < header.channels and _coloured(flat)
        return Picture(pixels(flat, channels, turned, height, width, frame), header, peak, coloured)


def reason(error: Exception) -> str:
    """One line of an exception, in characters that any file can hold."""
    return " ".join(text(str(error)).split())[:LONGEST_REASON] or type(error).__name__


def text(value: str) -> str:
    r"""What stands for bytes that are no UTF-8 (`os.fsdecode`) as `\xff`, all else as it is."""
    return os.fsencode(value).decode("utf-8", "backslashreplace")


def line(name: str) -> str:
    """A name for a terminal, in one line: no control characters, of which a terminal might do as they say."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text(name))


def quiet() -> None:
    """Keeps the readers' warnings of odd files from the screen: for commands, which say of each file what is wrong."""
    warnings.filterwarnings("ignore", module="PIL")
    warnings.filterwarnings("ignore", module="pydicom")
    for name in ("PIL", "tifffile", "pydicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _header(image: Any, strict: bool) -> Header:
    deep = bits(image) > 8
    if strict:
        _check_plain(image)
    if deep and image.mode == "I" and image.format in ("PNG", "PPM"):  # Pillow's other name for 16-bit grey
        mode = "I;16"
    else:
        mode = f"{image.mode};16" if deep and image.mode in ("RGB", "RGBA", "LA") else image.mode
    if isinstance(image, OWN):
        mode = "I;16" if mode == "L" and deep else mode
    elif image.mode not in (*_PLAIN, *_ALPHA, *_DEEP) and mode not in _DEEP:
        named = f", or {tiff.NAME_THEM}" if image.format == "TIFF" and image.mode in ("F", "I") else ""
        raise DataError(
            f"mode {image.mode}: nothing says which of its values is white; convert it to 8-bit grey or RGB{named}"
        )
    width, height = seen_size(image, orientation(image))
    grey = mode in ("1", "L", "LA", "La", "F", "I", *_DEEP) or mode == "LA;16"
    return Header(height, width, 1 if grey else 3, mode)


def _check_plain(image: Any) -> None:
    """Refuses what `strict` doesn't take, by the header."""
    if image.width * image.height > MAX_PIXELS:
        raise TooLarge(f"claims {image.width}×{image.height} pixels, more than {MAX_PIXELS:,}: resize it first")
    if isinstance(image, dicom.Slice):
        raise DataError("DICOM, which is scaled as its header says, but 8-bit grey or RGB is needed: convert it first")
    if bits(image) > 8 or image.mode not in CHANNELS:
        raise DataError(
            f"mode {image.mode} with {bits(image)} bits a channel, but 8-bit grey or RGB is needed: scale and convert "
            "it yourself, since clipping would spoil it"
        )


def _flat(image: Any, header: Header, strict: bool, white_bits: int) -> Any:
    """8 bits a channel, nothing transparent."""
    from PIL import Image

    key = image.info.get("transparency")
    if isinstance(image, OWN):
        image = (dataclasses.replace(image, bits=white_bits) if image.bits == 16 else image).decode()
    elif header.mode in _DEEP:
        if key is not None:
            raise DataError("16-bit grey with a transparent value: lay it on a background first")
        depth = bits(image) if image.format == "TIFF" else 16  # Pillow scales PPM's to 16
        depth = white_bits if bits(image) == 16 else depth
        grey = tiff.to_eight(np.asarray(image).astype(np.uint16), depth)
        return Image.fromarray(255 - grey if tiff.white_is_zero(image) else grey)
    if image.mode not in _ALPHA and key is None:
        return image
    if isinstance(key, tuple | int) and np.max(key) > 255:
        raise DataError("16-bit RGB with a transparent colour: lay it on a background first")
    if image.mode in ("La", "PA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    image = image.convert("RGBA")
    if strict and np.asarray(image)[..., 3].min() < 255:
        raise DataError("transparent pixels, whose colour is undefined: lay it on a background first")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _peak(image: Any, negative: bool) -> int:
    found = image.getextrema()
    colours = found if image.mode == "CMYK" else found[:3]  # black is an ink, alpha no colour
    bands = colours if isinstance(found[0], tuple) else [found]
    return max(255 - low if negative else high for low, high in bands)


def _coloured(image: Any) -> bool:
    """Whether an 8-bit image of several channels shows colours: many grey ones are saved as RGB."""
    if image.mode == "P":  # numbers, of which there are no means
        image = image.convert("RGB")
    small = image.reduce(tuple(max(side // CELLS, 1) for side in image.size))
    return any(max(128 - low, high - 128) > LEAST_CHROMA for low, high in small.convert("YCbCr").getextrema()[1:])


@contextmanager
def _opened(source: Source, page: int | None, limits: tuple[float, float] | None) -> Iterator[Any]:
    from PIL import UnidentifiedImageError

    empty = False
    try:
        with open(source, "rb") if isinstance(source, str | os.PathLike) else nullcontext(source) as file:
            empty = not file.read(1)
            file.seek(0)
            with open_image(file, page, limits) as image:
                yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        what = "the file is empty" if empty else f"by its content no {', '.join(FORMATS)} file"
        raise NotAPicture(what) from error
    except OSError as error:
        raise DataError(error.strerror if error.errno and error.strerror else f"damaged: {reason(error)}") from error
    except Exception as error:  # a hostile file makes a decoder fail in any way: MemoryError, struct.error, zlib.error
        raise DataError(f"damaged: {reason(error)}") from error
