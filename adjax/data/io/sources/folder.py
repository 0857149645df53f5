"""The picture files of a folder, and of its subfolders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adjax.data.io import walk


@dataclass(frozen=True)
class Folder:
    """Picture files of a folder, see `adjax.data.io.walk`.

    Attributes:
      root: the folder.
    """

    root: Path

    @property
    def title(self) -> str:
        """The folder's own name."""
        return self.root.resolve().name

    @property
    def where(self) -> str:
        """The folder's path, with links followed."""
        return str(self.root.resolve())

    def __getstate__(self) -> dict[str, Path]:
        return {"root": self.root.absolute()}  # another process may stand in another folder

    def find(self, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> walk.Found:
        """Lists the picture files.

        Args:
          links, hidden, any_name: as of `adjax.data.io.walk.find`.

        Returns:
          A `Found`.

        Raises:
          DataError: no such folder.
        """
        return walk.find(self.root, links=links, hidden=hidden, any_name=any_name)

    def open(self, name: str) -> Path:
        """The path of a file."""
        return self.root / name
