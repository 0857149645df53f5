"""What a source of pictures is: names in an order, and a file for each name."""

from __future__ import annotations

from typing import Protocol

from adjax.data.io import upload
from adjax.data.io.walk import Found


class Source(Protocol):
    """Pictures by name. It can be pickled, so that processes on other machines open the same pictures."""

    @property
    def title(self) -> str:
        """A short name, for people."""
        ...

    @property
    def where(self) -> str:
        """Identifies it: `adjax.data.io.sources.of` makes the same source of it again."""
        ...

    def find(self, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> Found:
        """Lists the pictures, opening none.

        Args:
          links: follow symbolic links, where there are any.
          hidden: take names that begin with a dot.
          any_name: take names of any extension, or none.

        Returns:
          What was found and what was skipped, a `Found`.

        Raises:
          DataError: no such source.
        """
        ...

    def open(self, name: str) -> upload.Source:
        """The file of a name, as `adjax.data.io.upload.read` takes it.

        Raises:
          DataError: this picture can't be had, and why.
          OSError: none can be had at present, as when a network is down.
        """
        ...
