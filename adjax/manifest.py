"""A directory whose manifest has the SHA-256 of each file, believed only if every sum is right.

    DIR/manifest.json         format, schema, and the SHA-256 of all others
    DIR/KIND-SUM.SUFFIX       one file of each kind; SUM is where its SHA-256 begins

The manifest is the thing: replacing it, in one atomic step, is what saving means. What it names has been written by
then under names of its own, so whenever a save dies, DIR holds the old thing or the new, whole. A manifest counts if it
is byte for byte what would be written, and no path is read from a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adjax import atomic

MANIFEST = "manifest.json"
_SUM = re.compile(r"[0-9a-f]{64}")


class ArtefactError(ValueError):
    """A directory that is damaged, incomplete, too new, or none of what was looked for.

    Example:
      >>> import adjax
      >>> try:
      ...     adjax.load("nowhere")
      ... except adjax.ArtefactError as error:
      ...     print(str(error).partition(":")[0])
      nowhere is not a complete detector
    """


@dataclass(frozen=True)
class Manifest:
    """The manifest of a kind of directory.

    Attributes:
      thing: what it holds, for messages: "detector".
      format: the same in the manifest, for good.
      schema: counts up when older readers could not understand.
      kinds: (kind, suffix) of its files.
    """

    thing: str
    format: str
    schema: int
    kinds: tuple[tuple[str, str], ...]

    def write(self, directory: str | os.PathLike, contents: Mapping[str, bytes]) -> None:
        """Writes one file of each kind atomically; what `directory` held of the same thing is replaced.

        Args:
          directory: created if it is missing.
          contents: kind → bytes.

        Raises:
          ArtefactError: `directory` exists and is something else.
        """
        target = Path(directory)
        self.check_target(target)
        sums = {kind: hashlib.sha256(contents[kind]).hexdigest() for kind, _ in self.kinds}
        target.mkdir(parents=True, exist_ok=True)
        for kind in sums:
            atomic.write(target / self.file_name(kind, sums[kind]), contents[kind], "new")
        atomic.write(target / MANIFEST, self.content(sums), "new")
        current = {self.file_name(kind, sums[kind]) for kind in sums}
        for file in target.iterdir():  # of the thing that was, or of a save that died
            if self._is_own(file.name) and file.name not in current:
                with contextlib.suppress(OSError):
                    file.unlink()

    def read(self, directory: str | os.PathLike) -> dict[str, bytes]:
        """The contents by kind, every sum checked.

        Raises:
          ArtefactError: nothing there; a file is missing or damaged; it was written by a newer adjax.
        """
        folder, contents = Path(directory), {}
        for kind, expected in self._read_manifest(folder).items():
            file = folder / self.file_name(kind, expected)
            contents[kind] = self._read(file)
            found = hashlib.sha256(contents[kind]).hexdigest()
            if found != expected:
                raise ArtefactError(f"{file} is damaged: SHA-256 {found}, the manifest says {expected}")
        return contents

    def check_target(self, target: Path) -> None:
        """Refuses to write where something else is than such a thing, nothing, or what a save that died left."""
        if not target.exists():
            return
        if not target.is_dir():
            raise ArtefactError(f"{target} is a file: name a directory")
        if (target / MANIFEST).exists():
            try:
                self._read_manifest(target)
            except ArtefactError as error:
                raise ArtefactError(f"{error}. Name another directory, or remove this one") from error
        elif any(not self._is_own(file.name) for file in target.iterdir()):
            raise ArtefactError(f"{target} is a directory of something else: name another one")

    def file_name(self, kind: str, sha256: str) -> str:
        """Name of the file of a kind.

        Args:
          kind: one of `kinds`.
          sha256: of its bytes, in hexadecimal.

        Returns:
          KIND-SUM.SUFFIX.
        """
        return f"{kind}-{sha256[:16]}{dict(self.kinds)[kind]}"

    def content(self, sums: Mapping[str, str]) -> bytes:
        """The manifest of files of these sums."""
        return to_json({"format": self.format, "schema": self.schema, "sha256": dict(sums)})

    def _read_manifest(self, folder: Path) -> dict[str, str]:
        """The sums by kind of file."""
        wrong = ArtefactError(f"{folder / MANIFEST} is damaged, or no {self.thing}'s manifest")
        content = self._read(folder / MANIFEST)
        try:
            manifest = json.loads(content)
            known, schema = manifest["format"] == self.format, manifest["schema"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise wrong from error
        if known and isinstance(schema, int) and schema > self.schema:
            raise ArtefactError(f"{folder} has schema {schema}, this adjax reads up to {self.schema}: update adjax")
        try:
            sums = {kind: str(manifest["sha256"][kind]) for kind, _ in self.kinds}
        except (TypeError, KeyError):
            sums = {}
        if content != self.content(sums) or not all(map(_SUM.fullmatch, sums.values())):
            raise wrong
        return sums

    def _read(self, file: Path) -> bytes:
        try:
            return file.read_bytes()
        except OSError as error:
            raise ArtefactError(
                f"{file.parent} is not a complete {self.thing}: no {file.name} ({error.strerror})"
            ) from error

    def _is_own(self, name: str) -> bool:
        kinds, suffixes = zip(*self.kinds, strict=True)
        either = "|".join
        file = rf"\.?({either(kinds)})-[0-9a-f]{{16}}({either(map(re.escape, suffixes))})(\.new)?"
        return re.fullmatch(rf"\.manifest\.json\.new|{file}", name) is not None


def digest(directory: str | os.PathLike) -> str:
    """SHA-256 (hex) of a directory's manifest, and so of all that it names."""
    return hashlib.sha256((Path(directory) / MANIFEST).read_bytes()).hexdigest()


def to_json(value: Any) -> bytes:
    """JSON for people and programs, always the same for the same value."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
