"""DICOM files, as X-ray machines and scanners write them, by pydicom (extra `dicom`): one frame, 8 bits a channel.

The header alone says how a stored value is shown, never the darkest and brightest value of the picture: see
`adjax.data.io.greys`. Colour is as it is stored; YBR is converted.

No element but those of `TAGS` and of `pydicom.pixels.pixel_array` is read: names of patients stay in the file. One
that is damaged may have a name in another element's place, so no reason quotes its texts, nor what pydicom says.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from adjax import distribution
from adjax.data.io import greys, reading
from adjax.data.io.greys import Unfit
from adjax.data.io.opened import Opened
from adjax.data.split import DataError

TAGS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_GREYS = ("MONOCHROME1", "MONOCHROME2")
_NAMED = "PALETTE COLOR", "HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB"
"""Other kinds of pixels that the standard has or had."""
_PREFERRED = "pillow", "pydicom"
"""Decoders that are always there, so that a picture has the same pixels everywhere."""
_SYNTAX = 0x00020010
_BIG_ENDIAN, _DEFLATED, _EXTENDED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.51"
_PACKAGES = {
    "1.2.840.10008.1.2.4.8": "pyjpegls",  # JPEG-LS
    "1.2.840.10008.1.2.4.9": "'pylibjpeg[openjpeg]'",  # JPEG 2000
    "1.2.840.10008.1.2.4.20": "'pylibjpeg[openjpeg]'",  # its high throughput
    "1.2.840.10008.1.2.4.": "'pylibjpeg[libjpeg]'",  # other JPEG
}
"""How a transfer syntax begins → what decodes it, the first that fits."""


@dataclass(frozen=True, eq=False)
class Slice(Opened):
    """One frame of a DICOM file.

    Attributes:
      file: open for reading.
      index: of the frame, from 0.
      width, height: px.
      table: uint8[2^BitsStored], what each stored value is shown as, the least first; None: colour.
      least: the least value that can be stored.
      decoder: name of pydicom's plug-in; empty: the pixels are not compressed.
    """

    file: BinaryIO
    index: int
    width: int
    height: int
    table: np.ndarray | None
    least: int
    decoder: str
    bits: int = 8
    format: str = "DICOM"

    @property
    def mode(self) -> str:
        """Of what `decode` gives, Pillow's name."""
        return "RGB" if self.table is None else "L"

    def decode(self) -> Any:
        """Pillow's image, of 8 bits a channel.

        Raises:
          Unfit: it is damaged.
        """
        with _unquoted():
            return self._decoded()

    def _decoded(self) -> Any:
        from PIL import Image
        from pydicom.pixels import pixel_array

        if self.decoder:
            self._check_size()
        self.file.seek(0)
        samples = pixel_array(self.file, index=self.index, decoding_plugin=self.decoder)
        if self.table is None:
            return Image.fromarray(np.ascontiguousarray(samples.astype(np.uint8)))
        places = samples.astype(np.int32) - self.least
        if places.min() < 0 or places.max() >= len(self.table):
            raise Unfit(f"damaged: values of more than the {len(self.table).bit_length() - 1} bits of BitsStored")
        return Image.fromarray(self.table[places])

    def _check_size(self) -> None:
        """Refuses a compressed frame that is larger than the header says, before memory is taken for it."""
        import pydicom
        from PIL import Image, UnidentifiedImageError

        self.file.seek(0)
        found = pydicom.dcmread(self.file, specific_tags=["NumberOfFrames", "PixelData"])
        frame = pydicom.encaps.get_frame(found.PixelData, self.index, number_of_frames=_frames(found))
        try:
            with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as image:
                size = image.size
        except UnidentifiedImageError:  # RLE, which has no size of its own, or of a plug-in
            return
        if size != self.size:
            raise Unfit(f"damaged: {size[0]}×{size[1]} pixels, and {self.width}×{self.height} by the header")


def is_dicom(file: BinaryIO) -> bool:
    """Tells whether a file begins like DICOM, by its bytes 128 to 131; it is rewound to its beginning."""
    found = file.read(132)
    file.seek(0)
    return found[128:] == b"DICM"


def open_image(file: BinaryIO, page: int | None = None) -> Slice:
    """Opens a DICOM file; decodes nothing.

    Args:
      file: open for reading, at its beginning, and for as long as the image is needed.
      page: the frame, from 1; None: there must be one.

    Returns:
      The frame.

    Raises:
      NoReader: pydicom is missing, or what decodes this file.
      Unfit: several frames; or nothing says what it looks like.
      DataError: fewer frames than `page`.
    """
    try:
        importlib.import_module("pydicom")
    except ImportError as error:
        raise reading.NoReader(f"DICOM, which needs a reader: {distribution.install('dicom')}") from error
    with _unquoted():
        return _opened(file, page)


