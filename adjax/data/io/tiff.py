"""TIFF files that Pillow can't open or is known to read wrongly, as their own tags say, by a second reader: tifffile.

| the file | Pillow 13 |
|---|---|
| several pages, all but one of them marked as reduced | sees the first |
| ImageJ's stack of images behind one header | sees the first |
| uncompressed planes of 16 bits; planes of grey and alpha | gives wrong values |
| uncompressed YCbCr | takes any subsampling, range and coefficients for the usual ones |
| signed 8 bits | takes −1 for white |
| 16 bits big-endian with white as zero, 16 bits and alpha, other depths, many bands, … | does not open it |

Everything else stays Pillow's, which is proven by `tests/test_golden_images.py`. What is compressed, or not of 1, 8 or
16 bits, takes imagecodecs besides (the extra `tiff`).
"""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from adjax import distribution
from adjax.data.io import reading
from adjax.data.io.opened import Opened
from adjax.data.split import DataError

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 64
"""A pyramid has a few; more are pages of a document or a film, of which one is looked for by its number."""
NAME_THEM = "train with --range LOW HIGH, the values that are black and white"
MOST_BANDS, MOST_PIXELS = 8, 4096 * 4096
"""Limit for a page, and for a tile: each is decoded in memory as a whole."""
_BOUNDED = (1, 5, 8, 32773, 32946, 34925, 50000)
"""Compressions that give no more than they are asked for: none, LZW, Deflate, PackBits, LZMA, Zstandard."""
_GREY, _COLOURS = (0, 1), {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}
_MODE = {0: "L", 1: "L", 2: "RGB", 3: "RGB", 5: "CMYK"}
"""PhotometricInterpretation → colours a pixel and Pillow's mode: white is zero, black is zero, RGB, palette, CMYK."""
_ASSOCIATED, _ALPHA = 1, 2  # ExtraSamples: colours multiplied by it already, and as they are
_REDUCED, _MASK = 1, 4  # NewSubfileType
_WEIGHTS, _LEVELS = (0.299, 0.587, 0.114), (0, 255, 128, 255, 128, 255)  # YCbCrCoefficients, ReferenceBlackWhite
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3  # SampleFormat
_NONE: Any = object()
_ROWS = 256
Limits = tuple[float, float]
"""Values that are black and white."""


class Unfit(DataError):
    """The reason why a TIFF file is not read, without its path."""


def is_tiff(file: BinaryIO) -> bool:
    """Tells whether a file begins like TIFF; it is rewound to its beginning."""
    file.seek(0)
    found = file.read(4) in MAGIC
    file.seek(0)
    return found


def open_image(file: BinaryIO, page: int | None = None, limits: Limits | None = None) -> Any:
    """Opens a TIFF file; decodes nothing.

    Args:
      file: open for reading, and for as long as the image is needed.
      page: from 1, smaller copies of others not counted; None: there must be one.
      limits: values that are black and white, of floats, signed or 32-bit integers; None: there must be no such.

    Returns:
      Pillow's image, at the page that is the picture; or a `Page`.

    Raises:
      DataError: several pictures, or fewer than `page`, or of a kind of which nothing says what it looks like.
    """
    from PIL import Image

    if limits is not None:
        return _page(_find(file, page)[0], page, limits)
    found = None
    try:
        image: Any = Image.open(file, formats=("TIFF",))
        if image.is_animated or image.tag_v2.get(254, 0) or page is not None:
            found, index = _find(file, page)
            image.seek(index)
        plain = _plain(image)
    except DataError:
        raise
    except Exception:  # Pillow's, of any kind
        plain = False
    return image if plain else _page(_find(file, page)[0] if found is None else found, page)


def white_is_zero(image: Any) -> bool:
    """Tells whether a file's samples are a negative; Pillow turns over those of up to 8 bits, and no others."""
    if isinstance(image, Page):
        return image.source.photometric == 0
    return image.format == "TIFF" and image.tag_v2.get(262) == 0


