"""Names that others chose: of objects in a bucket, of members of an archive."""

from __future__ import annotations

from pathlib import PurePath

from adjax.data.split import DataError


def check_name(name: str) -> None:
    """Refuses a name that, as a path in a folder, would be a path outside of it, or another name's.

    Args:
      name: of a picture, separated by "/".

    Raises:
      DataError: it is absolute, has "..", ".", "//" or a zero byte in it.
    """
    path = PurePath(name)
    if path.is_absolute() or path.drive or ".." in path.parts or path.as_posix() != name or "\0" in name:
        raise DataError("its name is no plain path, so that files named after it might come to lie anywhere: rename it")
