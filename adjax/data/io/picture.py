"""Opening picture files: what Pillow is known to read wrongly is fixed here, or handed to `adjax.data.io.tiff`.

DICOM, which Pillow doesn't know, is handed to `adjax.data.io.dicom`.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from adjax import distribution
from adjax.data.io import dicom, reading, tiff
from adjax.data.split import DataError

SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
    ".avif",
    ".heic",
    ".heif",
    ".dcm",
}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "AVIF", "HEIF", "DICOM")
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of ISO/IEC 23008-12; a file of the last two may hold AVIF, which names itself among the compatible ones."""
MAX_PIXELS = 4096 * 4096  # a file of 300 bytes can claim 81 megapixels
MOST_TILED = 89_478_485
"""Limit for a picture that is cut into tiles: Pillow's own, beyond which it warns of a decompression bomb."""
CHANNELS = {"1": 1, "L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "P": 3}
"""Pillow's modes that map to grey or RGB without loss, if nothing is transparent."""
OWN = tiff.Page, dicom.Slice
"""Pictures that other readers than Pillow open."""


class TooLarge(DataError):
    """A picture of more pixels than are decoded."""


def open_image(file: BinaryIO, page: int | None = None, limits: tuple[float, float] | None = None) -> Any:
    """Opens a picture file by its content; decodes nothing of it, but frames before the one that is wanted.

    Args:
      file: open for reading, and for as long as the image is needed.
      page, limits: see `adjax.data.io.upload.read`.

    Returns:
      Pillow's image; or a `tiff.Page`, of a TIFF file that Pillow can't open or is known to read wrongly; or a
      `dicom.Slice`.

    Raises:
      DataError: a TIFF or DICOM file of which nothing says what it looks like, or HEIF, AVIF or DICOM without its
        reader; several frames, or fewer than `page`; other pictures than have `limits`.
      Exception: Pillow's, of any kind.
    """
    from PIL import Image

    if tiff.is_tiff(file):
        return tiff.open_image(file, page, limits)
    if limits is not None:
        raise DataError(
            f"no TIFF, but one of floats or signed integers from {limits[0]:g} to {limits[1]:g} is expected"
        )
    if dicom.is_dicom(file):
        return dicom.open_image(file, page)
    image = Image.open(file, formats=_formats(file))
    key = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(key, int) and (depth := bits(image)) < 8:
        image.info["transparency"] = key * 255 // ((1 << depth) - 1)  # Pillow scales the pixels, but not this one
    _turn(image, page)
    return image


def _turn(image: Any, page: int | None) -> None:
    """Goes to a page of GIF, WEBP, APNG, AVIF, HEIF or MPO; of an MPO nobody has to say that it is the first."""
    if page is None:
        if getattr(image, "is_animated", False) and image.format != "MPO":
            raise reading.several()
        return
    frames = getattr(image, "n_frames", 1)
    index = reading.frame_of(page, frames)
    if frames > 1:
        if image.width * image.height > MAX_PIXELS:  # to go to a frame is to decode those before it
            raise TooLarge(f"claims {image.width}×{image.height} pixels in several frames, more than {MAX_PIXELS:,}")
        image.seek(index)


def _formats(file: BinaryIO) -> tuple[str, ...]:
    """What Pillow is to try: it reads AVIF if it was built so, and HEIF, as telephones write it, by a plug-in."""
    from PIL import features

    head = file.read(64)
    file.seek(0)
    if head[4:8] == b"ftyp" and (head[8:12] in (b"avif", b"avis") or b"avif" in head[16:]):
        if not features.check("avif"):
            raise reading.NoReader("AVIF, which this Pillow does not read: pip install --upgrade pillow")
        return ("AVIF",)
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise reading.NoReader(f"HEIC or HEIF, which needs a reader: {distribution.install('heif')}") from error
        register_heif_opener()
        return ("HEIF",)
    return FORMATS[:-3]


def bits(image: Any) -> int:
    """Bits a channel in the file; Pillow shows RGB of 16 bits as if it had 8."""
    if isinstance(image, OWN):
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
    return 16 if image.mode.startswith("I") else 8