@dataclass(frozen=True)
class Page(Opened):
    """The one picture in a TIFF file, by tifffile.

    Attributes:
      source: tifffile's page; its file must still be open.
      bits: a sample.
      mode: of what `decode` gives, Pillow's name.
      width, height: as a viewer shows it, px.
      limits: values that are black and white; None: 0 and the largest that `bits` hold.
    """

    source: Any
    bits: int
    mode: str
    width: int
    height: int
    limits: Limits | None = None
    format: str = "TIFF"

    def decode(self) -> Any:
        """Pillow's image, of 8 bits a channel, upright.

        Raises:
          NoReader: it takes imagecodecs, and there is none.
          Unfit: it is damaged.
        """
        try:
            return self._decoded()
        except DataError:
            raise
        except Exception as error:  # a hostile file makes a decoder fail in any way
            raise Unfit(f"damaged: {error}") from error

    def _decoded(self) -> Any:
        from PIL import Image

        from adjax.data.io.pixels import upright

        page = self.source
        samples, turned = _samples(page), page.tags.valueof(274) or 1
        if self.limits is not None:
            grey = within(samples[..., 0], self.limits)
            return upright(Image.fromarray(255 - grey if page.photometric == 0 else grey), turned)
        number, extras = _COLOURS[page.photometric], tuple(page.extrasamples)
        white = (1 << self.bits) - 1
        colours = samples[..., :number]
        if page.photometric == 3:
            table = np.asarray(page.tags.valueof(320)).reshape(3, -1)
            if table.shape[1] != white + 1:
                raise Unfit(f"damaged: a palette of {table.shape[1]} entries for {self.bits} bits")
            table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
            colours = table[:, colours[..., 0]].transpose(1, 2, 0)
        else:
            colours = to_eight(white - colours if page.photometric == 0 else colours, self.bits)
        if self.mode in ("LA", "RGBA"):
            place = next((i for i, kind in enumerate(extras) if kind in (_ASSOCIATED, _ALPHA)), 0)
            alpha = to_eight(samples[..., number + place : number + place + 1], self.bits)
            if extras and extras[place] == _ASSOCIATED:
                colours = np.minimum(colours.astype(int) * 255 // np.maximum(alpha, 1), 255).astype(np.uint8)
            colours = np.concatenate([colours, alpha], -1)
        height, width = colours.shape[:2]
        image = Image.frombytes(self.mode, (width, height), np.ascontiguousarray(colours).tobytes())
        return upright(image, turned)


def to_eight(samples: np.ndarray, bits: int) -> np.ndarray:
    """Scales unsigned samples to uint8, white to 255; of more than 8 bits, the upper 8 are taken.

    Args:
      samples: unsigned integers of any shape.
      bits: bits per sample, 1 to 16.

    Returns:
      uint8 of the same shape.

    Raises:
      Unfit: samples above the white of that depth.
    """
    if bits < 8 * samples.dtype.itemsize and samples.size and int(samples.max()) >> bits:
        raise Unfit(f"values above {(1 << bits) - 1:,}, the white of the {bits} bits that are expected")
    if bits >= 8:
        return (samples >> (bits - 8)).astype(np.uint8)
    return (samples.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def within(samples: np.ndarray, limits: Limits) -> np.ndarray:
    """Scales samples to uint8, the limits to 0 and 255, rounded to the nearest.

    Args:
      samples: of any dtype, [rows, …].
      limits: the values that are black and white, compared in the precision of the samples.

    Returns:
      uint8 of the same shape.

    Raises:
      Unfit: samples outside the limits, or NaN.
    """
    low, high = np.asarray(limits, samples.dtype if samples.dtype.kind == "f" else float)
    if np.isnan(samples).any():
        raise Unfit("NaN among the pixels: nothing says how dark they are")
    least, most = samples.min(), samples.max()
    if least < low or most > high:
        raise Unfit(f"values from {least:g} to {most:g}, outside of {low:g} to {high:g}, the range that is expected")
    scaled = np.empty(samples.shape, np.uint8)
    for at in range(0, len(samples), _ROWS):  # in double precision, which takes eight times the memory
        share = (samples[at : at + _ROWS].astype(float) - float(low)) / (float(high) - float(low))
        scaled[at : at + _ROWS] = np.rint(255 * share)
    return scaled


def _find(file: BinaryIO, number: int | None) -> tuple[Any, int]:
    """tifffile's page that is not a smaller copy of another, and which of all it is.

    Args:
      file: open for reading.
      number: of those that are no copies, from 1; None: there must be one.
    """
    import tifffile

    file.seek(0)
    pages: list[Any] = []
    whole: list[int] = []
    most = MOST_PAGES if number is None else sys.maxsize
    try:
        opened: Any = tifffile.TiffFile(file)
        while len(pages) < most and len(whole) < (number or most):
            if (page := opened.pages.get(len(pages), _NONE)) is _NONE:
                break
            if not page.subfiletype & _REDUCED:
                whole.append(len(pages))
            pages.append(page)
    except Exception as error:  # tifffile's, of any kind
        raise Unfit(f"damaged: {error}") from error
    if any(page.subfiletype & _MASK for page in pages):
        raise Unfit("a page that masks another: save the picture alone, its transparency in an alpha channel")
    if not whole and pages and pages[0].subifds:
        raise Unfit("a preview, whose picture is in a SubIFD (a camera's raw file?): develop it to TIFF or PNG")
    if not pages:
        raise Unfit("damaged: no page")
    if number is not None and len(pages) == 1 and _stacked(pages[0].description):
        raise Unfit(
            "several frames behind one header, as ImageJ writes them: save them as pages, or each of them alone"
        )
    index = (whole or range(len(pages)))[reading.frame_of(number, len(whole or pages))]
    return pages[index], index


def _plain(image: Any) -> bool:
    """Whether Pillow reads this page as its tags say. Fixes a palette of 8-bit entries."""
    tag = image.tag_v2.get
    depths, raw, colour = tag(258, (1,)), tag(259, 1) == 1, tag(262)
    separate, signed = tag(284, 1) == 2, set(tag(339, (1,))) != {1}
    if colour == 3:
        _mend_palette(image)
    return not (
        (colour is None and tag(259) != 6)  # old-style JPEG is YCbCr
        or tag(32997, 1) != 1  # slices of a volume
        or _stacked(tag(270))
        or (signed and max(depths) <= 8)
        or (separate and any(tag(338, ())) and (raw or colour in _GREY))
        or (raw and separate and max(depths) > 8)
        or (raw and colour == 6 and tag(277, 1) > 1 and not _usual(tag))
        or (colour == 5 and tag(332, 1) != 1)
    )


def _usual(tag: Any) -> bool:
    """Whether YCbCr is as JPEG has it, each pixel with colours of its own."""
    weights, levels = tag(529, _WEIGHTS), tag(532, _LEVELS)
    return tag(530, (2, 2)) == (1, 1) and np.allclose(weights, _WEIGHTS, atol=1e-3) and np.array_equal(levels, _LEVELS)


def _page(source: Any, number: int | None, limits: Limits | None = None) -> Page:
    try:
        if number is None and _stacked(source.description):
            raise reading.several()
        _check(source, limits)
        extras, mode = tuple(source.extrasamples), _MODE[source.photometric]
        size = int(source.imagewidth), int(source.imagelength)
        if min(size) < 1:
            raise Unfit(f"damaged: {size[0]}×{size[1]} pixels")
        width, height = size[::-1] if source.tags.valueof(274) in (5, 6, 7, 8) else size
    except DataError:
        raise
    except Exception as error:  # a hostile file's tags may be of any type
        raise Unfit(f"damaged: {error}") from error
    unnamed = source.photometric == 2 and not extras and source.samplesperpixel == 4  # alpha, as Pillow takes it
    if mode != "CMYK" and (unnamed or _ASSOCIATED in extras or _ALPHA in extras):
        mode += "A"
    if limits is not None:
        mode = "F" if source.sampleformat == _FLOAT else "I"
    return Page(source, source.bitspersample, mode, width, height, limits)


def _check(page: Any, limits: Limits | None) -> None:
    """Refuses what could look like several things."""
    colour, bits, samples = page.photometric, page.bitspersample, page.samplesperpixel
    convert = "convert it to 8-bit grey or RGB"
    unbounded = page.sampleformat in (_SIGNED, _FLOAT) or (page.sampleformat == _UNSIGNED and bits == 32)
    named = f", or {NAME_THEM}" if unbounded and colour in _GREY and samples == 1 else ""
    if limits is not None and not (named and bits in (8, 16, 32, 64)):
        raise Unfit(
            f"{samples} samples a pixel of {bits} bits, but grey of floats, signed or 32-bit integers from "
            f"{limits[0]:g} to {limits[1]:g} is expected (--range)"
        )
    if limits is None and page.sampleformat != _UNSIGNED:
        raise Unfit(f"signed or floating-point samples: nothing says which value is white; {convert}{named}")
    if 262 not in page.tags:
        raise Unfit(f"no PhotometricInterpretation: nothing says whether 0 is black or white; {convert}")
    if colour == 5 and (page.tags.valueof(332) or 1) != 1:
        raise Unfit(f"inks other than CMYK; {convert}")
    if colour not in _COLOURS or page.imagedepth != 1:
        name = getattr(colour, "name", str(colour)) if page.imagedepth == 1 else f"{page.imagedepth} slices"
        raise Unfit(f"a TIFF of {name}, which is neither grey, RGB, palette nor CMYK as it stands; {convert}")
    if limits is None and (not isinstance(bits, int) or not 1 <= bits <= 16):
        raise Unfit(f"{bits} bits a sample: 1 to 16 are read, the same for all; {convert}{named}")
    if page.compression not in _BOUNDED:
        raise Unfit(f"a TIFF of compression {getattr(page.compression, 'name', page.compression)}; save it as PNG")
    if page.tilewidth * page.tilelength > MOST_PIXELS:
        raise Unfit(f"damaged: tiles of {page.tilewidth}×{page.tilelength} pixels")
    number, extras = _COLOURS[colour], tuple(page.extrasamples)
    known = len(extras) == samples - number or (samples == 4 and colour == 2 and not extras)
    if not known or not number <= samples <= MOST_BANDS or (colour in _GREY and samples - number > 1):
        raise Unfit(f"{samples} bands: nothing says which of them to look at; save those as grey or RGB")
    if colour == 5 and any(extras):
        raise Unfit(f"transparent CMYK; {convert}")


def _samples(page: Any) -> np.ndarray:
    """Unsigned [H, W, samples] as they are stored."""
    _check_segments(page)
    packed = page.compression != 1 or page.bitspersample not in (1, 8, 16, 32, 64)
    if packed and not _codecs():  # tifffile's own decoders don't know how much may come out
        kind = getattr(page.compression, "name", page.compression)
        raise reading.NoReader(
            f"{page.bitspersample} bits a sample, compression {kind}: it takes imagecodecs to read such a TIFF; "
            f"{distribution.install('tiff')}, or save it as PNG"
        )
    array = page.asarray(squeeze=False, maxworkers=1)
    array = array.astype(np.uint8) if array.dtype == bool else array
    array = array[:, 0]  # [planes, H, W, samples], of which one is 1
    return array[..., 0].transpose(1, 2, 0) if page.planarconfig == 2 and len(array) > 1 else array[0]


def _codecs() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _check_segments(page: Any) -> None:
    """Refuses what is cut short, since tifffile takes a strip that isn't there for black."""
    end = page.parent.filehandle.size
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if len(places) < math.prod(page.chunked) or any(n == 0 or at == 0 or at + n > end for at, n in places):
        raise Unfit("damaged: cut short")


def _stacked(description: Any) -> bool:
    """Whether there are several images behind one header, as ImageJ writes them."""
    found = re.match(r"ImageJ=.*?^images=(\d+)", str(description), re.DOTALL | re.MULTILINE)
    return found is not None and int(found[1]) > 1


def _mend_palette(image: Any) -> None:
    """A table without an entry above 255 holds 8 bits, as libtiff has it; Pillow takes the upper 8 of 16, black."""
    from PIL import ImagePalette

    table = image.tag_v2.get(320, ())
    if image.mode in ("P", "PA") and table and max(table) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(table))
