"""Files to rows on a Ray cluster: the rows of `adjax.predict.stream`, in the same order, bit for bit.

    names → parts of whole batches → workers, each with one loaded detector → rows, in order → the one journal

A worker runs `stream.rows` on a part, so a picture is scored in a batch of the same shape by the same program. A score
doesn't depend on its place in the batch, nor on its neighbours there. On a CPU it may depend on the number of XLA's
threads, so each worker has as many as this process. Only this process writes. It holds a few parts per worker.
A worker that dies is replaced, and its parts are given out again. Ray itself restarts and repeats nothing, since it
would not tell which part kills its workers.
"""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from adjax import thresholds
from adjax.cluster.connection import WAIT_S, Cluster, address_of, connected, fitting, no_place, options
from adjax.cluster.worker import Scored, Setup, Worker, contents, versions, write_maps
from adjax.data.io import upload
from adjax.data.io.depth import Depths
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.predict import THREADS
from adjax.predict.stream import Prediction

BATCHES = 8
"""Of a part. Maps are large: with them a part is one batch."""
AT_ONCE, AHEAD = 2, 4
"""Parts given to a worker, so that it never waits; and parts per worker that may be done before one that isn't."""
DEATHS = 3
"""Workers that a part may cost."""
_LOOK_S = 0.5


class _Part(NamedTuple):
    number: int
    names: Sequence[str]


