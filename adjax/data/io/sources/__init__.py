"""Where pictures come from."""

from __future__ import annotations

from pathlib import Path

from adjax.data.io.sources.folder import Folder
from adjax.data.io.sources.types import Source


def of(text: str) -> Source:
    """Finds the source that a text names.

    Args:
      text: as of `python -m adjax predict`.

    Returns:
      The `Source`.
    """
    return Folder(Path(text))
