"""Sums and means over the devices that share a batch, which make a step data-parallel under a named axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from adjax.types import PyTree


def pmean_if_mapped(tree: PyTree, axis_name: str | None) -> PyTree:
    """Averages every leaf over a named axis of devices.

    Args:
      tree: arrays.
      axis_name: of the axis; None: one device, and the tree is returned as it is.

    Returns:
      A tree like `tree`.
    """
    return lax.pmean(tree, axis_name) if shared(axis_name) else tree


def psum_if_mapped(tree: PyTree, axis_name: str | None) -> PyTree:
    """Adds every leaf over a named axis of devices.

    Args:
      tree: arrays.
      axis_name: of the axis; None: one device, and the tree is returned as it is.

    Returns:
      A tree like `tree`.
    """
    return lax.psum(tree, axis_name) if shared(axis_name) else tree


def gather_if_mapped(tree: PyTree, axis_name: str | None) -> PyTree:
    """Lays the rows of all devices side by side, in the order of the devices.

    Args:
      tree: arrays [B, ...], of this device.
      axis_name: of the axis; None: one device, and the tree is returned as it is.

    Returns:
      A tree like `tree`, of arrays [devices · B, ...].
    """
    return lax.all_gather(tree, axis_name, tiled=True) if shared(axis_name) else tree


def shared(axis_name: str | None) -> bool:
    """Whether there are others on the axis; with a single device XLA would still copy all that it adds up."""
    return axis_name is not None and lax.axis_size(axis_name) > 1


def keys(key: jax.Array, rows: int, axis_name: str | None) -> jax.Array:
    """Derives a key for each image of this device, so that draws don't depend on the number of devices.

    Args:
      key: a random key, the same on each device.
      rows: images on this device.
      axis_name: of the devices that share the batch; None: one device.

    Returns:
      Random keys [rows].
    """
    first = 0 if axis_name is None else lax.axis_index(axis_name) * rows
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(rows))
