"""Sums and means over the devices that share a batch: what makes a step data-parallel under any named axis."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from adjax.types import PyTree


def mean(tree: PyTree, axis_name: str | None) -> PyTree:
    """Averages every leaf over the named axis of devices; without an axis there is one device and nothing to do."""
    return lax.pmean(tree, axis_name) if shared(axis_name) else tree


def total(tree: PyTree, axis_name: str | None) -> PyTree:
    """Adds every leaf over the named axis of devices."""
    return lax.psum(tree, axis_name) if shared(axis_name) else tree


def shared(axis_name: str | None) -> bool:
    """Whether there are others on the axis; with a single device XLA would still copy all that it adds up."""
    return axis_name is not None and lax.axis_size(axis_name) > 1


def keys(key: jax.Array, rows: int, axis_name: str | None) -> jax.Array:
    """A key for each image of the whole batch, this device's `rows` of them: draws don't depend on the devices."""
    first = 0 if axis_name is None else lax.axis_index(axis_name) * rows
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(rows))
