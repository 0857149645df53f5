"""One detector in a process of its own, which scores parts of a source. It knows nothing of what runs it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from adjax import atomic, distribution, manifest, process, serialization
from adjax.conformal import ThresholdInterval
from adjax.data.io import upload
from adjax.data.io.depth import Depths
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.predict import stream
from adjax.predict.stream import Prediction

_DECIDE = ("jax", "jaxlib", "numpy", "pillow", "tifffile")
"""Distributions whose versions may move a score, or the pixels that it is of."""


@dataclass(frozen=True)
class Setup:
    """All that a worker needs; it can be pickled.

    Attributes:
      files: name → bytes, of the detector's directory.
      sha256: of its manifest.
      threshold: of the score.
      interval: scores that are uncertain; None: not known.
      source: of the pictures.
      first: the name of one of them.
      batch_size, threads: as of `stream.rows`.
      maps: whether maps of flagged pictures are wanted.
      environment: the `_NUM_THREADS` of the process that asks.
    """

    files: Mapping[str, bytes]
    sha256: str
    threshold: float
    interval: tuple[float, float] | None
    source: Source
    first: str
    batch_size: int
    threads: int
    maps: bool
    environment: Mapping[str, str]


class Scored(NamedTuple):
    """What came of a part.

    Attributes:
      rows: in the order of the names.
      depths: (peak, mode, coloured) of each picture, see `adjax.data.io.depth.Depths`.
      maps: path relative to the folder of maps → bytes.
      unmade: as of `stream.rows`.
    """

    rows: list[Prediction]
    depths: list[tuple[int | None, str, bool]]
    maps: dict[str, bytes]
    unmade: list[str]


class Worker:
    """Holds one loaded detector."""

    def __init__(self, setup: Setup):
        """Takes what it needs, and does nothing yet."""
        self._setup = setup
        self._detector: Detector | None = None

    def load(self) -> dict[str, str]:
        """Loads the detector.

        Returns:
          The `versions` here.

        Raises:
          DataError: another detector came, or the pictures aren't there.
          OSError: no picture can be had at present.
        """
        setup = self._setup
        for name in [name for name in os.environ if name.endswith("_NUM_THREADS") and name not in setup.environment]:
            del os.environ[name]  # set by what started this process: it would keep `prepare` from setting its own
        upload.quiet()
        process.prepare()
        with tempfile.TemporaryDirectory(prefix="adjax-") as made:
            for name, content in setup.files.items():
                (Path(made) / name).write_bytes(content)
            found = manifest.digest(made)
            if found != setup.sha256:
                raise DataError(
                    f"the detector was replaced while the run began: SHA-256 {found[:16]}…, not {setup.sha256[:16]}…; "
                    "start again"
                )
            loaded = replace(serialization.load(made), threshold=jnp.float32(setup.threshold))
        self._detector = jax.device_put(loaded)
        first: upload.Source = ""
        with suppress(DataError):  # the picture's own fault, which its row will say
            first = setup.source.open(setup.first)
        if first and isinstance(first, str | os.PathLike) and not os.path.lexists(first):
            raise DataError(
                f"{platform.node()} has no {upload.line(os.fspath(first))}: a folder must lie on a disk that all "
                "machines of the cluster share; or name a URL"
            )
        return versions()

    def score(self, names: Sequence[str]) -> Scored:
        """Scores a part of the source.

        Args:
          names: of pictures.

        Returns:
          What came of it, a `Scored`.

        Raises:
          OSError: no picture can be had at present.
        """
        setup, depths, unmade = self._setup, Depths(), list[str]()
        if self._detector is None:
            raise RuntimeError("load() comes first")
        interval = None if setup.interval is None else ThresholdInterval(*map(jnp.float32, setup.interval))
        with tempfile.TemporaryDirectory(prefix="adjax-") as made:
            folder = Path(made)
            work = stream.rows(
                self._detector,
                setup.source,
                names,
                batch_size=setup.batch_size,
                threads=setup.threads,
                interval=interval,
                depths=depths,
                maps=folder if setup.maps else None,
                unmade=unmade,
            )
            rows = [row for some in work for row in some]
            maps = {
                path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
            }
        return Scored(rows, list(zip(depths.peaks, depths.modes, depths.coloured, strict=True)), maps, unmade)


def contents(directory: Path) -> dict[str, bytes]:
    """Reads a detector, for `Setup.files`.

    Raises:
      ArtefactError: it is damaged.
    """
    form = serialization.FORMAT
    found = form.read(directory)
    sums = {kind: hashlib.sha256(content).hexdigest() for kind, content in found.items()}
    return {
        manifest.MANIFEST: form.content(sums),
        **{form.file_name(kind, sums[kind]): content for kind, content in found.items()},
    }


def write_maps(maps: Mapping[str, bytes], into: Path) -> list[str]:
    """Puts the maps of a part into place.

    Args:
      maps: path → bytes, see `Scored`.
      into: the folder.

    Returns:
      Those that can't be written, and why.
    """
    failed = []
    for name, content in maps.items():
        path = into / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, content)
        except OSError as error:
            failed.append(stream.not_made(name, error))
    return failed


def versions() -> dict[str, str]:
    """Versions of what decides a score, in this process."""
    return {
        "adjax": distribution.VERSION,
        **{name: importlib.metadata.version(name) for name in _DECIDE},
    }
