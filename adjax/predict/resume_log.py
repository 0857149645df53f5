"""The journal of a scoring: a line a file, appended as they are done, so that a restart goes on where it ended.

Its first line says what the rows belong to (detector, threshold, folder), and where the detector was. A process that is
killed leaves at worst a last line cut short, which is dropped. Paths are JSON with Python's surrogates for bytes that
are no UTF-8, so they come back byte for byte. A file may have several lines, the last of which counts: one that could
not be read is tried again, and one that has changed is scored again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from adjax.data.split import DataError
from adjax.predict.stream import Prediction

KIND = "adjax predict journal 2"
_NOTES = "notes"


def path_beside(table: Path) -> Path:
    """Path of a table's journal."""
    return table.with_name(f"{table.name}.journal")


def head(path: Path) -> dict[str, Any]:
    """Reads what the rows of a journal belong to.

    Args:
      path: of the journal.

    Returns:
      Its facts, and its notes under their own names; empty where there is no journal.
    """
    try:
        with open(path, "rb") as file:
            found = json.loads(file.readline())
        return {**found, **found.pop(_NOTES, {})} if found["journal"] == KIND else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


class ResumeLog:
    """A journal that is open for appending, by this process alone. A context manager.

    Attributes:
      path: of the file.
      done: names of the files that were read and scored.
      failed: rows of those that could not be, by name.
      written: when the journal was written to last before it was opened, in seconds of the epoch; 0: it is new.
    """

    def __init__(
        self,
        path: Path,
        facts: Mapping[str, str | float | None],
        fresh: bool = False,
        notes: Mapping[str, str | None] = MappingProxyType({}),
    ):
        """Begins a journal, or goes on with one.

        Args:
          path: of the file.
          facts: what its rows depend on.
          fresh: start again whatever is there.
          notes: what else its first line says, when it is begun; may differ when it goes on.

        Raises:
          DataError: it belongs to other facts, is damaged before its end, or another process writes it.
        """
        self.path, self.done, self.failed = path, set[str](), dict[str, Prediction]()
        self._again = set[str]()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written = path.stat().st_mtime if path.exists() else 0.0
        self._file = open(path, "a+b")  # noqa: SIM115 (closed by __exit__)
        try:
            self._lock()
            if fresh:
                self._file.truncate(0)
            self._file.truncate(self._whole(facts, notes))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ResumeLog:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def append(self, rows: Iterable[Prediction]) -> None:
        """Writes rows and hands them to the operating system; of files that fail as they did before, nothing."""
        new = [row for row in rows if self.failed.get(row.path) != row]
        for row in new:
            self._count(row)
        lines = [json.dumps(row, separators=(",", ":")) + "\n" for row in new]
        self._file.write("".join(lines).encode())
        self._file.flush()

    def rows(self) -> Iterator[Prediction]:
        """The row of each file so far, in the order in which they were written."""
        left = Counter(row.path for row in self._lines() if row.path in self._again) if self._again else Counter[str]()
        for row in self._lines():
            if row.path in left:
                left[row.path] -= 1
                if left[row.path]:
                    continue
            yield row

    def _lines(self) -> Iterator[Prediction]:
        with open(self.path, "rb") as file:
            next(file)
            for line in file:
                yield Prediction(*json.loads(line))

    def _count(self, row: Prediction) -> None:
        if row.path in self.done or row.path in self.failed:
            self._again.add(row.path)
        self.done.discard(row.path)
        self.failed.pop(row.path, None)
        if row.status == "error":
            self.failed[row.path] = row
        else:
            self.done.add(row.path)

    def _whole(self, facts: Mapping[str, str | float | None], notes: Mapping[str, str | None]) -> int:
        """Reads what is there; the length of it that is whole."""
        self._file.seek(0)
        head = {"journal": KIND, **facts}
        first_line = json.dumps({**head, _NOTES: dict(notes)}).encode() + b"\n"
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n") and (number > 1 or first_line.startswith(line)):
                break  # cut short by a kill
            try:
                value = json.loads(line)
                if number > 1:
                    self._count(Prediction(*value))
            except (ValueError, TypeError) as error:
                raise DataError(f"{self.path} is damaged in line {number}: start again by --fresh") from error
            if number == 1 and (not isinstance(value, dict) or {**value, _NOTES: None} != {**head, _NOTES: None}):
                self._refuse(value, head)
            end += len(line)
        if not end:
            self._file.truncate(0)
            self._file.write(first_line)
            self._file.flush()
            return len(first_line)
        return end

    def _refuse(self, found: object, wanted: Mapping[str, object]) -> None:
        if not isinstance(found, dict) or found.get("journal") != KIND:
            raise DataError(
                f"{self.path} is not a journal of this command: name another --out, or start again by --fresh"
            )
        other = [f"{key} {found.get(key)}, now {value}" for key, value in wanted.items() if found.get(key) != value]
        raise DataError(
            f"{self.path} was begun with {'; '.join(other)}. Rows of both can't share a table: give what it was begun "
            "with, name another --out, or start again by --fresh"
        )

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: two processes at once are the user's to avoid
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"{self.path} is being written by another process: wait for it, or name another --out"
            ) from error