class _Parts:
    """Names, cut into parts of a size; those that come back are given first."""

    def __init__(self, names: Sequence[str], size: int):
        self._names, self._size, self._fresh = names, size, 0
        self._back: list[int] = []  # a heap
        self.count = -(-len(names) // size)

    def take(self, below: int) -> _Part | None:
        """The first of those left, if its number is below that."""
        waiting = self._back[0] if self._back else self._fresh
        if waiting >= min(below, self.count):
            return None
        if self._back:
            heapq.heappop(self._back)
        else:
            self._fresh += 1
        return _Part(waiting, self._names[waiting * self._size : (waiting + 1) * self._size])

    def put_back(self, part: _Part) -> None:
        heapq.heappush(self._back, part.number)


@dataclass(eq=False)
class _Seat:
    """A worker's handle, the call that loads its detector until that is done, and the parts it was given."""

    handle: Any
    loading: Any
    given: deque[tuple[_Part, Any]] = field(default_factory=deque)

    @property
    def awaited(self) -> Any:
        """The call that ends first; None: it has nothing to do."""
        return self.loading if self.loading is not None else self.given[0][1] if self.given else None


def rows(
    directory: Path,
    sha256: str,
    cluster: Cluster,
    detector: Detector,
    source: Source,
    names: Sequence[str],
    *,
    batch_size: int,
    threads: int = THREADS,
    interval: thresholds.ThresholdInterval | None = None,
    depths: Depths | None = None,
    maps: Path | None = None,
    unmade: list[str] | None = None,
) -> Generator[list[Prediction]]:
    """Scores files on a cluster, in order, as `adjax.predict.stream.rows` does in this process.

    Args:
      directory: that the detector was loaded from.
      sha256: of its manifest.
      cluster: which one.
      detector: with the threshold to decide by.
      source: of the files, which every machine of the cluster must reach.
      names: of the files.
      batch_size, interval, depths, maps: as of `stream.rows`.
      unmade: told of each map that can't be made; None: the first is refused.
      threads: that decode in a worker, at most as many as the CPUs that were asked for it.

    Yields:
      Rows of a part; none, from time to time, so that the caller may look up.

    Raises:
      DataError: no cluster; no worker in `WAIT_S`; other versions there; a part that kills its workers.
      OSError: no file can be had at present.
    """
    if not names:
        return
    size = 1 if detector.spec.frame == "tiles" else batch_size  # as `stream.rows` takes them
    parts = _Parts(names, size * (1 if maps is not None else BATCHES))
    setup = Setup(
        files=contents(directory),
        sha256=sha256,
        threshold=float(detector.threshold),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        source=source,
        first=names[0],
        batch_size=batch_size,
        threads=min(threads, cluster.cpus or threads),
        maps=maps is not None,
        environment={name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")},
    )
    with connected(cluster) as ray:
        pool = _Pool(ray, cluster, setup, parts)
        try:
            for scored in pool.run():
                if scored is None:
                    yield []
                    continue
                if depths is not None:
                    for counted in scored.depths:
                        depths.add(*counted)
                if maps is not None and (failed := scored.unmade + write_maps(scored.maps, maps)):
                    if unmade is None:
                        raise DataError(f"a map can't be made: {failed[0]}")
                    unmade += failed
                yield scored.rows
        finally:
            pool.close()


class _Pool:
    """Workers, and parts on their way through them."""

    def __init__(self, ray: Any, cluster: Cluster, setup: Setup, parts: _Parts):
        self._ray, self._cluster, self._parts = ray, cluster, parts
        self._setup = ray.put(setup)
        self._worker = ray.remote(Worker).options(**options(cluster), max_restarts=0)
        room = fitting(ray, cluster)
        if not room and not address_of(cluster):
            raise no_place(ray, cluster)
        self._size = max(1, min(cluster.workers or room, parts.count))
        self._deaths: dict[int, int] = {}  # part → workers that it cost
        self._unborn = 0  # workers in a row that died before their detector was loaded
        self._done: dict[int, Scored] = {}
        self._next = 0
        self._seats = [self._seat() for _ in range(self._size)]

    def close(self) -> None:
        """Ends the workers."""
        for seat in self._seats:
            with suppress(Exception):  # of a cluster that has gone
                self._ray.kill(seat.handle)

    def run(self) -> Iterator[Scored | None]:
        """What came of each part, in order; None from time to time."""
        placed_at = time.monotonic()
        while self._next < self._parts.count:
            self._give()
            awaited = {seat.awaited: seat for seat in self._seats if seat.awaited is not None}
            for call in self._ray.wait(list(awaited), num_returns=1, timeout=_LOOK_S)[0]:
                self._take(awaited[call], call)
            while self._next in self._done:
                self._next += 1
                yield self._done.pop(self._next - 1)
            yield None
            if any(seat.loading is None for seat in self._seats):
                placed_at = time.monotonic()
            elif time.monotonic() - placed_at > WAIT_S:
                raise no_place(self._ray, self._cluster)

    def _seat(self) -> _Seat:
        handle = self._worker.remote(self._setup)
        return _Seat(handle, handle.load.remote())

    def _give(self) -> None:
        """Fills up the workers that are there, one part each, then another."""
        ready = [seat for seat in self._seats if seat.loading is None]
        for held in range(AT_ONCE):
            for seat in ready:
                if len(seat.given) > held:
                    continue
                part = self._parts.take(self._next + AHEAD * self._size)
                if part is None:
                    return
                seat.given.append((part, seat.handle.score.remote(part.names)))

    def _take(self, seat: _Seat, call: Any) -> None:
        """Takes what came of a call, or replaces the worker."""
        try:
            came = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:  # raised by our own code there
            raise (error.cause or error) from None
        except self._ray.exceptions.RayError as error:
            self._replace(seat, upload.reason(error))
            return
        if seat.loading is not None:
            _check_versions(came)
            seat.loading, self._unborn = None, 0
            return
        part, _ = seat.given.popleft()
        self._deaths.pop(part.number, None)
        self._done[part.number] = came

    def _replace(self, seat: _Seat, why: str) -> None:
        """A worker or its machine is gone; the first of its parts is the one it was at."""
        with suppress(Exception):
            self._ray.kill(seat.handle)
        if seat.loading is not None:
            self._unborn += 1
            if self._unborn >= DEATHS * self._size:
                raise DataError(f"{self._unborn} workers died while they loaded the detector, the last one so: {why}")
        elif seat.given:
            part, _ = seat.given[0]
            self._deaths[part.number] = self._deaths.get(part.number, 0) + 1
            if self._deaths[part.number] >= DEATHS:
                raise DataError(_killing(part, why))
        for part, _ in seat.given:
            self._parts.put_back(part)
        self._seats[self._seats.index(seat)] = self._seat()


def _check_versions(there: dict[str, str]) -> None:
    here = versions()
    other = [
        f"{name} {there.get(name)}, here {version}" for name, version in here.items() if there.get(name) != version
    ]
    if other:
        raise DataError(f"a worker has {'; '.join(other)}: rows would differ; install the same on all machines")


def _killing(part: _Part, why: str) -> str:
    first, last = (upload.line(part.names[at]) for at in (0, -1))
    return (
        f"{DEATHS} workers died over the same {len(part.names):,} files, {first} to {last}, the last one so: {why}. "
        "What is done stays; move the file away that does it, or give each worker more memory by fewer --workers"
    )
