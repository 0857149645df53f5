"""Diagnosis of a folder of pictures: readable files, sizes and modes, copies, classes, and what to look at."""

from __future__ import annotations

import functools
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from adjax.data import words
from adjax.data.io import reading, upload, walk
from adjax.data.io.depth import Depths
from adjax.data.io.gather import THREADS
from adjax.data.split import DataError
from adjax.doctor import findings
from adjax.doctor.findings import Finding


@dataclass
class Examined:
    """The findings.

    Attributes:
      found: the files, and what was skipped.
      unreadable: name → reason.
      sizes: (width, height) px → how many.
      modes: Pillow's name → how many.
      classes: first subfolder, or "" → how many that can be read.
      duplicates: names of files with the same bytes, two or more each; of all but masks.
      depths: which part of their range pictures of 16 bits use.
      findings: what to look at, see `adjax.doctor.findings`.
    """

    found: walk.Found
    unreadable: dict[str, str] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    duplicates: list[list[str]] = field(default_factory=list)
    depths: Depths = field(default_factory=Depths)
    findings: list[Finding] = field(default_factory=list)


def examine(
    root: Path,
    advance: Callable[[int], None] = lambda files: None,
    found: walk.Found | None = None,
    sides: tuple[set[str], set[str]] = (set(), set()),
    page: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Examined:
    """Decodes every picture file under `root`, and computes its SHA-256.

    Args:
      root: the folder.
      advance: called with 1 after each file.
      found: its files, if they are known already.
      sides: names of those to train on, and of those to evaluate on, for pictures that are in both.
      page, limits: as of `adjax.data.io.upload.read`.

    Returns:
      An `Examined`.

    Raises:
      DataError: no such folder.
    """
    examined = Examined(walk.find(root) if found is None else found)
    pictures: dict[str, findings.Measured] = {}
    modes: dict[str, str] = {}
    by_sum: dict[str, list[str]] = defaultdict(list)
    without = set[str]()
    with ThreadPoolExecutor(THREADS) as pool:
        for name, (header, one, digest) in zip(
            examined.found.names,
            pool.map(lambda name: _one(root / name, page, limits), examined.found.names),
            strict=True,
        ):
            advance(1)
            if digest is not None:
                by_sum[digest].append(name)
            if isinstance(header, _Unread):
                examined.unreadable[name] = header.why
                if header.without:
                    without.add(name)
                continue
            pictures[name], modes[name] = one, header.mode
            examined.sizes[header.width, header.height] += 1
            examined.modes[header.mode] += 1
            examined.classes[name.partition("/")[0] if "/" in name else ""] += 1
    masks = _masks(examined.found.names)
    pictures = {name: one for name, one in pictures.items() if name not in masks}
    for name, one in pictures.items():
        examined.depths.add(one.peak, modes[name])
    kept = ([name for name in names if name not in masks] for names in by_sum.values())
    examined.duplicates = [names for names in kept if len(names) > 1]
    groups = findings.groups_of(pictures, examined.duplicates)
    examined.findings = [
        *findings.of_leaks(groups, *sides),
        *findings.of_pictures(pictures, examined.depths.fitted()),
        *findings.of_same(examined.duplicates),
        *findings.of_copies(groups, examined.duplicates),
        *findings.of_formats(examined.unreadable, without, _raw(root)),
    ]
    return examined


class _Unread(NamedTuple):
    """Why a file is not read, and whether its reader is not installed."""

    why: str
    without: bool = False


def _one(
    path: Path, page: int | None, limits: tuple[float, float] | None
) -> tuple[upload.Header | _Unread, Any, str | None]:
    """(header or why not, what was measured, SHA-256 if the bytes can be read)."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return _Unread(error.strerror or str(error)), None, None
    try:
        header = upload.look(path, page=page, limits=limits)
        shape = (min(header.height, findings.SIDE_PX), min(header.width, findings.SIDE_PX), 3)
        picture = upload.read(path, shape, "whole", page=page, limits=limits)  # to its last pixel
    except DataError as error:
        return _Unread(upload.reason(error), isinstance(error, reading.NoReader)), None, digest
    return header, findings.measured(picture), digest


def _masks(names: list[str]) -> set[str]:
    """Names of masks, by their folders or beside their pictures: black, or white, is what they are for."""

    @functools.cache
    def says_mask(folder: str) -> bool:
        return words.read(folder, ()).verdict == words.MASK

    below = {name for name in names if any(map(says_mask, name.split("/")[:-1]))}
    return below | words.mask_files(names)


def _raw(root: Path) -> list[str]:
    """Names of a camera's raw files, which `walk.find` doesn't take for pictures."""
    return [name for name in walk.find(root, any_name=True).names if Path(name).suffix.lower() in findings.RAW]
