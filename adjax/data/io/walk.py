"""Finding picture files in a folder: in one order on every machine, with a count of skipped ones."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from adjax.data.io import dicom
from adjax.data.io.picture import SUFFIXES
from adjax.data.split import DataError

UNREADABLE_SUFFIXES = {".jxl", ".jp2", ".svg", ".psd", ".tga", ".ico"}
"""Pictures by their names, that Pillow or adjax doesn't read: they are found, so that nobody takes them for scored."""
PICTURES = SUFFIXES | UNREADABLE_SUFFIXES | {".jpe", ".jfif", ".pbm", ".pnm", ".apng"}


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


def find(root: Path, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> Found:
    """Lists the picture files under `root`, opening none but those without an extension.

    DICOM files often have none, or the last number of their UID: their first 132 bytes tell.

    Args:
      root: a folder, which may itself be a link.
      links: follow symbolic links, each folder once, so that a ring of links ends.
      hidden: take files and folders whose name begins with a dot.
      any_name: take files of any extension, or none. Only regular files, in any case: reading a pipe may never end.

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
        for entry in entries:
            why = _why_not(entry, links, hidden, any_name)
            if why is None:
                is_folder = entry.is_dir()
                waiting.append((f"{name}{entry.name}{'/' * is_folder}", is_folder))
            else:
                found.passed_over[why] += 1
    return found


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
    suffix = os.path.splitext(entry.name)[1].lower()
    if any_name or suffix in PICTURES:
        return None
    if (not suffix or suffix[1:].isdecimal()) and _is_dicom(entry):
        return None
    if not suffix:
        return "no extension"
    return suffix if suffix.isascii() and suffix.isprintable() else "odd extensions"


def _is_dicom(entry: os.DirEntry[str]) -> bool:
    """Whether a file is DICOM by its content, and no list of others."""
    try:
        with open(entry.path, "rb") as file:
            return entry.name != "DICOMDIR" and dicom.is_dicom(file)
    except OSError:
        return False
