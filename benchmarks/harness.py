"""Timing that can be trusted on a noisy machine: warmed up, synchronised, ours and the peer in turn, in one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax

Work = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """One comparison; a ratio above 1 means that adjax is faster.

    Attributes:
      name, peer: what is timed, against what.
      ours_ms, peer_ms: medians.
      ratio, ratio_min, ratio_max: of peer / ours, pair by pair: median, smallest, largest.
      n: pairs.
      compile_s: of ours, apart from all timings.
      images_per_s: ours, at the median.
    """

    name: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float
    ratio_min: float
    ratio_max: float
    n: int
    compile_s: float
    images_per_s: float

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def compare(name: str, peer: str, ours: Work, theirs: Work, *, images: int, n: int, compile_s: float = 0.0) -> Timing:
    """Times `ours` and `theirs` in turn, A B A B …, n times each after one warm-up.

    Args:
      name, peer: labels.
      ours, theirs: called without arguments; a returned pytree of JAX arrays is waited for.
      images: how many images one call handles.
      n: pairs, at least 1.
      compile_s: measured by the caller, if it compiled ahead of time.
    """
    started = time.perf_counter()
    _once(ours)
    first = time.perf_counter() - started
    _once(theirs)
    pairs = [(_once(ours), _once(theirs)) for _ in range(n)]
    mine, others = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    return Timing(
        name,
        peer,
        mine * 1e3,
        others * 1e3,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        n,
        compile_s or max(first - mine, 0.0),
        images / mine,
    )


def _once(work: Work) -> float:
    started = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - started
