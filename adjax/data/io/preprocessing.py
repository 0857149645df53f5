"""From picture files to a detector's array: what is done to a file before the first number of a network.

A detector's scores belong to its way of reading: another resize filter alone moved them by a tenth. So the way is
written down, in the detector's artefact and in an export's `about-….json`, and one function does it: `read_images`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from adjax.data.io import gather, reading, walk
from adjax.data.io.picture import MAX_PIXELS
from adjax.data.io.pixels import FINER, MODE, Frame
from adjax.data.split import DataError

FRAMES: Mapping[Frame, str] = {
    "middle": "the largest part of these proportions, cut out of the middle before it is resized",
    "whole": "all of the picture, stretched",
    "letterbox": "all of the picture in its own proportions, in the middle between black bars",
    "tiles": "overlapping tiles of these sides, of a picture that keeps its size",
}
RULES = {
    "decoding": "8 bits a channel; of 16 bits the upper 8, of 16-bit grey the upper 8 of `depth`; transparent pixels "
    "on white; EXIF orientation applied; colour profiles not applied; DICOM by its rescale or modality table and its "
    "first window, else its first VOI table, else the range of its bits",
    "grey": "ITU-R 601-2 in whole numbers: (19595 R + 38470 G + 7471 B + 32768) >> 16",
    "resize": "bilinear, its support widened when it shrinks (antialiased), as Pillow's Image.resize with BILINEAR",
    "large_jpeg": f"decoded at 1/2, 1/4 or 1/8 of its size while that is {FINER} times the size wanted or more, or "
    f"where it has more than {MAX_PIXELS} pixels",
    "values": "uint8, 0 is black and 255 white; the detector or its program normalises them",
}
"""What is the same for all detectors."""
VERSIONS = 1, 2, 3
"""Of these rules, that are read; counts up when the same file becomes other numbers. 1 has no `depth` but 16; 3 has
`page` or `limits`, which the others don't know."""


class Preprocessing(NamedTuple):
    """How picture files become a detector's images.

    Attributes:
      height, width: of its images, px.
      channels: 1 for grey, 3 for RGB.
      frame: what of a picture is brought to that size, see `adjax.data.io.pixels.Frame`.
      depth, page, limits: bits that 16-bit grey uses; the page of several; values that are black and white in TIFF
        files of floats: see `adjax.data.io.upload.read`.

    Example:
      >>> Preprocessing(8, 8, 1, "whole").record["resize"]
      "bilinear, its support widened when it shrinks (antialiased), as Pillow's Image.resize with BILINEAR"
    """

    height: int
    width: int
    channels: int
    frame: Frame = "middle"
    depth: int = 16
    page: int | None = None
    limits: tuple[float, float] | None = None

    @property
    def record(self) -> dict[str, Any]:
        """All of it as JSON, with the rules in words, for a reader in another language or a later version."""
        told = {name: value for name, value in self._asdict().items() if value is not None}
        version = VERSIONS[2 if self.page is not None or self.limits is not None else self.depth < 16]
        return {"version": version, **told, "framing": FRAMES[self.frame], **RULES}


def of_images(
    shape: tuple[int, ...],
    dtype: str,
    frame: Frame,
    depth: int = 16,
    page: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Preprocessing | None:
    """The preprocessing of a detector of such images.

    Args:
      shape: of one image.
      dtype: of the images.
      frame, depth, page, limits: see `Preprocessing`.

    Returns:
      None: picture files are no such images.
    """
    pictures = dtype == "uint8" and len(shape) == 3 and shape[-1] in MODE
    return Preprocessing(shape[0], shape[1], shape[2], frame, depth, page, limits) if pictures else None


def from_record(record: Mapping[str, Any]) -> Preprocessing:
    """Reads what `Preprocessing.record` wrote.

    Args:
      record: of an artefact, or of an export's `about-….json`.

    Returns:
      The `Preprocessing`.

    Raises:
      ValueError: something is missing, or pictures were read by other rules.
    """
    try:
        version, height, width, channels = (int(record[name]) for name in ("version", "height", "width", "channels"))
        told = {**reading.DEFAULTS, **{name: record[name] for name in reading.DEFAULTS if name in record}}
        frame = record["frame"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"preprocessing {record!r}: must have version, height, width, channels and frame") from error
    if min(height, width) < 1 or channels not in MODE or frame not in get_args(Frame):
        raise ValueError(f"preprocessing {record!r}: no images are such; frames are {', '.join(get_args(Frame))}")
    try:
        found = Preprocessing(height, width, channels, frame, **reading.checked(**told))
    except (TypeError, ValueError) as error:
        raise ValueError(f"preprocessing {record!r}: no images are such; {error}") from error
    if version not in VERSIONS:
        ours = " and ".join(map(str, VERSIONS))
        raise ValueError(
            f"pictures were read by rules {version}, and this adjax has rules {ours}, which make other numbers of the "
            "same file: use the version of adjax that made the detector"
        )
    return found


def read_images(source: str | os.PathLike | Iterable[str | os.PathLike], by: Any) -> np.ndarray:
    """Reads picture files to the array that a detector takes, exactly as `python -m adjax predict` reads them.

    Args:
      source: paths of files, in the order of the images; or a folder, whose picture files are taken in the order of
        `adjax.data.io.walk.find`, folder by folder and by name.
      by: a detector, an exported one, a `Preprocessing`, or its record from an `about-….json`.

    Returns:
      uint8 [N, height, width, channels], 0 … 255; normalisation is the detector's.

    Raises:
      DataError: a file that can't be read, by name; no folder; pictures that are cut into tiles, each of its own size.
      ValueError: `by` says nothing of pictures.

    Example:
      >>> import adjax, tempfile
      >>> from PIL import Image
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     Image.new("RGB", (60, 40), "white").save(f"{folder}/one.png")
      ...     images = adjax.read_images([f"{folder}/one.png"], Preprocessing(8, 8, 1, "letterbox"))
      >>> images[0, :, 0, 0].tolist()
      [0, 255, 255, 255, 255, 255, 0, 0]
    """
    way = by if isinstance(by, Preprocessing) else getattr(by, "preprocessing", by)
    if isinstance(way, Mapping):
        way = from_record(way)
    if not isinstance(way, Preprocessing):
        raise ValueError(f"by={by!r}: must be a detector of uint8 pictures, a Preprocessing, or its record")
    if way.frame == "tiles":
        raise DataError(
            "frame 'tiles': each picture keeps its own size, so that there is no one array; read them one by one with "
            "adjax.data.io.upload.read, and score them with adjax.tiles.score"
        )
    if isinstance(source, str | os.PathLike):
        root = Path(source)
        files = [root] if root.is_file() else [root / name for name in walk.find(root).names]
    else:
        files = list(map(Path, source))
    images, _, errors = gather.images(files, way[:3], frame=way.frame, **reading.of(way))
    for file, why in errors.items():
        raise DataError(f"{file} can't be read: {why}; repair it, or leave it out of a list of files")
    return images
