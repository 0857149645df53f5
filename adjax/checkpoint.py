"""The only door to orbax: training state that survives a kill, and refuses what does not fit it.

A checkpoint holds the state, a SHA-256 of every leaf's bytes (orbax itself does not notice a flipped bit) and the *facts*
of the run: whatever must be equal for the continuation to be the same run. `restore` checks both, and takes the newest
checkpoint whose bytes are whole.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax.sharding import to_host
from adjax.types import PyTree

KEEP = 2
"""Checkpoints kept: the newest, and one before it in case its bytes are damaged."""


class MismatchError(ValueError):
    """The checkpoint belongs to another run."""


class Checkpoints:
    """The checkpoints of one run, in one directory. A context manager; use from the main thread of every process."""

    def __init__(self, directory: str | Path, facts: Mapping[str, Any]):
        """Opens or creates `directory`. `facts`: JSON values that a run must share with its checkpoints."""
        from orbax.checkpoint import v1 as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        self.facts = dict(facts)
        self._orbax = ocp.training.Checkpointer(
            Path(directory).absolute(),
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=ocp.training.preservation_policies.LatestN(KEEP),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        self._orbax.close()

    def save(self, step: int, state: PyTree) -> None:
        """Writes the state after `step` steps; returns when it is on disk. A step that is there already is left."""
        if step in [c.step for c in self._orbax.checkpoints]:
            return
        metadata = {"facts": self.facts, "sha256": _digests(state)}
        self._orbax.save(step, state, custom_metadata=metadata)

    def restore(self, template: PyTree) -> PyTree | None:
        """The newest whole state, or None if there is no checkpoint.

        Args:
          template: pytree of `jax.Array` or `jax.ShapeDtypeStruct` with shapes, dtypes and shardings to restore to.

        Raises:
          MismatchError: the checkpoint was made by a run with other facts; they are named.
          ValueError: every checkpoint there is damaged.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template
        )
        found = sorted(self._orbax.checkpoints, key=lambda c: c.step, reverse=True)
        for checkpoint in found:
            try:
                metadata = self._orbax.metadata(checkpoint).custom_metadata
            except Exception as error:
                warnings.warn(f"checkpoint of step {checkpoint.step} is unreadable ({error})", stacklevel=2)
                continue
            self._check(metadata["facts"])
            try:
                state = self._orbax.load(checkpoint, abstract)
                whole = _digests(state) == metadata["sha256"]
            except Exception as error:
                warnings.warn(f"checkpoint of step {checkpoint.step} can't be read ({error})", stacklevel=2)
                continue
            if whole:
                # Orbax hands out host memory that it may own itself; the copy is the device's, fit for donation.
                return jax.tree.map(lambda x: x.copy(), state)
            warnings.warn(
                f"checkpoint of step {checkpoint.step} is damaged (SHA-256 differs)", stacklevel=2
            )
        if found:
            raise ValueError(f"all checkpoints in {self._orbax.directory} are damaged: start afresh")
        return None

    def _check(self, facts: Mapping[str, Any]) -> None:
        different = [
            f"{name} is {self.facts.get(name)!r} here, {facts.get(name)!r} there"
            for name in sorted({*facts, *self.facts})
            if self.facts.get(name) != facts.get(name)
        ]
        if different:
            raise MismatchError(
                f"the checkpoint in {self._orbax.directory} belongs to another run: {'; '.join(different)}"
            )


def _digests(state: PyTree) -> dict[str, str]:
    """Path of each leaf -> SHA-256 of its shape, dtype and bytes."""

    def digest(leaf: np.ndarray) -> str:
        leaf = np.ascontiguousarray(leaf)
        return hashlib.sha256(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes()).hexdigest()

    leaves = jax.tree_util.tree_leaves_with_path(to_host(state))
    return {jax.tree_util.keystr(path): digest(np.asarray(leaf)) for path, leaf in leaves}
