"""What to look at in a folder of pictures: each kind of finding, how it is told, and what to do.

Blur is the variance of the Laplacian (Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000)
of a picture as large as a detector sees it. No such number means anything alone: textures differ by a thousand. So it
is compared with the folder's own median, as is the share of white pixels, which a bright background has too.

Copies are those of `adjax.data.copies`, by which `python -m adjax train` holds pictures out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax import atomic
from adjax.data.copies import near_copies
from adjax.data.io.depth import NARROW, WHOLE
from adjax.data.io.probabilities import csv_of
from adjax.data.io.upload import Picture, text

SIDE_PX, THUMBNAIL_PX = 256, 32
"""Longest side at which pictures are measured, and of what is kept to find copies."""
BLACK, WHITE = 10, 245
"""Grey levels below or above which 99 % of the pixels lie."""
CLIPPED, MORE_CLIPPED = 254, 0.2
"""Least grey level of a pixel without detail; by how much their share exceeds the median in an over-exposed picture."""
BLURRED = 0.1
"""Of the median sharpness."""

OTHER = {".jxl", ".jp2", ".svg", ".psd", ".tga", ".ico"}
RAW = {".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw"}

EXACT = "exact duplicate"
KINDS = {
    "black": ("all black", "leave them out: a lens cap, a failed exposure, or 16 bits that hold fewer"),
    "white": ("all white", "leave them out, or expose less"),
    "over-exposed": (
        "over-exposed, against the other pictures",
        "expose less: white has no detail",
    ),
    "blurred": (
        "blurred, against the other pictures",
        "look at them: trained on, they make blur normal",
    ),
    EXACT: (
        "exact duplicates (SHA-256)",
        "keep one of each: copies count once for a threshold",
    ),
    "near duplicate": ("near duplicates", "keep one of each: copies count once for a threshold"),
    "odd depth": (
        "16-bit files that hold fewer bits",
        "multiply all pictures alike, so that white is 65,535: as they are they come out nearly black",
    ),
    "no reader": ("of a format whose reader is not installed", "install what the reason names"),
    "raw": (
        "a camera's raw files, which are not read",
        "convert all alike: pip install rawpy; rawpy.imread(path).postprocess(no_auto_bright=True, use_camera_wb=True)",
    ),
    "other format": ("of a format that is not read", "save them as PNG or JPEG"),
    "unreadable": ("unreadable", "repair them, or leave them out: predict has a row for each that says why"),
    "leak": (
        "in training and in test",
        "take them out of one of them: a detector has seen these answers, and figures are too good",
    ),
}
"""Kind → what it is, and what to do."""


class Finding(NamedTuple):
    """One thing to look at.

    Attributes:
      path: of the file, relative to the folder.
      kind: one of `KINDS`.
      value: the number that tells it, if there is one.
      about: that number in words, or the other file, or the reason.
    """

    path: str
    kind: str
    value: float | None
    about: str


class Measured(NamedTuple):
    """What is kept of a picture.

    Attributes:
      dark, bright: grey levels of its 1 % and 99 % quantiles.
      clipped: share of pixels that are white.
      sharpness: variance of its Laplacian, in squared grey levels.
      peak: see `upload.Picture`.
      thumbnail: uint8[32, 32, 3].
    """

    dark: float
    bright: float
    clipped: float
    sharpness: float
    peak: int | None
    thumbnail: np.ndarray

    @property
    def blank(self) -> bool:
        """Whether it is black or white all over."""
        return self.bright <= BLACK or self.dark >= WHITE


def measured(picture: Picture) -> Measured:
    """Measures a picture, RGB, at most `SIDE_PX` a side."""
    from PIL import Image

    image = Image.fromarray(picture.pixels)
    grey = np.asarray(image.convert("L"), np.float32)
    dark, bright = np.quantile(grey, (0.01, 0.99))
    inner = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    small = np.asarray(image.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR))
    sharpness = float(inner.var()) if inner.size else 0.0
    return Measured(float(dark), float(bright), float((grey >= CLIPPED).mean()), sharpness, picture.peak, small)


def of_pictures(pictures: dict[str, Measured], depth: int = WHOLE) -> list[Finding]:
    """Finds black, white, over-exposed and blurred pictures, and 16-bit ones that hold fewer bits.

    Args:
      pictures: name → what was measured.
      depth: bits that they are scaled by when they are learned from, see `adjax.data.io.depth.Depths.fitted`; with
        less than 16 it is nothing to find that they hold fewer.

    Returns:
      The findings.
    """
    found = list[Finding]()
    seen = {name: one for name, one in pictures.items() if not one.blank}
    sharp = float(np.median([one.sharpness for one in seen.values()])) if seen else 0.0
    usual = float(np.median([one.clipped for one in seen.values()])) if seen else 0.0
    for name, one in pictures.items():
        if one.bright <= BLACK:
            found.append(Finding(name, "black", one.bright, f"99 % of its pixels are at most {one.bright:.0f} of 255"))
        elif one.dark >= WHITE:
            found.append(Finding(name, "white", one.dark, f"99 % of its pixels are at least {one.dark:.0f} of 255"))
        elif one.clipped > usual + MORE_CLIPPED:
            about = f"{one.clipped:.0%} of its pixels are white, of the others {usual:.0%}"
            found.append(Finding(name, "over-exposed", one.clipped, about))
        elif one.sharpness < BLURRED * sharp:
            about = f"sharpness {one.sharpness:.3g}, of the others {sharp:.3g} (variance of the Laplacian)"
            found.append(Finding(name, "blurred", one.sharpness, about))
        if depth == WHOLE and one.peak is not None and one.peak < NARROW:
            about = f"no value above {one.peak * 256 + 255:,} of 65,535"
            found.append(Finding(name, "odd depth", one.peak, about))
    return found


def groups_of(pictures: dict[str, Measured], exact: Sequence[Sequence[str]]) -> list[list[str]]:
    """Groups pictures that are copies, exactly or nearly.

    Args:
      pictures: name → what was measured; blank ones are all alike, and left out.
      exact: groups of files with the same bytes.

    Returns:
      Names, two or more each.
    """
    names = [name for name, one in pictures.items() if not one.blank]
    groups: dict[str, list[str]] = {}
    if names:
        firsts = near_copies(np.stack([pictures[name].thumbnail for name in names]))
        for name, first in zip(names, firsts, strict=True):
            groups.setdefault(names[first], []).append(name)
    known = {name for group in groups.values() for name in group}
    same = [list(group) for group in exact if not known.issuperset(group)]  # unreadable or blank ones
    return [group for group in groups.values() if len(group) > 1] + same


def of_same(exact: Sequence[Sequence[str]]) -> list[Finding]:
    """Finds exact duplicates.

    Args:
      exact: groups of files with the same bytes.

    Returns:
      The findings, one for each file but the first of its group.
    """
    return [Finding(name, EXACT, None, f"as {text(first)}") for first, *others in exact for name in others]


def of_copies(groups: Sequence[Sequence[str]], exact: Sequence[Sequence[str]]) -> list[Finding]:
    """Finds near duplicates.

    Args:
      groups: of copies, exact and near.
      exact: those with the same bytes, which `of_same` tells.

    Returns:
      The findings.
    """
    owner = {name: number for number, names in enumerate(exact) for name in names}
    found = []
    for first, *others in groups:
        same = owner.get(first, -1)
        found += [
            Finding(name, "near duplicate", None, f"as {text(first)}")
            for name in others
            if same == -1 or owner.get(name) != same
        ]
    return found


def of_leaks(groups: Iterable[Sequence[str]], train: set[str], test: set[str]) -> list[Finding]:
    """Finds pictures that stand in training and in test.

    Args:
      groups: of copies.
      train, test: names of the files of each.

    Returns:
      The findings, of test pictures.
    """
    found = []
    for group in groups:
        learned = next((name for name in group if name in train), None)
        if learned is not None:
            found += [Finding(name, "leak", None, f"as {text(learned)}") for name in group if name in test]
    return found


def of_formats(unreadable: dict[str, str], without: Collection[str], raw: Iterable[str]) -> list[Finding]:
    """Finds files of formats that are not read, each with its kind.

    Args:
      unreadable: name → reason.
      without: those whose reader is not installed.
      raw: names of a camera's raw files.

    Returns:
      The findings.
    """
    found = []
    for name, why in unreadable.items():
        other = "other format" if Path(name).suffix.lower() in OTHER else "unreadable"
        kind = "no reader" if name in without else other
        found.append(Finding(name, kind, None, why))
    return found + [Finding(name, "raw", None, Path(name).suffix.lower()) for name in raw]


def write(path: Path, found: Iterable[Finding]) -> None:
    """Writes findings as CSV, atomically: path, finding, value, about, what to do.

    Args:
      path: of the file; replaced if there.
      found: in order.
    """
    rows = [(text(one.path), one.kind, one.value, text(one.about), KINDS[one.kind][1]) for one in found]
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, csv_of(("path", "finding", "value", "about", "what to do"), rows))
