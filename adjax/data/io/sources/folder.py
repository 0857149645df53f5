"""The picture files of a folder, and of its subfolders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from adjax.data.io import walk
from adjax.data.io.pattern import Pattern, escaped


@dataclass(frozen=True)
class Folder:
    """Files of a folder, see `adjax.data.io.walk`.

    Attributes:
      root: the folder.
      pattern: of the names that are taken, "" for all.
    """

    root: Path
    pattern: str = ""

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def where(self) -> str:
        """The folder's path, with links followed, and the pattern."""
        root = str(self.root.resolve())
        return f"{escaped(root).rstrip('/')}/{self.pattern}" if self.pattern else root

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root.absolute(), "pattern": self.pattern}  # another process may stand in another folder

    def find(self, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> walk.Found:
        """Lists the picture files.

        Args:
          links, hidden, any_name: as of `adjax.data.io.walk.find`.

        Returns:
          A `Found`.

        Raises:
          DataError: no such folder.
        """
        return walk.find(self.root, links=links, hidden=hidden, any_name=any_name, pattern=Pattern(self.pattern))

    def open(self, name: str) -> Path:
        """The path of a file."""
        return self.root / name

    def stream(self, name: str) -> BinaryIO:
        """A file, open for reading at any place."""
        return open(self.root / name, "rb")

    def span(self, name: str, start: int, end: int) -> bytes:
        """Reads a part of a file.

        Args:
          name: of the file.
          start, end: places in it, bytes; the end is not read.

        Returns:
          The bytes, fewer where the file ends.
        """
        with self.stream(name) as file:
            file.seek(start)
            return file.read(end - start)

    def changed(self, name: str, since: float) -> bool:
        """Tells whether a file was written, or put there, after a time.

        Args:
          name: of the file.
          since: the time, in seconds of the epoch.

        Returns:
          True if so; False of a file that can't be asked.
        """
        try:
            found = (self.root / name).stat()
        except OSError:  # who opens it will tell
            return False
        return max(found.st_mtime, found.st_ctime) > since

    def holds(self, path: Path) -> bool:
        """Whether a file in that folder might be one of these."""
        try:
            inside = path.resolve().relative_to(self.root.resolve())
        except ValueError:
            return False
        deepest = Pattern(self.pattern).deepest
        return deepest is None or len(inside.parts) < deepest
