"""Accelerators by their data sheets, and how their compilers are asked on a machine that has none."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, NamedTuple


class Chip(NamedTuple):
    """What its maker says of one chip.

    Attributes:
      name: in tables.
      tflops: 10¹² operations/s of dense matmuls as JAX runs float32 by default: bfloat16 passes on a TPU, TF32 on
        NVIDIA.
      exact_tflops: of matmuls that keep float32 (`highest`): six such passes on a TPU; float32 units on NVIDIA.
      gb_per_s: of main memory.
      link_gb_per_s: that it sends to other chips, all links together, in one direction.
      gib: main memory.
      topologies: number of chips -> the compiler's name for that number.
      source: of the figures.
    """

    name: str
    tflops: float
    exact_tflops: float
    gb_per_s: float
    link_gb_per_s: float
    gib: float
    topologies: dict[int, str]
    source: str


_CLOUD = "https://cloud.google.com/tpu/docs/"
CHIPS = {
    "v5e": Chip("TPU v5e", 197, 197 / 6, 819, 200, 16, {1: "v5e:1x1", 4: "v5e:2x2", 8: "v5e:2x4"}, _CLOUD + "v5e"),
    "v6e": Chip("TPU v6e", 918, 918 / 6, 1640, 400, 32, {1: "v6e:1x1", 4: "v6e:2x2", 8: "v6e:2x4"}, _CLOUD + "v6e"),
    "v5p": Chip("TPU v5p", 459, 459 / 6, 2765, 300, 95, {1: "v5p:2x2x1", 4: "v5p:2x2x1"}, _CLOUD + "v5p"),
    "v4": Chip("TPU v4", 275, 275 / 6, 1228, 150, 32, {1: "v4:2x2x1", 4: "v4:2x2x1"}, _CLOUD + "v4"),
    "h100": Chip(
        "H100 SXM, TF32",
        495,
        67,
        3350,
        450,
        80,
        {1: "1x1x1", 4: "1x1x4", 8: "1x1x8"},
        "https://www.nvidia.com/en-us/data-center/h100/ (dense: half of what is stated with sparsity)",
    ),
}
"""By the names of `--chip`."""

_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800
  clock_rate_ghz: 1.98 device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
"""A `GpuTargetConfigProto`."""


def prepare(names: list[str]) -> None:
    """Sets up the process for its compilers; before JAX makes any array.

    Args:
      names: of chips.

    Raises:
      SystemExit: a compiler is not installed.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no host to be asked what chips it has
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several may compile at once
    if any(name != "h100" for name in names) and importlib.util.find_spec("libtpu") is None:
        raise SystemExit("the TPU compiler is missing: pip install -e '.[aot]'")
    if "h100" in names:
        if not any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
            raise SystemExit("the CUDA compiler is missing: pip install 'jax[cuda12]' beside the same jax")
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        flags = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"  # nothing can be timed here
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def devices(name: str, count: int) -> list[Any]:
    """Chips that a compiler can be asked about.

    Args:
      name: of `CHIPS`.
      count: how many, joined as their maker joins that number.

    Raises:
      SystemExit: no such number of these.
    """
    from jax.experimental import topologies

    known = CHIPS[name].topologies
    if count not in known:
        raise SystemExit(f"--chips {count}: {name} is known to its compiler as {', '.join(map(str, known))}")
    if name != "h100":
        return topologies.get_topology_desc(platform="tpu", topology_name=known[count]).devices[:count]
    _find_cuda_without_a_gpu()
    return topologies.get_topology_desc(platform="cuda", target_config=_H100, topology=known[count]).devices


def _find_cuda_without_a_gpu() -> None:
    """Lets JAX find "cuda" among the platforms, where it asks for a GPU: private names of JAX 0.10, for good.

    Lowering for the devices asks again, so this process must have nothing else to do.
    """
    from jax._src import xla_bridge

    canonical, expanded = xla_bridge.canonicalize_platform, xla_bridge.expand_platform_alias
    bridge: Any = xla_bridge
    bridge.canonicalize_platform = lambda p: p if p == "cuda" else canonical(p)
    bridge.expand_platform_alias = lambda p: [p] if p == "cuda" else expanded(p)
