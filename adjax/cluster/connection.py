"""A connection to Ray, and what workers there take and inherit of this process."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from adjax import distribution
from adjax.data.io import upload
from adjax.data.split import DataError
from adjax.surface import words

WAIT_S = 600.0
"""For any worker to be there: a cluster may have to start machines first."""


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and what is taken of it.

    Attributes:
      address: HOST:PORT; None: RAY_ADDRESS, and without it a cluster of this machine for this run alone.
      workers: processes that score; None: as many as fit.
      cpus: that each takes; None: as many as XLA takes in this process.
      gpus: that each takes; a share of one, or a whole number.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int | None = None
    gpus: float = 0.0


def import_ray() -> Any:
    """Imports Ray, which sends no statistics of its use and leaves this process's signals as they are.

    Raises:
      DataError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming default; without it Ray warns
    try:
        import ray
    except ImportError as error:
        raise DataError(f"--engine ray needs Ray: {distribution.install('ray')}, or --engine local") from error
    return ray


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected; a cluster that was started for this is stopped.

    Raises:
      DataError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():  # by the caller, in Python
        yield ray
        return
    address = address_of(cluster)
    options: dict[str, Any] = {"address": address}
    if not address:
        asked = (cluster.workers or 1) * (cluster.cpus or xla_threads())
        options = {"address": "local", "num_cpus": max(xla_threads(), asked), "include_dashboard": False}
    with _quiet():
        try:
            with _own_signals(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)  # JAX's: the child becomes Ray at once
                ray.init(**options, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            what = f"no Ray cluster answers at {address}" if address else "Ray can't be started"
            raise DataError(f"{what}: {upload.reason(error)}") from error
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def connecting(cluster: Cluster) -> Iterator[Callable[[], Any]]:
    """Connects while the caller does something else.

    Args:
      cluster: which one.

    Yields:
      A function that waits for Ray and raises what `connected` does; what is called after it finds Ray connected.
    """
    import_ray()
    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:  # Ray's processes end with the thread that began them
        started = thread.submit(stack.enter_context, connected(cluster))
        try:
            yield started.result
        finally:
            wait([started])


@contextmanager
def _own_signals() -> Iterator[None]:
    """`ray.init` takes SIGTERM for itself; the caller's handler comes back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray tells this process's screen of every worker that dies, whatever `log_to_driver` is."""
    worker: Any = sys.modules.get("ray._private.worker")
    printed = getattr(worker, "print_to_stdstream", None)
    if worker is None or printed is None:  # another release than 2.60
        yield
        return
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


def address_of(cluster: Cluster) -> str | None:
    """The cluster's address, or RAY_ADDRESS; None: one is started for the run."""
    return cluster.address or os.environ.get("RAY_ADDRESS") or None


def xla_threads() -> int:
    """Threads that XLA takes on a CPU in this process: as many as it may use, or as the environment says."""
    for name in ("PJRT_NPROC", "NPROC"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """What decides how XLA computes, so that workers compute as this process would; not where, nor what it keeps."""
    same = {
        name: value
        for name, value in os.environ.items()
        if name == "XLA_FLAGS" or (name.startswith("JAX_") and name != "JAX_PLATFORMS" and not name.endswith("_DIR"))
    }
    return {**same, "PJRT_NPROC": str(xla_threads())}


def options(cluster: Cluster) -> dict[str, Any]:
    """What Ray is told of each worker: what it takes, and that it computes as this process does."""
    return {
        "num_cpus": cluster.cpus or xla_threads(),
        "num_gpus": cluster.gpus,
        "scheduling_strategy": "SPREAD",
        "runtime_env": {"env_vars": environment()},
    }


def no_place(ray: Any, cluster: Cluster) -> DataError:
    """The reason why no worker comes to be.

    Args:
      ray: connected.
      cluster: says what a worker takes.

    Returns:
      The error, with what the cluster has.
    """
    found = ray.cluster_resources()
    asked = f"{cluster.cpus or xla_threads()} CPUs" + f" and {cluster.gpus:g} GPUs" * bool(cluster.gpus)
    less = words("--worker-cpus and --worker-gpus", "cpus= and gpus= of Cluster")
    return DataError(
        f"no worker of {asked} finds a place: the cluster has {found.get('CPU', 0):g} CPUs and "
        f"{found.get('GPU', 0):g} GPUs; ask for less by {less}"
    )


def fitting(ray: Any, cluster: Cluster) -> int:
    """Counts the workers that the cluster has room for.

    Args:
      ray: connected.
      cluster: says what a worker takes.

    Returns:
      Their number.
    """
    cpus, gpus, found = cluster.cpus or xla_threads(), cluster.gpus, 0
    for node in ray.nodes():
        if node["Alive"]:
            has = node["Resources"]
            fits = int(has.get("CPU", 0) // cpus)
            found += min(fits, int(has.get("GPU", 0) / gpus)) if gpus else fits
    return found