@contextmanager
def _unquoted() -> Iterator[None]:
    """Names the kind of an error alone, of which the text may quote the file."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # pydicom's, of any kind
        raise Unfit(f"damaged: pydicom fails with {type(error).__name__}") from None


def _opened(file: BinaryIO, page: int | None) -> Slice:
    import pydicom

    syntax = _syntax(file)
    file.seek(0)
    found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(TAGS))
    size = _whole(found, "Columns") or 0, _whole(found, "Rows") or 0
    if min(size) < 1:
        raise Unfit("DICOM without a picture")
    index = reading.frame_of(page, _frames(found))
    kind, bits = str(found.get("PhotometricInterpretation")), _whole(found, "BitsStored") or 0
    decoder = _decoder(syntax, bits)
    _check(found, kind, bits)
    if kind in _COLOURS:
        return Slice(file, index, *size, None, 0, decoder)
    signed = _whole(found, "PixelRepresentation") == 1
    least = -(1 << (bits - 1)) if signed else 0
    table = greys.of(found, least + np.arange(1 << bits), index, big_endian=syntax == _BIG_ENDIAN)
    return Slice(file, index, *size, table, least, decoder)


def _syntax(file: BinaryIO) -> str:
    """The transfer syntax; refuses what pydicom would inflate as a whole, whatever comes out, to read its header."""
    from pydicom.filereader import data_element_generator

    file.seek(132)
    elements = data_element_generator(file, False, True, lambda tag, *_: int(tag) >> 16 != 2, specific_tags=[_SYNTAX])
    values = [element.value for element in elements if int(element.tag) == _SYNTAX]
    syntax = (values[-1] or b"").decode("ascii", "replace").rstrip("\0 ") if values else ""
    if not re.fullmatch(r"[0-9.]+", syntax):
        raise Unfit("damaged: DICOM without a transfer syntax")
    if syntax == _DEFLATED:
        raise Unfit("DICOM that is deflated as a whole: save it without, or as PNG")
    return syntax


def _decoder(syntax: str, bits: int) -> str:
    """pydicom's plug-in for a transfer syntax; empty for pixels that are not compressed."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    name = "unknown" if UID(syntax).name == syntax else UID(syntax).name
    try:
        found = get_decoder(UID(syntax))
    except NotImplementedError as error:
        raise Unfit(f"DICOM of transfer syntax {name}, which pydicom does not read; save it as PNG") from error
    if not found.is_encapsulated:
        return ""
    there = [plugin for plugin in found.available_plugins if not (plugin == "pillow" and _deep(syntax, bits))]
    if not there:
        package = next(package for start, package in _PACKAGES.items() if syntax.startswith(start))
        raise reading.NoReader(f"DICOM compressed as {name}, which needs a reader: pip install {package}")
    return next((plugin for plugin in _PREFERRED if plugin in there), there[0])


def _deep(syntax: str, bits: int) -> bool:
    """Whether it is a JPEG of 12 bits, which Pillow does not read."""
    return syntax == _EXTENDED and bits > 8


def _check(found: Any, kind: str, bits: int) -> None:
    """Refuses what could look like several things."""
    save = "save it as 8-bit PNG"
    if kind not in (*_GREYS, *_COLOURS):
        other = kind if kind in _NAMED else "unknown"
        raise Unfit(f"DICOM of PhotometricInterpretation {other}: {', '.join((*_GREYS, *_COLOURS))} are read; {save}")
    samples, held, sign = (_whole(found, name) for name in ("SamplesPerPixel", "BitsAllocated", "PixelRepresentation"))
    if samples != (1 if kind in _GREYS else 3):
        raise Unfit(f"damaged: {kind} of {samples} samples a pixel")
    least, most = (8, 16) if kind in _GREYS else (8, 8)
    if not least <= bits <= most or held not in (8, 16) or bits > held:
        allowed = "8 to 16 bits are read" if kind in _GREYS else "8 bits are read"
        raise Unfit(f"{bits} bits a sample in {held}: of {kind} {allowed}; {save}")
    if (high := _whole(found, "HighBit")) not in (None, bits - 1):
        raise Unfit(f"HighBit {high} of {bits} bits: only the lowest bits are read; {save}")
    if sign not in ((0, 1) if kind in _GREYS else (0,)):
        raise Unfit(f"damaged: PixelRepresentation {sign} of {kind}")


def _whole(found: Any, name: str) -> int | None:
    """The number of an element; None: it has none."""
    value = found.get(name)
    return None if value is None else int(value)


def _frames(found: Any) -> int:
    return _whole(found, "NumberOfFrames") or 1
