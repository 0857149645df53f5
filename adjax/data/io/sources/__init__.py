"""Where pictures come from.

| SOURCE | pictures |
|---|---|
| `photos/` | files of a folder and of its subfolders |
| `'photos/2026-*/**/*.jpg'` | those that fit a pattern |
| `s3://bucket/photos`, `gs://…`, `hf://…`, `file://…` | the same of any file system that fsspec knows, patterns too |
| `'shards/*.tar'`, `s3://bucket/shards/*.tar` | members of tar files, as WebDataset has them |
| `'data/*.parquet'`, `'data/*.parquet#image'` | rows of Parquet files: a column of bytes |
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from adjax.data.io.pattern import escaped, split
from adjax.data.io.sources.folder import Folder
from adjax.data.io.sources.parquet import Parquet
from adjax.data.io.sources.remote import Remote
from adjax.data.io.sources.tar import Tar
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError

SHARDS = _TAR, _PARQUET = ".tar", ".parquet"
"""What files of many pictures are named like."""
_COMPRESSED = re.compile(r"\.(tgz|tar\.\w+)$")
_URL = re.compile(r"(?P<head>(?:\w+::)*[\w+.-]+://)(?P<path>.*?)(?P<tail>::.*)?", re.DOTALL)


def of(text: str) -> Source:
    """Finds the source that a text names.

    Args:
      text: as of `python -m adjax predict`, see above.

    Returns:
      The `Source`.

    Raises:
      DataError: a text that names none, and why.
    """
    if not text.strip():
        raise DataError("SOURCE is empty: name a folder of pictures, . for this one")
    if not _URL.fullmatch(text) and Path(text).is_dir():
        return Folder(Path(text))
    named = re.fullmatch(rf"(?P<files>.+\{_PARQUET})#(?P<column>[^/]+)", text, re.DOTALL)
    text, column = (named["files"], named["column"]) if named else (text, "")
    url = _URL.fullmatch(text)
    path = url["path"] if url else text
    if _COMPRESSED.search(path):
        raise DataError(f"{text}: a compressed tar file can't be read at any place: unpack it, or store it as .tar")
    sharded = path.endswith(SHARDS)
    root, pattern = split(path)
    if sharded and not pattern:
        *folders, last = root.split("/")
        root, pattern = "/".join(folders) + "/" * (folders == [""]), escaped(last)
    elif url is None and not pattern and Path(text).is_file():
        raise DataError(f"{text} is a file: name its folder, or a pattern; a zip file as 'zip://**::{text}'")
    files: Folder | Remote
    if url is None or (url["head"] in ("file://", "local://") and not url["tail"]):
        files = Folder(Path(root or "."), pattern)
    else:
        if url["head"].endswith("::file://"):
            root = os.path.abspath(root)
        files = Remote(url["head"], root, _absolute(url["tail"] or ""), pattern)
    if path.endswith(_PARQUET):
        return Parquet(files, column)
    return Tar(files) if path.endswith(_TAR) else files


def _absolute(tail: str) -> str:
    """The end of a chain: a path is taken from here, wherever the journal is read again."""
    chain, separator, last = tail.rpartition("::")
    path = last.removeprefix("file://")
    if not separator or "://" in path:
        return tail
    return f"{chain}{separator}{last[: len(last) - len(path)]}{os.path.abspath(path)}"
