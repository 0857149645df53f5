"""A scorer fitted to parts on a Ray cluster: statistics of each part there, merged here, in the order of the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
from jax.typing import ArrayLike

from adjax import process
from adjax.cluster.connection import WAIT_S, Cluster, address_of, connected, fitting, no_place, options
from adjax.data.split import DataError
from adjax.scorers import statistics
from adjax.types import Outputs, PyTree, Scorer

Part = TypeVar("Part")
RETRIES = 3
"""Of a part whose worker died."""


def fit_stream(
    scorer: Scorer,
    read: Callable[[Part], Iterable[tuple[Outputs, ArrayLike]]],
    parts: Sequence[Part],
    dim: Any,
    classes: int,
    batch_size: int = 2048,
    cluster: Cluster | None = None,
) -> PyTree:
    """Fits a scorer to parts of the data, each read by a worker: `adjax.scorers.fit_stream`, on many machines.

    The state doesn't depend on how many workers there are. A worker holds one part's batch and statistics, and is
    replaced if it dies.

    Args:
      scorer: what to fit.
      read: of a part the pairs of outputs, named arrays of N rows, and labels int[N]. It runs in the workers, so it
        and the parts are pickled: name files, not their contents.
      parts: file names, say; at least one row is in them.
      dim, classes, batch_size: as of `adjax.scorers.fit_stream`.
      cluster: which one; None: RAY_ADDRESS, or one of this machine.

    Returns:
      The scorer's state.

    Raises:
      DataError: no cluster, no room on it, or a part whose workers die.
      ValueError: no rows at all; and whatever `read` raises.
    """
    if not parts:
        raise ValueError("no parts to fit a scorer to: give at least 1")
    cluster = cluster or Cluster()
    with connected(cluster) as ray:
        room = fitting(ray, cluster)
        if not room and not address_of(cluster):
            raise no_place(ray, cluster)
        remote = ray.remote(_Fitter).options(**options(cluster), max_restarts=-1, max_task_retries=RETRIES)
        work = ray.put((scorer, read, dim, classes, batch_size))
        workers = [remote.remote() for _ in range(max(1, min(cluster.workers or room, len(parts))))]
        pool, merged = ray.util.ActorPool(workers), None
        merge = jax.jit(scorer.merge)
        try:
            if not ray.wait([worker.here.remote() for worker in workers], num_returns=1, timeout=WAIT_S)[0]:
                raise no_place(ray, cluster)
            for stats in pool.map(lambda worker, part: worker.statistics.remote(work, part), parts):
                if stats is not None:
                    merged = stats if merged is None else merge(merged, stats)
        except ray.exceptions.RayTaskError as error:  # raised by our own code there, or by `read`
            raise (error.cause or error) from None
        except ray.exceptions.RayError as error:
            raise DataError(f"a part can't be fitted, {RETRIES + 1} workers died over it: {error}") from error
        finally:
            for worker in workers:
                ray.kill(worker)
    if merged is None:
        raise ValueError("no image to fit a scorer to: give at least 1")
    return jax.jit(scorer.finalize)(merged)


class _Fitter:
    """A process that fits parts, compiled once."""

    def __init__(self):
        """Knows no work yet: Ray may not have the arguments any more when it starts a process again."""
        process.prepare()
        self._work: tuple[Scorer, Callable[[Any], Any], Any, int, int] | None = None

    def here(self) -> bool:
        """True, once there is such a process."""
        return True

    def statistics(self, work: tuple[Scorer, Callable[[Any], Any], Any, int, int], part: Any) -> PyTree | None:
        """Of a part, as NumPy arrays; None of one without rows. The work is the same each time."""
        self._work = self._work or work  # each copy of a scorer would be compiled again
        scorer, read, dim, classes, batch_size = self._work
        return jax.device_get(statistics(scorer, read(part), dim, classes, batch_size))
