"""Finding picture files in a folder: in one order on every machine, with a count of skipped ones."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from adjax.data.io import dicom
from adjax.data.io.pattern import Pattern
from adjax.data.io.picture import SUFFIXES
from adjax.data.split import DataError

UNREADABLE_SUFFIXES = {".jxl", ".jp2", ".svg", ".psd", ".tga", ".ico"}
"""Pictures by their names, that Pillow or adjax doesn't read: they are found, so that nobody takes them for scored."""
PICTURES = SUFFIXES | UNREADABLE_SUFFIXES | {".jpe", ".jfif", ".pbm", ".pnm", ".apng"}


EVERY_NAME = Pattern()


class Found(NamedTuple):
    """The picture files of a folder, and the skipped ones.

    Attributes:
      names: paths relative to the folder, separated by "/", sorted folder by folder; bytes other than UTF-8 as Python's
        surrogates (`os.fsdecode`).
      passed_over: why → how many: "hidden", "symbolic links", "no file", and extensions that no picture has.
      unlisted: folders that can't be listed → why.
    """

    names: list[str]
    passed_over: Counter[str]
    unlisted: dict[str, str]


def find(
    root: Path, *, links: bool = False, hidden: bool = False, any_name: bool = False, pattern: Pattern = EVERY_NAME
) -> Found:
    """Lists the picture files under `root`, opening none but those without an extension.

    DICOM files often have none, or the last number of their UID: their first 132 bytes tell.

    Args:
      root: a folder, which may itself be a link.
      links: follow symbolic links, each folder once, so that a ring of links ends.
      hidden: take files and folders whose name begins with a dot.
      any_name: take files of any extension, or none. Only regular files, in any case: reading a pipe may never end.
      pattern: of the names that are taken. Those that don't fit are not counted.

    Returns:
      What was found and what was skipped, a `Found`.

    Raises:
      DataError: no such folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is {'a file' if root.exists() else 'not there'}: name a folder of images")
    found = Found([], Counter(), {})
    seen: set[tuple[int, int]] = set()
    waiting: list[tuple[str, bool]] = [("", True)]  # a stack, since folders may lie deeper than Python calls
    while waiting:
        name, folder = waiting.pop()
        if not folder:
            found.names.append(name)
            continue
        try:
            here = os.stat(root / name)
            if (here.st_dev, here.st_ino) in seen:
                continue
            seen.add((here.st_dev, here.st_ino))
            with os.scandir(root / name) as listing:
                entries = sorted(listing, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            found.unlisted[name or "."] = error.strerror or str(error)
            continue
        too_deep = pattern.deepest is not None and name.count("/") + 1 >= pattern.deepest
        for entry in entries:
            is_folder = _is_folder(entry)
            if too_deep if is_folder else not pattern.fits(f"{name}{entry.name}"):
                continue
            why = _why_not(entry, links, hidden, any_name)
            if why is None:
                waiting.append((f"{name}{entry.name}{'/' * is_folder}", is_folder))
            else:
                found.passed_over[why] += 1
    return found


def not_wanted(name: str, hidden: bool, any_name: bool) -> str | None:
    """Why a file is skipped by its name.

    Args:
      name: relative to the folder, separated by "/".
      hidden, any_name: as of `find`.

    Returns:
      A reason, for `Found.passed_over`; None: it is wanted.
    """
    if not hidden and any(part.startswith(".") and part.strip(".") for part in name.split("/")):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()
    if any_name or suffix in PICTURES:
        return None
    if not suffix:
        return "no extension"
    return suffix if suffix.isascii() and suffix.isprintable() else "odd extensions"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere one may look
        return False


def _why_not(entry: os.DirEntry[str], links: bool, hidden: bool, any_name: bool) -> str | None:
    """Why an entry is skipped; None for a folder and for a file that is wanted."""
    if entry.name.startswith(".") and not hidden:
        return "hidden"
    try:
        if entry.is_symlink() and not links:
            return "symbolic links"
        if entry.is_dir():
            return None
        if not entry.is_file():
            return "no file"
    except OSError:  # a link that leads nowhere one may look
        return "no file"
    why = not_wanted(entry.name, hidden, any_name)
    suffix = os.path.splitext(entry.name)[1]
    return None if why and (not suffix or suffix[1:].isdecimal()) and _is_dicom(entry) else why


def _is_dicom(entry: os.DirEntry[str]) -> bool:
    """Whether a file is DICOM by its content, and no list of others."""
    try:
        with open(entry.path, "rb") as file:
            return entry.name != "DICOMDIR" and dicom.is_dicom(file)
    except OSError:
        return False
