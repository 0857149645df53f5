"""Diagnosis of a machine: devices, accelerators that JAX leaves idle, speed, and caches."""

from __future__ import annotations

import glob
import importlib.metadata
import os
import time
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from adjax import distribution, models
from adjax.data.download import cache
from adjax.models.weights import WEIGHTS

NVIDIA, TPU, AMD = "/dev/nvidia[0-9]*", "/dev/accel[0-9]*", "/dev/kfd"
"""Device files by which Linux shows an accelerator."""
SPEED_BATCH, SPEED_S = 256, 0.5


def devices() -> str:
    """Describes JAX's devices in a line."""
    found = jax.devices()
    kinds = sorted({device.device_kind for device in found})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{len(found)} {jax.default_backend()} device(s) ({', '.join(kinds)}); {cores} CPU cores"


def idle_accelerators(
    backend: str, files: Mapping[str, list[str]] | None = None, environment: Mapping[str, str] | None = None
) -> list[str]:
    """Lists accelerators that the machine has and JAX does not use, each with what to do.

    Args:
      backend: JAX's, "cpu", "gpu" or "tpu".
      files: pattern → device files; None: those of the machine.
      environment: variables; None: the process's own.

    Returns:
      A line per kind of accelerator.
    """
    files = {pattern: sorted(glob.glob(pattern)) for pattern in (NVIDIA, TPU, AMD)} if files is None else files
    environment = os.environ if environment is None else environment
    if backend != "cpu":
        return []
    forced = environment.get("JAX_PLATFORMS") or environment.get("JAX_PLATFORM_NAME")
    hidden = environment.get("CUDA_VISIBLE_DEVICES")
    found = []
    for pattern, name, extra in ((NVIDIA, "NVIDIA GPU", "cuda"), (TPU, "TPU", "tpu")):
        if not (seen := files.get(pattern)):
            continue
        if forced:
            mend = f"JAX_PLATFORMS={forced} forbids it: unset that"
        elif extra == "cuda" and hidden in ("", "-1"):
            mend = f"CUDA_VISIBLE_DEVICES={hidden!r} hides it: unset that"
        else:
            mend = f"{distribution.install(extra)} into this environment (and a driver that is new enough)"
        found.append(f"{len(seen)} {name}(s) ({', '.join(seen[:4])}) that JAX does not use. {mend}")
    if files.get(AMD):
        found.append("an AMD GPU that JAX does not use. JAX has builds for ROCm: see its installation page")
    return found


def versions() -> str:
    """Lists the versions of the packages that matter, in a line."""
    others = (f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax", "numpy", "pillow"))
    return ", ".join([f"adjax {distribution.VERSION}", *others])


def speed() -> float:
    """Images/s of LeNet-5 on 28 × 28 px, compiled, over half a second: only to tell fast from slow."""
    network = models.make("lenet5", (28, 28, 1), 10)
    params = jax.jit(network.init)(jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).random((SPEED_BATCH, 28, 28, 1)), jnp.float32)
    run = jax.jit(lambda params, images: network.apply(params, images)["logits"])
    run(params, images).block_until_ready()
    began, batches = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < SPEED_S:
        run(params, images).block_until_ready()
        batches += 1
    return batches * SPEED_BATCH / passed


def caches() -> list[tuple[str, Path, int]]:
    """(what, where, bytes): data sets and weights, and compiled programs if JAX keeps any."""
    home = cache.cache_dir()
    found = [("data sets and weights", home, _size(home))]
    if compiled := jax.config.values.get("jax_compilation_cache_dir"):
        found.append(("compiled programs", Path(compiled), _size(Path(compiled))))
    return found


def weights() -> list[tuple[str, str]]:
    """(model, where its published weights lie or how to get them)."""
    home = cache.cache_dir() / "weights"
    return [
        (name, str(home / p.file_name) if (home / p.file_name).is_file() else "fetched when they are first asked for")
        for name, p in WEIGHTS.items()
    ]


def _size(folder: Path) -> int:
    """Bytes of all files under a folder; 0 if there is none."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
