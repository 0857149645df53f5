"""Files of any file system that fsspec knows: object stores, hubs, archives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from typing import Any

from adjax.data.io import upload, walk
from adjax.data.io.pattern import Pattern, escaped
from adjax.data.io.sources.names import check_name
from adjax.data.split import DataError

_SECRET = re.compile(r"(?!git)[\w+.-]+://[^@]*:[^@]*@|https?://([^/]*@|[^?]*\?)")  # git's have a repository there


@dataclass(frozen=True)
class Remote:
    """Files below a URL.

    Attributes:
      head: what stands before the path, as "s3://" or "filecache::s3://".
      root: the path.
      tail: what follows it, as "::file:///FOLDER/pictures.zip"; mostly nothing.
      pattern: of the names that are taken, "" for all.
    """

    head: str
    root: str
    tail: str = ""
    pattern: str = ""

    def __post_init__(self):
        if any(_SECRET.match(part) for part in f"{self.url}/{self.pattern}".split("::")):
            raise DataError(
                "a URL with a password, a token or a query in it would stand in the journal and the report: leave it "
                "out, and give it to the file system by environment, as AWS_SECRET_ACCESS_KEY or FSSPEC_S3_KEY"
            )

    @property
    def url(self) -> str:
        """Of what it is below."""
        return f"{self.head}{self.root}{self.tail}"

    @property
    def title(self) -> str:
        """The last part of the path."""
        return self.root.rstrip("/").rsplit("/", 1)[-1]

    @property
    def where(self) -> str:
        """The URL, with the pattern."""
        if not self.pattern:
            return self.url
        return f"{self.head}{'/'.join(filter(None, (escaped(self.root), self.pattern)))}{self.tail}"

    def find(self, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> walk.Found:
        """Lists the pictures, in the order that a folder of the same names has.

        Args:
          links: means nothing here: a file system that has links follows them.
          hidden, any_name: as of `adjax.data.io.walk.find`.

        Returns:
          A `Found`.

        Raises:
          DataError: nothing is there, or it can't be listed, and why.
        """
        pattern, found = Pattern(self.pattern), walk.Found([], Counter(), {})
        try:
            system, root = _system(self.url)
            paths = _files(system, root, pattern.deepest)
        except FileNotFoundError:
            paths = []
        except Exception as error:  # of each file system its own
            raise DataError(f"{self.url} can't be listed: {upload.reason(error)}") from error
        if not paths:
            raise DataError(f"{self.url} has no files: name a folder of pictures that is there")
        if any(not path.startswith(root) for path in paths):
            raise DataError(f"{self.url}: its file system names what lies in {root} otherwise: name that folder")
        if root in paths:
            raise DataError(f"{self.url} is a file: name the folder of pictures that it lies in")
        names = (path[len(root) :].lstrip("/") if root else path for path in paths)
        for name in sorted(names, key=lambda name: name.split("/")):
            if not pattern.fits(name):
                continue
            why = walk.not_wanted(name, hidden, any_name)
            if why is None:
                found.names.append(name)
            else:
                found.passed_over[why] += 1
        return found

    def open(self, name: str) -> BytesIO:
        """A file, read whole."""
        check_name(name)
        return BytesIO(self._read(name))

    def stream(self, name: str) -> RawIOBase:
        """A file, open for reading at any place; raises what `span` does."""
        with self.asking(name) as (system, path):
            return _Stream(self, name, system, system.open(path, "rb"))

    def span(self, name: str, start: int, end: int) -> bytes:
        """Reads a part of a file.

        Args:
          name: of the file.
          start, end: places in it, bytes; the end is not read.

        Returns:
          The bytes, fewer where the file ends.

        Raises:
          DataError: it isn't there any more.
          OSError: it can't be had at present.
        """
        return self._read(name, start=start, end=end) if end > start else b""

    def _read(self, name: str, **of: int) -> bytes:
        with self.asking(name) as (system, path):
            return system.cat_file(path, **of)

    @contextmanager
    def asking(self, name: str) -> Iterator[tuple[Any, str]]:
        """A context, of the file system and a path in it, whose errors are told apart.

        Args:
          name: of a file.

        Yields:
          Both.

        Raises:
          DataError, Unreachable: as of `telling`.
        """
        with self.telling(name):
            system, root = _system(self.url)
            yield system, f"{root}/{name}" if root else name

    @contextmanager
    def telling(self, name: str) -> Iterator[None]:
        """A context whose errors are told apart. Only what is not there is the file's own fault: without a network or
        a valid token all would fail alike, and stay so in the journal.

        Args:
          name: of a file.

        Raises:
          DataError: it isn't there any more.
          Unreachable: it can't be had at present.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise DataError("it was listed, and is not there any more") from error
        except Exception as error:  # of each file system its own
            what = upload.line(f"{self.url}/{name}")
            why = upload.reason(error)
            raise Unreachable(f"{what} can't be had: {why}. What is done stays: the same command goes on") from error


class Unreachable(OSError):
    """No fault of the file that was asked for."""


class _Stream(RawIOBase):
    """A file whose reading may fail for the network's sake at any time."""

    def __init__(self, owner: Remote, name: str, system: Any, file: Any):
        self._owner, self._name, self._file = owner, name, file
        self._system = system  # fsspec forgets that of an archive, which closes its files when it is collected

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        with self._owner.telling(self._name):
            return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        super().close()


def _files(system: Any, root: str, deepest: int | None) -> list[str]:
    """Paths of all files at most so deep. fsspec's own `find` leaves out folders that can't be listed, but for file
    systems whose listing is flat, which is one request for many folders there."""
    if deepest is None and _is_flat(system):
        return system.find(root)
    found, waiting = list[str](), [(root, 1)]
    while waiting:
        folder, depth = waiting.pop()
        for entry in system.ls(folder, detail=True):
            path = entry["name"].rstrip("/")
            if entry["type"] != "directory":
                found.append(path)
            elif path != folder and (deepest is None or depth < deepest):
                waiting.append((path, depth + 1))
    return found


def _is_flat(system: Any) -> bool:
    from fsspec.asyn import AsyncFileSystem
    from fsspec.spec import AbstractFileSystem

    if isinstance(system, AsyncFileSystem):
        return type(system)._find is not AsyncFileSystem._find
    return type(system).find is not AbstractFileSystem.find


def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it. fsspec makes a bucket's once, an archive's at each call."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return system, path.rstrip("/")
