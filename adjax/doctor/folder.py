"""Diagnosis of a folder of pictures: readable files, sizes and modes, exact duplicates, classes."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from adjax.data.io import upload, walk
from adjax.data.io.depth import Depths
from adjax.data.io.gather import THREADS
from adjax.data.split import DataError

DECODED = (32, 32, 3)  # a file counts as read once its last pixel is; to what size it is brought doesn't matter


@dataclass
class Examined:
    """The findings.

    Attributes:
      found: the files, and what was skipped.
      unreadable: name → reason.
      sizes: (width, height) px → how many.
      modes: Pillow's name → how many.
      classes: first subfolder, or "" → how many that can be read.
      duplicates: names of files with the same bytes, two or more each.
      depths: which part of their range pictures of 16 bits use.
    """

    found: walk.Found
    unreadable: dict[str, str] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    duplicates: list[list[str]] = field(default_factory=list)
    depths: Depths = field(default_factory=Depths)


def examine(
    root: Path, advance: Callable[[int], None] = lambda files: None, found: walk.Found | None = None
) -> Examined:
    """Decodes every picture file under `root`, and computes its SHA-256.

    Args:
      root: the folder.
      advance: called with 1 after each file.
      found: its files, if they are known already.

    Returns:
      An `Examined`.

    Raises:
      DataError: no such folder.
    """
    examined = Examined(walk.find(root) if found is None else found)
    by_sum: dict[str, list[str]] = defaultdict(list)
    with ThreadPoolExecutor(THREADS) as pool:
        for name, (picture, digest) in zip(
            examined.found.names, pool.map(lambda name: _one(root / name), examined.found.names), strict=True
        ):
            advance(1)
            if digest is not None:
                by_sum[digest].append(name)
            if isinstance(picture, str):
                examined.unreadable[name] = picture
                continue
            header = picture.header
            examined.depths.add(picture)
            examined.sizes[header.width, header.height] += 1
            examined.modes[header.mode] += 1
            examined.classes[name.partition("/")[0] if "/" in name else ""] += 1
    examined.duplicates = [names for names in by_sum.values() if len(names) > 1]
    return examined


def _one(path: Path) -> tuple[upload.Picture | str, str | None]:
    """(picture, of a few pixels, or reason, SHA-256 if the bytes can be read)."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error.strerror or str(error), None
    try:
        return upload.read(path, DECODED), digest
    except DataError as error:
        return upload.reason(error), digest
