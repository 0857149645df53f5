"""Masks of anomalous pictures, found by the layouts of MVTec AD, BTAD, VisA and plain folders.

| the picture | its mask |
|---|---|
| `test/crack/000.png` | `ground_truth/crack/000_mask.png` (MVTec AD), `ground_truth/crack/000.png` (BTAD) |
| `Data/Images/Anomaly/000.JPG` | `Data/Masks/Anomaly/000.png` (VisA) |
| `anomalous/000.png` | `masks/000.png`, `masks/anomalous/000_mask.png` |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from adjax.data import words
from adjax.data.io import upload
from adjax.data.io.pixels import Frame, pixels
from adjax.data.split import DataError

ENDS = ".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".PNG", ".BMP", ".JPG"
NAMES = "{}_mask", "{}", "{}_gt"


def find(picture: Path, root: Path) -> Path | None:
    """Finds the file of a picture's mask.

    Args:
      picture: a file in `root`, or in a folder of it.
      root: folders of masks are looked for here and between here and the picture.

    Returns:
      The path, links followed; None: there is no mask.
    """
    picture, root = picture.resolve(), root.resolve()
    for folder in picture.parents:
        if not folder.is_relative_to(root):
            return None
        within = picture.relative_to(folder).parent
        for masks in _folders(folder):
            for inner in {within, Path(*within.parts[1:])}:
                for name in NAMES:
                    for end in ENDS:
                        file = masks / inner / (name.format(picture.stem) + end)
                        if file.is_file() and file != picture:
                            return file
    return None


def of_pictures(
    pictures: Sequence[Path], root: Path, shape: tuple[int, ...], frame: Frame
) -> tuple[dict[int, np.ndarray], dict[Path, str]]:
    """Reads the masks that pictures have.

    Args:
      pictures: anomalous ones.
      root: as of `find`.
      shape, frame: as of `read`.

    Returns:
      bool[H, W] by the picture's number, and file → reason of masks that can't be read.
    """
    found, errors = {}, {}
    for number, picture in enumerate(pictures):
        if (file := find(picture, root)) is not None:
            try:
                found[number] = read(file, shape, frame)
            except DataError as error:
                errors[file] = upload.reason(error)
    return found, errors


def read(file: Path, shape: tuple[int, ...], frame: Frame) -> np.ndarray:
    """Reads a mask, resized to what a detector sees of its picture.

    A file without loss may number its classes, so that whatever is not 0 is marked. JPEG has noise about black: marked
    is what is brighter than half of its brightest pixel.

    Args:
      file: of the mask.
      shape: (H px, W px, …) of the detector's images.
      frame: see `adjax.data.io.pixels.Frame`.

    Returns:
      bool[H, W]: where at least half of a pixel is marked.

    Raises:
      DataError: a file that can't be read.
    """
    from PIL import Image

    grey, (height, width) = _grey(file), shape[:2]
    marked = grey > (min(127, int(grey.max()) // 2) if _is_jpeg(file) else 0)
    return pixels(Image.fromarray(255 * marked.astype(np.uint8)), 1, 1, height, width, frame)[..., 0] > 127


def _grey(file: Path) -> np.ndarray:
    """uint8[H, W] of its own size."""
    try:
        found = upload.read(file, (1, 1, 1), "tiles", depth=8)  # 16 bits that number classes
    except DataError:
        found = upload.read(file, (1, 1, 1), "tiles")
    return found.pixels[..., 0]


def _is_jpeg(file: Path) -> bool:
    with open(file, "rb") as opened:
        return opened.read(2) == b"\xff\xd8"


def _folders(folder: Path) -> Iterator[Path]:
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and words.read(inner.name, ()).verdict == words.MASK:
            yield inner
