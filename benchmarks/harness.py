"""Timing that can be trusted on a noisy machine: warmed up, synchronised, ours and the peer in turn, in one process."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from adjax import process

Work = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """One comparison; a ratio above 1 means that adjax is faster.

    Attributes:
      name, peer: what is timed, against what.
      ours_ms, peer_ms: medians, of one step or one call.
      ratio, ratio_min, ratio_max: of peer / ours, pair by pair: median, smallest, largest.
      n: pairs.
      compile_s: of ours, apart from all timings.
      images_per_s: ours, at the median.
      gflops: ours, at the median: what the algorithm needs, not what the lowering does; None if not known.
      peak_share: of that, and the matmul peak measured in the same process.
      memory_mib: what the compiled program holds at once: arguments, results and temporaries; None if not known.
      reference: what the source documents report for this work, on other hardware.
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
    gflops: float | None = None
    peak_share: float | None = None
    memory_mib: float | None = None
    reference: str | None = None

    def json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def compare(
    name: str,
    peer: str,
    ours: Work,
    theirs: Work,
    *,
    images: int,
    n: int,
    steps: int = 1,
    compile_s: float = 0.0,
    gflop: float | None = None,
    memory_mib: float | None = None,
    reference: str | None = None,
    peer_images: int | None = None,
) -> Timing:
    """Times `ours` and `theirs` in turn, A B A B …, n times each after one warm-up.

    Args:
      name, peer: labels.
      ours, theirs: called without arguments; a returned pytree of JAX arrays is waited for.
      images: how many images one call handles.
      n: pairs, at least 1.
      steps: how many equal steps one call takes; times are given for one.
      compile_s: measured by the caller, if it compiled ahead of time.
      gflop: 10⁹ floating-point operations that one call needs.
      memory_mib, reference: see `Timing`.
      peer_images: how many the peer's call handles, if not as many: times and ratios are then of as many as ours.
    """
    first = _as_commands_run(ours)
    _once(theirs)
    pairs = [(_as_commands_run(ours), _once(theirs)) for _ in range(n)]
    scale = images / (peer_images or images)
    mine, others = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [scale * b / a for a, b in pairs]
    gflops = None if gflop is None else gflop / mine
    return Timing(
        name,
        peer,
        mine / steps * 1e3,
        others * scale / steps * 1e3,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        n,
        compile_s or max(first - mine, 0.0),
        images / mine,
        gflops,
        None if gflops is None else gflops / matmul_peak(),
        memory_mib,
        reference,
    )


def _as_commands_run(ours: Work) -> float:
    """Seconds of ours with LAPACK on one thread, as adjax's commands set it once; the peer has all of them."""
    limits = process.one_lapack_thread()  # takes milliseconds itself
    try:
        return _once(ours)
    finally:
        if limits is not None:
            limits.restore_original_limits()


def flops(jitted: Any, *args: Any) -> float:
    """Floating-point operations that a jitted function needs on these arguments, a loop's body counted once.

    Counted as lowered for a TPU: there a convolution is one operation, which on CPU becomes matmuls with more work.
    """
    return float(jitted.trace(*args).lower(lowering_platforms=("tpu",)).cost_analysis()["flops"])


def memory_mib(compiled: jax.stages.Compiled) -> float | None:
    """Arguments, results and temporaries of a compiled program, MiB; buffers it was given to reuse count once."""
    m = compiled.memory_analysis()
    if m is None:
        return None
    held = m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes + m.temp_size_in_bytes
    return held / 2**20


@functools.cache
def matmul_peak(side: int | None = None, runs: int = 7) -> float:
    """GFLOP/s of the best of a few float32 matmuls of JAX's own: what this device can do.

    Args:
      side: of the matrices; None: as many as a CPU takes milliseconds for, and an accelerator, too.
      runs: how often.
    """
    side = side or (2048 if jax.default_backend() == "cpu" else 8192)
    a = jnp.ones((side, side), jnp.float32)
    product = jax.jit(lambda a, b: jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST))
    return 2 * side**3 / min(_once(lambda: product(a, a)) for _ in range(1 + runs)) / 1e9


def _once(work: Work) -> float:
    started = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - started
