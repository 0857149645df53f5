"""Process settings for programs, not for libraries: freed memory kept, compilations kept, one thread for LAPACK,
garbage collected less often.

XLA's CPU runtime allocates its temporaries afresh at every dispatch. The C library gives large ones back to the
operating system at once, which then has to clear every page again: that can cost more than the arithmetic. And what
was compiled once need not be compiled again by the next process. Decompositions go to SciPy's LAPACK, whose threads,
when they are done, keep waiting for more on the cores that XLA wants for its matmuls.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

import jax
from threadpoolctl import threadpool_limits

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_TRIM_BYTES = 2**30


def prepare() -> None:
    """Does all four; called by the commands of adjax before their first array, never by an import."""
    keep_freed_memory()
    keep_compilations()
    one_lapack_thread()
    collect_less_often()


def collect_less_often() -> None:
    """Lets the collector of garbage wait for 10,000 new objects, not 700, and 200 times as many to look at all of them.

    Tracing makes hundreds of thousands that stay: looking through them took 1.1 of the main job's 22 s.
    """
    gc.set_threshold(10_000, 20, 10)


def one_lapack_thread() -> threadpool_limits | None:
    """Lets LAPACK and BLAS as NumPy and SciPy have them use one thread.

    Expectation maximisation on 20,000 × 128 features took 1.8 times as long beside two that waited. On busy cores ten
    decompositions of 500 × 500 took 0.3 to 7 s instead of 0.15: each waits for a thread that is not given a core.

    Returns:
      What undoes it (`restore_original_limits`); None, and nothing done, where the user has set a number of threads in
      the environment.
    """
    if any(name.endswith("_NUM_THREADS") for name in os.environ):
        return None
    import scipy.linalg.cython_lapack  # noqa: F401 - what XLA calls: a library that is not loaded can't be limited

    return threadpool_limits(1, "blas")


def keep_freed_memory() -> bool:
    """Lets the process keep up to 1 GiB of freed memory for its next allocations, of any size and by any thread.

    All threads allocate from one heap: of the heaps that glibc gives to each, one that is free is given back whole, and
    what they keep adds up. Blocks of more than 32 MiB come from it, too: those of their own would be cleared page by
    page each time. A fit with temporaries of 74 MB took 44 ms, and takes 19.

    Does nothing where the C library is not glibc, or where the user has set thresholds in the environment.

    Returns:
      Whether it was done.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl
        return False
    wanted = {_M_TRIM_THRESHOLD: _TRIM_BYTES, _M_MMAP_MAX: 0, _M_ARENA_MAX: 1}
    return all(mallopt(name, value) for name, value in wanted.items())


def forget_garbage() -> None:
    """Lets the collector of garbage look at new objects only: for a server, when it is ready.

    Tracing leaves many objects. Looking through them all stopped every request for 0.1 s, again and again.
    """
    gc.collect()
    gc.freeze()


def keep_compilations(directory: Path | None = None) -> Path | None:
    """Lets JAX keep what it compiles, and run it again: in a directory of the user's own, since code is run from it.

    Args:
      directory: by default `adjax/xla` in the user's cache directory (`XDG_CACHE_HOME`, or `~/.cache`).

    Returns:
      The directory, or None where JAX already has one (`JAX_COMPILATION_CACHE_DIR`) or none can be had that belongs to
      this user alone, which Windows doesn't tell.
    """
    if jax.config.values.get("jax_compilation_cache_dir") or not hasattr(os, "getuid"):
        return None
    if directory is None:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adjax" / "xla"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if directory.is_symlink() or directory.stat().st_uid != os.getuid():
            return None
        directory.chmod(0o700)
    except OSError:  # no home that can be written to: then without
        return None
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return directory
