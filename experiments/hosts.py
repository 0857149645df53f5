"""One run on several hosts: `--distributed`. Each process finds the others, and none waits for one that has gone."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from threading import Timer
from typing import Any

import jax

HEARTBEAT_S = 30
"""A process that is not heard of for so long is taken for dead, and the others end."""
_LOST = re.compile("gloo|nccl|connection (closed|reset|refused)|coordination|another task|heartbeat|UNAVAILABLE", re.I)
_PATIENCE_S = 7 * 24 * 3600
"""Processes that are done wait for the first, which evaluates."""
_NAMED = {
    "adjax": ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    "torchrun": ("MASTER_ADDR", "WORLD_SIZE", "RANK"),
}
"""Environments that JAX doesn't know itself. torchrun's names are also those of Kubeflow and of Ray Train."""


def join() -> None:
    """Finds the other processes of the run.

    Raises:
      ValueError: nothing says which there are.
      OSError: they can't be reached.
    """
    try:
        jax.distributed.initialize(
            **_found(), heartbeat_timeout_seconds=HEARTBEAT_S, shutdown_timeout_seconds=_PATIENCE_S
        )
    except ValueError as error:
        if "defined" not in str(error):
            raise
        raise ValueError(
            "--distributed: nothing says which processes there are. Start it by srun, mpirun or on a TPU pod; or set "
            f"{', '.join(_NAMED['adjax'])} for each"
        ) from error
    except RuntimeError as error:
        raise OSError(f"--distributed: the first process can't be reached: {_line(error)}") from error


def leaving(command: Callable[[], int]) -> int:
    """Runs a command that may `join`, and leaves the others in good order.

    Args:
      command: returns the exit code, and prints its own errors.

    Returns:
      The exit code, once all processes have come to theirs. After an error this one exits at once, by which the
      others learn of it.
    """
    try:
        code = command()
    except Exception:
        if not jax.distributed.is_initialized():
            raise
        traceback.print_exc()
        code = 1
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        if code not in (0, 130):
            os._exit(code)
        if code:  # Ctrl-C, which all stop at together; but not after the second
            Timer(10, os._exit, (code,)).start()
        jax.distributed.shutdown()
        if code:
            os._exit(code)
    return code


def lost(error: Exception) -> OSError | None:
    """What a failed computation means if others take part in it; None: it is this process's own failure.

    JAX has no type for it: a collective that fails raises JaxRuntimeError, or a ValueError where its result is fetched.
    """
    text = _line(error)
    if jax.process_count() == 1 or not _LOST.search(text):
        return None
    return OSError(
        f"process {jax.process_index()} of {jax.process_count()} lost another one, which ended or can't be reached: "
        f"see what that one printed. What was saved stays: the same command on all hosts goes on from there ({text})"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _found() -> dict[str, Any]:
    """What `jax.distributed.initialize` isn't able to find out by itself."""
    for names in _NAMED.values():
        address, count, own = (os.environ.get(name, "") for name in names)
        if not (address and count and own):
            continue
        if not (count.isdigit() and own.isdigit() and int(own) < int(count)):
            raise ValueError(
                f"--distributed: {names[1]}={count} and {names[2]}={own}: must be a number of processes, and one of 0 "
                "to that number less one"
            )
        if names[0] == "MASTER_ADDR":
            address = f"{address}:{os.environ.get('MASTER_PORT', '29500')}"
        if not address.rpartition(":")[2].isdigit():
            raise ValueError(f"--distributed: {names[0]}={address}: must be HOST:PORT of the first process")
        return {"coordinator_address": address, "num_processes": int(count), "process_id": int(own)}
    return {}
