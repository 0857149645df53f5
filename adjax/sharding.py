"""Sharding of members and batches over a mesh with the axes ("member", "data").

Members (independent runs) are spread first, since they never talk to each other; devices left over share each member's
batches. One CPU is the mesh of one device, and no special case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

from adjax.types import PyTree

MEMBER, DATA = "member", "data"


def make_mesh(members: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Builds the mesh on which `members` runs train: gcd(members, devices) rows of devices, each row sharing batches.

    Args:
      members: number of independent runs, at least 1.
      devices: None: all devices of all processes.

    Returns:
      A mesh with the axes ("member", "data").
    """
    devices = jax.devices() if devices is None else list(devices)
    rows = math.gcd(members, len(devices))
    shape = (rows, len(devices) // rows)
    return jax.make_mesh(shape, (MEMBER, DATA), axis_types=(AxisType.Auto, AxisType.Auto), devices=devices)


def on_own_rows(function: Callable[[PyTree, PyTree], PyTree], mesh: Mesh) -> Callable[[PyTree, PyTree], PyTree]:
    """Makes each device of a mesh apply a function to the rows that it holds; nothing is sent, whatever their number.

    `jax.jit` alone decides by the program what to send, and a scorer's blocks of rows that don't divide into tiles are
    gathered on every device.

    Args:
      function: `(state, rows) -> arrays`, each row by itself: a scorer's `score`, or `lambda d, x: d.score(x)` for a
        `Detector`.
      mesh: whose devices share the rows, in order.

    Returns:
      `(state, rows) -> arrays`, for `jax.jit`: `state` is whole on every device; `rows`, arrays of N rows, and the
      result are shared. It raises a ValueError where N is not a multiple of the number of devices.

    Example:
      >>> double = on_own_rows(lambda state, rows: state * rows, make_mesh(1))
      >>> jax.jit(double)(2.0, np.ones(8, np.float32)).tolist()
      [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    shared = PartitionSpec(mesh.axis_names)
    return jax.shard_map(function, mesh=mesh, in_specs=(PartitionSpec(), shared), out_specs=shared, check_vma=False)


def to_host(tree: PyTree) -> PyTree:
    """All of every leaf as NumPy arrays, on every process, wherever its parts lie."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    def fetch(x):
        if x.is_fully_replicated:  # lies here already
            return np.asarray(x.addressable_data(0))
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(fetch, tree)


def on_all_processes(flag: bool) -> bool:
    """Tells whether a flag is true on every process; each must ask, with nothing else under way between them."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.bool_(flag)).all())
