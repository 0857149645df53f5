"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike, mark: str | None = None) -> Iterator[Path]:
    """Yields a path to write to, and renames it to `path` at the end; after an error it is removed.

    Args:
      path: of the file, which may exist; its folder must.
      mark: ending of the name until then, hidden beside `path`; None: the number of this process, so that two
        processes write two files.

    Yields:
      The path to write to.
    """
    path = Path(path)
    fresh = path.with_name(f".{path.name}.{os.getpid() if mark is None else mark}")
    try:
        yield fresh
        flush(fresh)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        raise
    if os.name == "posix":  # the name, too; elsewhere a directory can't be opened
        flush(path.parent)


def write(path: str | os.PathLike, content: bytes | str, mark: str | None = None) -> None:
    """Writes a file atomically, see `replacing`.

    Args:
      path: of the file, which may exist; its folder must.
      content: bytes, or text, written as UTF-8.
      mark: as of `replacing`.
    """
    with replacing(path, mark) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


def flush(path: str | os.PathLike) -> None:
    """A file, or the names in a folder, from the page cache to the disk: a power cut empties the one, not the other."""
    file = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)
