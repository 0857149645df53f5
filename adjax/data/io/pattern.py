"""Patterns of names: `*` and `?` within a part of a path, `[…]` one of some characters, `**` any number of folders."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from functools import cached_property

from adjax.data.split import DataError


@dataclass(frozen=True)
class Pattern:
    """Which names are taken.

    Attributes:
      text: of names relative to a folder, separated by "/"; "" for all.
    """

    text: str = ""

    def __post_init__(self):
        """Checks it.

        Raises:
          DataError: "**" within a part.
        """
        if any("**" in part and part != "**" for part in self.text.split("/")):
            raise DataError(f"pattern {self.text}: ** stands for folders, alone between two /; * for a part of one")

    @property
    def deepest(self) -> int | None:
        """Parts that a name which fits has at most; None: any number."""
        return None if not self.text or "**" in self.text else self.text.count("/") + 1

    def fits(self, name: str) -> bool:
        """Whether a name is taken."""
        return not self.text or self._regex.fullmatch(name) is not None

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        from fsspec.utils import glob_translate

        return re.compile(glob_translate(self.text), re.DOTALL)


def escaped(text: str) -> str:
    """A pattern that only this text fits."""
    return glob.escape(text)


def split(text: str) -> tuple[str, str]:
    """Cuts a path before its first part that is a pattern.

    Args:
      text: a path, in which "[*]", "[?]" and "[[]" stand for these characters themselves.

    Returns:
      The folder, and the pattern of names in it, "" if the path is none.
    """
    parts = text.split("/")
    first = next((at for at, part in enumerate(parts) if glob.has_magic(_plain(part, ""))), len(parts))
    return _plain("/".join(parts[:first]) + "/" * (first == 1 and not parts[0]), r"\1"), "/".join(parts[first:])


def _plain(part: str, into: str) -> str:
    """With what is escaped as it is, or left out."""
    return re.sub(r"\[([*?[])\]", into, part)
