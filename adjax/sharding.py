"""Sharding of members and batches over a mesh with the axes ("member", "data").

Members (independent runs) are spread first, since they never talk to each other; devices left over share each member's
batches. One CPU is the mesh of one device, and no special case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

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
