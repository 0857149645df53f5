"""Pictures in Parquet files: a column of their bytes, or of structs with `bytes`, as Hugging Face's data sets have."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple

from adjax.data.io import upload, walk
from adjax.data.io.arrow import import_arrow
from adjax.data.io.sources.folder import Folder
from adjax.data.io.sources.names import check_name
from adjax.data.io.sources.remote import Remote, Unreachable
from adjax.data.io.sources.tar import shard_names
from adjax.data.split import DataError

_KEPT = 16
"""Files whose layout is remembered."""
_LOCK = threading.RLock()


class _Layout(NamedTuple):
    """Of a file: the column of pictures, its field of bytes or "", the first row of each row group, how many `rows`."""

    column: str
    field: str
    firsts: list[int]
    rows: int


class _Damaged(DataError):
    """The reason why a file is no Parquet."""


@contextmanager
def _reading() -> Iterator[None]:
    """Tells damage, for which pyarrow has errors of any kind, from a file that can't be had."""
    try:
        yield
    except (DataError, Unreachable):
        raise
    except Exception as error:
        raise _Damaged(f"damaged, or no Parquet file: {upload.reason(error)}") from error


@dataclass(frozen=True)
class Parquet:
    """Rows of Parquet files. A picture's name is FILE.parquet/ROW, counted from 0.

    Attributes:
      shards: the files.
      column: of the pictures; "" for the only one that has bytes.
    """

    shards: Folder | Remote
    column: str = ""

    @property
    def title(self) -> str:
        """The last part of what names the files."""
        return self.where.rsplit("/", 1)[-1]

    @property
    def where(self) -> str:
        """Names the files and the column."""
        return self.shards.where + f"#{self.column}" * bool(self.column)

    def find(self, *, links: bool = False, hidden: bool = False, any_name: bool = False) -> walk.Found:
        """Lists the pictures: reads the footer of each file.

        Args:
          links: follow symbolic links to files.
          hidden, any_name: mean nothing here: every row is a picture.

        Returns:
          A `Found`, file by file; a file that is no Parquet is `unlisted`.

        Raises:
          DataError: no file, or it isn't clear which column holds the pictures.
          OSError: none can be had at present.
        """
        found = walk.Found([], Counter(), {})
        _layout.cache_clear()  # what lies there now
        _group.cache_clear()
        for name in shard_names(self.shards, links):
            try:
                with _reading():
                    count = _layout(self.shards, name, self.column).rows
            except _Damaged as error:
                found.unlisted[name] = str(error)
                continue
            found.names.extend(f"{name}/{row}" for row in range(count))
        return found

    def open(self, name: str) -> BytesIO:
        """A row's picture."""
        check_name(name)
        shard, _, row = name.rpartition("/")
        with _LOCK, _reading():  # threads that open the first rows of a group wait for one
            layout = _layout(self.shards, shard, self.column)
            group = bisect_right(layout.firsts, int(row)) - 1
            cells = _group(self.shards, shard, self.column, group)
            content = cells[int(row) - layout.firsts[group]].as_py()
        if content is None:
            raise DataError("no bytes in this row")
        return BytesIO(content)


@lru_cache(_KEPT)
def _layout(shards: Folder | Remote, name: str, column: str) -> _Layout:
    arrow = import_arrow()
    with shards.stream(name) as file, arrow.parquet.ParquetFile(file) as table:
        found, field = _column(table.schema_arrow, column, name)
        sizes = [table.metadata.row_group(at).num_rows for at in range(table.num_row_groups)]
    return _Layout(found, field, [sum(sizes[:at]) for at in range(len(sizes))], sum(sizes))


@lru_cache(2)  # pictures of a group are held
def _group(shards: Folder | Remote, name: str, column: str, group: int) -> Any:
    layout = _layout(shards, name, column)
    path = f"{layout.column}.{layout.field}" if layout.field else layout.column
    with shards.stream(name) as file, import_arrow().parquet.ParquetFile(file) as table:
        cells = table.read_row_group(group, columns=[path]).column(layout.column)
    if layout.field:
        cells = import_arrow().compute.struct_field(cells, layout.field)
    return cells


def _column(schema: Any, column: str, name: str) -> tuple[str, str]:
    """The column of pictures, and its field of bytes or ""."""
    holding = {of.name: field for of in schema if (field := _field_of_bytes(of.type)) is not None}
    if column in holding:
        return column, holding[column]
    where = upload.line(name)
    if column:
        raise DataError(f"{where}: column {column!r} has no bytes; {_choice(holding)}")
    if len(holding) != 1:
        raise DataError(f"{where}: {len(holding)} columns have bytes, one is needed; {_choice(holding)}")
    return next(iter(holding.items()))


def _choice(holding: dict[str, str]) -> str:
    names = ", ".join(map(repr, holding)) or "none"
    return f"name the column of pictures as FILES.parquet#COLUMN (those of bytes: {names})"


def _field_of_bytes(kind: Any) -> str | None:
    """ "" for a column of bytes, the field's name for one of structs, None for others."""
    types = import_arrow().types

    def holds(of: Any) -> bool:
        return types.is_binary(of) or types.is_large_binary(of) or types.is_binary_view(of)

    if holds(kind):
        return ""
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and holds(kind.field("bytes").type):
        return "bytes"
    return None
