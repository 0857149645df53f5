"""The only door to orbax: training state that survives a kill, and refuses what does not fit it.

A checkpoint holds the state, a SHA-256 of every leaf's bytes (orbax itself does not notice a flipped bit) and the
*facts* of the run: whatever must be equal for the continuation to be the same run. `restore` checks both, and takes the
newest checkpoint whose bytes are whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax import atomic
from adjax.sharding import on_all_processes, to_host
from adjax.surface import words
from adjax.types import PyTree

KEEP = 2
"""Checkpoints kept: the newest, and one before it in case its bytes are damaged."""


class MismatchError(ValueError):
    """The checkpoint belongs to another run."""


class Checkpoints:
    """The checkpoints of one run, in one directory. A context manager; use from the main thread of every process."""

    def __init__(self, directory: str | Path, facts: Mapping[str, Any]):
        """Opens or creates `directory`, and clears away what a kill left half-written there.

        Args:
          directory: shared by all processes.
          facts: JSON values that a run must share with its checkpoints.
        """
        from orbax.checkpoint import v1 as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax tells each step of each save
        self.facts = json.loads(_json(facts))  # as they will be read back: tuples are lists
        self._damaged: list[int] = []
        self._aside = _set_aside(Path(directory).absolute())
        self._orbax = ocp.training.Checkpointer(
            Path(directory).absolute(),
            preservation_policy=ocp.training.preservation_policies.LatestN(KEEP),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_) -> None:
        # Orbax waits for its clearing away when it saves, not when it closes: of a run that ends before it saved, its
        # thread would go on as the interpreter shuts down, and print a traceback of its own.
        clearing = getattr(getattr(self._orbax, "_manager", None), "_cleanup_tmp_directory_future", None)
        try:
            if clearing is not None:
                with contextlib.suppress(Exception):  # what is left there harms no run
                    clearing.result()
        finally:
            self._orbax.close()

    def any(self) -> bool:
        """Whether there is a checkpoint to go on from, whole or not."""
        return bool(self._orbax.checkpoints or self._aside)

    def save(self, step: int, state: PyTree) -> None:
        """Writes the state after `step` steps; returns when it is on the disk. An existing step is left as it is.

        Checkpoints that `restore` found damaged are deleted: the run has gone on from one before them.

        Args:
          step: number of steps done, ≥ 0.
          state: a pytree of arrays.
        """
        for damaged in self._damaged:
            self._orbax.delete(damaged)
        self._damaged.clear()
        for folder in self._aside:
            shutil.rmtree(folder, ignore_errors=True)  # another process may be faster
        self._aside.clear()
        if step in [c.step for c in self._orbax.checkpoints]:
            return
        metadata = {"facts": self.facts, "leaves": _describe(state, digest=True)}
        # Forced, since when to save is the loop's decision: orbax's own refuses any step before the newest.
        self._orbax.save(step, state, force=True, custom_metadata={**metadata, "seal": _seal(metadata)})
        _flush(Path(self._orbax.directory) / str(step))

    def restore(self, template: PyTree) -> PyTree | None:
        """The newest whole state, or None if there is no checkpoint.

        Args:
          template: pytree of `jax.Array` or `jax.ShapeDtypeStruct` with shapes, dtypes and shardings to restore to.

        Raises:
          MismatchError: the checkpoint was made by a run with other facts or another state; they are named.
          ValueError: every checkpoint there is damaged.
        """
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), template)
        for folder, trouble in self._aside.items():
            _warn(folder.stem, trouble)
        found = sorted((c.step for c in self._orbax.checkpoints), reverse=True)
        for step in found:
            state = self._load(step, abstract)
            if state is not None:
                return state
            self._damaged.append(step)
        if found or self._aside:
            steps = sorted([*found, *(int(folder.stem) for folder in self._aside)], reverse=True)
            raise ValueError(
                f"all checkpoints in {self._orbax.directory} are damaged (steps {steps}): delete it to start afresh"
            )
        return None

    def _load(self, step: int, abstract: PyTree) -> PyTree | None:
        """The state of that step, or None, with a warning, if it is damaged."""
        metadata: dict[str, Any] = {}
        trouble = "its facts are not as written"
        try:
            metadata = dict(self._orbax.metadata(step).custom_metadata)
            whole = metadata.pop("seal") == _seal(metadata)
        except Exception as error:  # orbax, tensorstore, json: each has its own for bytes it can't read
            whole, trouble = False, f"its facts can't be read: {_brief(error)}"
        if on_all_processes(whole):
            self._check(metadata, abstract)
            try:
                state = self._orbax.load(step, abstract)
            except Exception as error:
                state, trouble = None, f"it can't be read: {_brief(error)}"
            if on_all_processes(state is not None):
                if on_all_processes(_describe(state, digest=True) == metadata["leaves"]):
                    return state
                trouble = "its SHA-256 differs"
        _warn(str(step), trouble)
        return None

    def _check(self, metadata: Mapping[str, Any], abstract: PyTree) -> None:
        """Raises MismatchError with all that differs."""
        here = {**self.facts, **_describe(abstract)}
        there = {**metadata["facts"], **{k: v.split()[0] for k, v in metadata["leaves"].items()}}
        different = [
            f"{name} is {_shown(here, name)} here, {_shown(there, name)} there"
            for name in sorted({*here, *there})
            if name not in here or name not in there or _json(here[name]) != _json(there[name])
        ]
        if different:
            way = words(
                "--out FOLDER writes this one elsewhere, --no-resume starts it afresh in place of the other",
                "name another directory, or delete this one to start afresh",
            )
            raise MismatchError(
                f"the checkpoint in {self._orbax.directory} belongs to another run: {'; '.join(different)}. {way}"
            )


def _set_aside(directory: Path) -> dict[Path, str]:
    """Renames checkpoints whose description can't be read: orbax would open none of the others.

    Args:
      directory: of all checkpoints of a run.

    Returns:
      Where they are now, and what is wrong with each.
    """
    from orbax.checkpoint.path import step as steps

    aside = dict.fromkeys(directory.glob("*.damaged"), "as was found before")
    before = set(aside)
    folders = sorted(path for path in directory.glob("*") if path.name.isdigit())
    for folder in folders:
        try:
            _ = steps.Metadata(step=int(folder.name), path=folder).commit_timestamp_nsecs
        except Exception as error:  # orbax has its own for each kind of damage
            aside[folder.with_name(folder.name + ".damaged")] = f"its facts can't be read: {_brief(error)}"
    on_all_processes(True)  # all have read
    if jax.process_index() == 0:
        for to in set(aside) - before:
            to.with_suffix("").rename(to)
    on_all_processes(True)  # all are renamed
    return aside


def _warn(step: str, trouble: str) -> None:
    warnings.warn(f"checkpoint of step {step} is damaged, {trouble}; trying the one before", stacklevel=4)


def _describe(state: PyTree, digest: bool = False) -> dict[str, str]:
    """Path of each leaf -> its dtype and shape, and if asked the SHA-256 of its bytes."""

    def describe(leaf) -> str:
        text = f"{leaf.dtype}{list(leaf.shape)}".replace(" ", "")
        if digest:
            text += " " + hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).hexdigest()
        return text

    leaves = jax.tree_util.tree_leaves_with_path(to_host(state) if digest else state)
    return {jax.tree_util.keystr(path): describe(leaf) for path, leaf in leaves}


def _shown(facts: Mapping[str, Any], name: str) -> str:
    if name not in facts:
        return "unknown"
    return "unset" if facts[name] is None else _json(facts[name])


def _brief(error: Exception) -> str:
    """Type and first words: tensorstore's messages fill pages."""
    return f"{type(error).__name__}: {str(error).split(chr(10))[0][:200]}"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _seal(metadata: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(metadata).encode()).hexdigest()


def _flush(directory: Path) -> None:
    """Orbax leaves its files to the page cache, which a power cut empties."""
    for path in (*directory.rglob("*"), directory, directory.parent):
        atomic.flush(path)
