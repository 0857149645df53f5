"""Folders whose names leave open who is normal: refused, with the options that say it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from adjax.data import words
from adjax.data.split import DataError
from adjax.data.words import NORMAL, TEST, TRAIN, VALIDATION

Folders = dict[tuple[str, ...], set[str]]
"""Folder → folders in it."""


class Place(NamedTuple):
    """A picture among folders.

    Attributes:
      name: its path, separated by "/".
      folders: those above it.
      split, verdict: what they say, as `words.Meaning`.
      at: which of them gave the verdict; None: none.
      plain: those that say nothing.
      split_at: which gave the split; None: none.
    """

    name: str
    folders: tuple[str, ...]
    split: str | None
    verdict: str | None
    at: int | None
    plain: tuple[int, ...]
    split_at: int | None


def refuse(root: Path, places: Sequence[Place], beside: Folders) -> None:
    """Refuses folders whose names leave open who is normal.

    Args:
      root: for errors.
      places: all pictures but masks.
      beside: folder → the folders in it that hold pictures, masks as well.

    Raises:
      DataError: a folder that says neither beside one that says normal; yes/ beside no/, or no_tumor/ beside tumor/;
        mask/ among classes.
    """
    says: Folders = defaultdict(set)
    bad: Folders = defaultdict(set)
    unsure: Folders = defaultdict(set)
    for place in places:
        if place.split not in (TEST, VALIDATION):
            if place.at is not None:
                (says if place.verdict == NORMAL else bad)[place.folders[: place.at]].add(place.folders[place.at])
            for i in place.plain:
                if place.verdict is None or (place.at is not None and i < place.at):
                    unsure[place.folders[:i]].add(place.folders[i])
    for parent, good in says.items():
        if others := unsure[parent]:
            raise DataError(
                f"{root} has {_listed(good)}, normal by name, beside {_listed(others)}, which may be normal or not: "
                f"write --normal {_written(good)} --anomalous {_written(others | bad[parent])}, or --classes if all are"
            )
    for names in unsure.values():
        if (answers := words.unanswered(names)) is not None and len(names) == 2:
            raise DataError(
                f"{root} has {_listed(names)}, and it is undecidable which is normal: write --normal {answers[0]} or "
                f"--normal {answers[1]}, or --classes if both are"
            )
        if (pair := words.opposites(names)) is not None:
            said, denied = pair
            raise DataError(
                f"{root} has {_listed(pair)}, which are opposites, and it is undecidable which is normal: write "
                f"--normal {_written([denied])} --anomalous {_written([said])}, or the other way round, or "
                "--classes if both are"
            )
    pictures = {place.name.rpartition("/")[0] for place in places}
    for folder, names in beside.items():
        if "/".join(folder) in pictures or (folder and words.read(folder[-1]).split != TRAIN):
            continue
        if doubtful := words.doubtful_masks(names):
            others = names - doubtful
            raise DataError(
                f"{root.joinpath(*folder)} has {_listed(doubtful)} beside {_listed(others)}: write --normal "
                f"{_written(others)} if it holds masks, or --normal {_written(names)} if it is a class as well"
            )


def _listed(folders: Iterable[str]) -> str:
    return ", ".join(f"{folder}/" for folder in sorted(folders))


def _written(folders: Iterable[str]) -> str:
    """As a shell takes them."""
    return " ".join(map(shlex.quote, sorted(folders)))
