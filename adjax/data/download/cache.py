"""The cache of fetched files, written atomically, by one process at a time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from adjax import atomic
from adjax.data.split import DataError


def cache_dir() -> Path:
    """$ADJAX_CACHE, else $XDG_CACHE_HOME/adjax, else ~/.cache/adjax. Not created here."""
    if own := os.environ.get("ADJAX_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser() / "adjax"
    return Path("~/.cache/adjax").expanduser()


def given_dir(data_dir: Path | None) -> Path | None:
    """The folder that the user named: `data_dir`, else $ADJAX_DATA_DIR, else None."""
    named = data_dir or os.environ.get("ADJAX_DATA_DIR")
    return Path(named).expanduser() if named else None


def install(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files into a folder, each atomically, by a rename.

    Args:
      folder: created if it is missing.
      files: name → content.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic.write(folder / name, content)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process at a time is inside, per folder; the others wait.

    Who waited while the one inside failed fails with the same message, instead of trying the same in its
    turn: ten processes without a network give up together. The message lies in the lock file, which is never
    removed.

    Raises:
      DataError: the folder can't be written; or what the process before us raised.
    """
    arrived = time.time_ns()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a+", encoding="utf-8")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise DataError(
            f"cannot write to {folder}: {error}; name another folder by ADJAX_CACHE or --data-dir"
        ) from error
    with file:
        _wait_for(file.fileno())
        file.seek(0)
        failure = file.read()
        if failure and os.fstat(file.fileno()).st_mtime_ns > arrived:
            raise DataError(failure)
        file.truncate(0)
        try:
            yield
        except DataError as error:
            file.write(str(error))
            raise


def _wait_for(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: without a lock there may be two downloads, but never half a file
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # released when the file is closed, also by a crash
