"""Fitting to more images than memory holds, and across devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from adjax.scorers._given import check_sizes, naming, narrowed, pair
from adjax.types import Outputs, PyTree, Scorer


def fit_stream(
    scorer: Scorer, batches: Iterable[tuple[Outputs, ArrayLike]], dim: Any, classes: int, batch_size: int = 2048
) -> PyTree:
    """Fits a scorer to outputs that come in batches: the state of `adjax.scorers.fit` on all of them at once.

    Args:
      scorer: what to fit.
      batches: pairs of outputs, named arrays of N rows, and labels int[N]; N may differ from batch to batch. Each is
        asked for once, and none is kept.
      dim: what the scorer's `init` takes, see `Scorer.row`; of most the columns of `features`.
      classes: K ≥ 1.
      batch_size: rows an update; batches are cut and joined to that, so that it is compiled once.

    Returns:
      The scorer's state.

    Raises:
      ValueError: no rows at all, a batch that is no such pair or lacks an output that the scorer takes, arrays of a
        batch that differ in how many rows they have, labels that are no integers [N], or classes or batch_size < 1.
    """
    stats = statistics(scorer, batches, dim, classes, batch_size)
    if stats is None:
        raise ValueError("no image to fit a scorer to: give at least 1")
    return jax.jit(scorer.finalize)(stats)


def statistics(
    scorer: Scorer, batches: Iterable[tuple[Outputs, ArrayLike]], dim: Any, classes: int, batch_size: int = 2048
) -> PyTree | None:
    """A scorer's statistics of outputs that come in batches, to be merged with those of others.

    Args:
      scorer, batches, dim, classes, batch_size: as of `fit_stream`.

    Returns:
      The statistics, for `scorer.merge` and then `scorer.finalize`; None if there are no rows at all.

    Raises:
      ValueError: as of `fit_stream`, but for no rows.
    """
    check_sizes(classes, batch_size)
    update, stats = jax.jit(scorer.update, donate_argnums=0), None
    for outputs, labels, mask in _rebatched(batches, batch_size):
        with naming(outputs):
            before = scorer.init(dim, classes) if stats is None else stats
            stats = update(before, outputs, narrowed(labels, classes), mask)
    return stats


def merge_all(scorer: Scorer, stats: PyTree, axis_name: str) -> PyTree:
    """Merges the statistics of all devices of an axis, as `lax.psum` adds sums.

    Called inside `jax.shard_map` or `jax.pmap`.

    Args:
      scorer: gives `merge`.
      stats: this device's own statistics.
      axis_name: of the mapped axis.

    Returns:
      The merged statistics, on each device.
    """
    parts = lax.all_gather(stats, axis_name)
    first, others = (jax.tree.map(lambda x, part=part: x[part], parts) for part in (0, slice(1, None)))
    return lax.scan(lambda a, b: (scorer.merge(a, b), None), first, others)[0]


def merge_processes(scorer: Scorer, stats: PyTree) -> PyTree:
    """Merges the statistics of all processes of `jax.distributed`; each must ask.

    Args:
      scorer: gives `merge`.
      stats: this process's own statistics.

    Returns:
      The merged statistics, the same in each process.
    """
    if jax.process_count() == 1:
        return stats
    from jax.experimental import multihost_utils

    parts = multihost_utils.process_allgather(stats)
    merge = jax.jit(scorer.merge)
    return reduce(merge, (jax.tree.map(lambda x, at=at: x[at], parts) for at in range(jax.process_count())))


def _rebatched(
    batches: Iterable[tuple[Outputs, ArrayLike]], size: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """The same rows, exactly `size` at a time: outputs, labels and which rows are real, zeros after the last."""
    # Copies, since whoever gives the batches may write the next one into the same memory.
    held: list[tuple[dict[str, np.ndarray], np.ndarray]] = []
    waiting = 0
    for given, classes in map(pair, batches):
        outputs, labels = {name: np.asarray(x) for name, x in given.items()}, np.asarray(classes)
        for name, x in outputs.items():
            if len(x) != len(labels):
                raise ValueError(f"{name} of {len(x)} images and labels of {len(labels)}: must be as many")
        while len(labels):
            n = min(size - waiting, len(labels))
            held.append(({name: np.array(x[:n]) for name, x in outputs.items()}, np.array(labels[:n])))
            outputs, labels = {name: x[n:] for name, x in outputs.items()}, labels[n:]
            waiting += n
            if waiting == size:
                yield _joined(held, size)
                held, waiting = [], 0
    if waiting:
        yield _joined(held, size)


def _joined(
    held: list[tuple[dict[str, np.ndarray], np.ndarray]], size: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    def whole(parts: list[np.ndarray]) -> np.ndarray:
        x = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return np.pad(x, [(0, size - len(x))] + [(0, 0)] * (x.ndim - 1)) if len(x) < size else x

    real = sum(len(labels) for _, labels in held)
    outputs = {name: whole([outputs[name] for outputs, _ in held]) for name in held[0][0]}
    return outputs, whole([labels for _, labels in held]), np.arange(size) < real
