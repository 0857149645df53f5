"""Pictures in tar files, as WebDataset has them: a shard's members by their names, read where they lie."""

from __future__ import annotations

import tarfile
import threading
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

from adjax.data.io import upload, walk
from adjax.data.io.sources.folder import Folder
from adjax.data.io.sources.names import check_name
from adjax.data.io.sources.remote import Remote
from adjax.data.split import DataError

_SUFFIX = ".tar/"
_KEPT = 16
"""Shards whose members are remembered."""
_LOCK = threading.Lock()


class _Shard(NamedTuple):
    """Member → (offset, bytes), in order; why others are skipped; why the rest can't be read, or ""."""

    members: dict[str, tuple[int, int]]
    passed_over: Counter[str]
    damage: str


@dataclass(frozen=True)
class Tar:
    """The members of tar files. A picture's name is SHARD.tar/MEMBER.

    Attributes:
      shards: the tar files, which aren't compressed.
    """

    shards: Folder | Remote

    @property
    def title(self) -> str:
        """The last part of what names the shards."""
        return self.where.rsplit("/", 1)[-1]

    @property
    def where(self) -> str:
        """Names the shards."""
        return self.shards.where

    def find(self, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> walk.Found:
        """Lists the pictures: reads through each shard's headers.

        Args:
          links: follow symbolic links to shards; those inside a shard are skipped.
          hidden, any_name: as of `adjax.data.io.walk.find`, of members.

        Returns:
          A `Found`, shard by shard, each in its own order; what of a damaged shard can't be read is `unlisted`.

        Raises:
          DataError: no shard.
          OSError: none can be had at present.
        """
        found = walk.Found([], Counter(), {})
        _read_shard.cache_clear()  # what lies there now
        for name in shard_names(self.shards, links):
            if _SUFFIX in name:
                raise DataError(f"{upload.line(name)}: a folder of shards can't be named like a shard: rename it")
            shard = _shard(self.shards, name)
            found.passed_over.update(shard.passed_over)
            if shard.damage:
                found.unlisted[name] = shard.damage
            for member in shard.members:
                why = walk.not_wanted(member, hidden, any_name)
                if why is None:
                    found.names.append(f"{name}/{member}")
                else:
                    found.passed_over[why] += 1
        return found

    def open(self, name: str) -> BytesIO:
        """A member, read whole."""
        check_name(name)
        head, suffix, member = name.partition(_SUFFIX)
        shard = head + suffix.rstrip("/")
        place = _shard(self.shards, shard).members.get(member)
        if place is None:
            raise DataError("it was listed, and is not in its tar file any more")
        offset, size = place
        content = self.shards.span(shard, offset, offset + size)
        if len(content) < size:
            raise DataError("its tar file ends before it")
        if len(content) > size:
            raise OSError(
                f"{upload.line(shard)}: the server sends all of a file where a part was asked for: download it, or let "
                "fsspec keep a copy, 'filecache::URL'"
            )
        return BytesIO(content)


def shard_names(shards: Folder | Remote, links: bool) -> list[str]:
    """Names of files that hold pictures.

    Args:
      shards: the files.
      links: follow symbolic links.

    Returns:
      At least one name.

    Raises:
      DataError: there is none.
    """
    names = shards.find(links=links, any_name=True).names
    if not names:
        raise DataError(f"no file fits {shards.where}: name files that are there; links are taken by --follow-links")
    return names


def _shard(shards: Folder | Remote, name: str) -> _Shard:
    with _LOCK:  # threads that open the first members of a shard wait for the one that reads it
        return _read_shard(shards, name)


@lru_cache(_KEPT)
def _read_shard(shards: Folder | Remote, name: str) -> _Shard:
    found = _Shard({}, Counter(), "")
    try:
        file: Any  # tarfile asks for more than it uses
        with shards.stream(name) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    found.passed_over["no file"] += 1
                    continue
                plain = member.name
                while plain.startswith("./"):  # as `tar -c .` names them
                    plain = plain[2:]
                if plain in found.members:
                    found.passed_over["replaced by a later one of the same name"] += 1
                found.members[plain] = member.offset_data, member.size
            if damage := _damage_at_end(file, archive.offset):
                return found._replace(damage=damage)
    except tarfile.TarError as error:
        packed = shards.span(name, 0, 2) == b"\x1f\x8b"
        what = "gzip: unpack it" if packed else f"not a whole tar file without compression: {upload.reason(error)}"
        return found._replace(damage=what)
    return found


def _damage_at_end(file: Any, offset: int) -> str:
    """What stands where the members end; "" if the archive ends there. For tarfile, whatever is no header ends it."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if not block:
        return "no end: it was cut short, unless whoever wrote it left the end out"
    return f"damaged: no member at byte {offset}, nor the end; what follows is not read" if any(block) else ""
