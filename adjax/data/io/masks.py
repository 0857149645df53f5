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
from adjax.data.io.pixels import Frame
from adjax.data.split import DataError

ENDS = ".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg", ".PNG", ".BMP", ".JPG"
NAMES = "{}_mask", "{}", "{}_gt"


def find(picture: Path, root: Path) -> Path | None:
    """Finds the file of a picture's mask.

    Args:
      picture: a file in `root`, or in a folder of it.
      root: folders of masks are looked for here and between here and the picture.

    Returns:
      The path; None: there is no mask.
    """
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

    Args:
      file: of the mask.
      shape: (H px, W px, …) of the detector's images.
      frame: see `adjax.data.io.pixels.Frame`.

    Returns:
      bool[H, W]: where the mask is not black.

    Raises:
      DataError: a file that can't be read.
    """
    grey = upload.read(file, (*shape[:2], 1), frame).pixels[..., 0]
    return grey > min(127, int(grey.max()) // 2)


def _folders(folder: Path) -> Iterator[Path]:
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and words.read(inner.name, ()).verdict == words.MASK:
            yield inner
