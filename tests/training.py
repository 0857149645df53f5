"""What the tests of training share, and the processes they start: a network small enough to compile in a second."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from adjax import data, models, train
from adjax.augment import Augment, normalise_of
from adjax.methods import METHODS
from adjax.sharding import make_mesh

SHAPE, CLASSES, STEPS = (8, 8, 1), 10, 40
HERE = Path(__file__).parent


class Small(nnx.Module):
    """One hidden layer: training as such is under test, not a network."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 16, rngs=rngs)
        self.head = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, images):
        features = nnx.relu(self.hidden(images.reshape(len(images), -1)))
        return {"features": features, "logits": self.head(features)}


@lru_cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    split = data.load("digits", "train")
    return np.asarray(split.images), np.asarray(split.labels, np.int32)


@lru_cache
def small_method(name: str = "centerloss", **options):
    return METHODS[name](models.network(Small), SHAPE, CLASSES, steps=STEPS, **options)


def table(counts=(48,), seeds=None, first=0, **hparams) -> train.Members:
    """Members of `counts` images each, every one from another place in the digits."""
    labels = digits()[1]
    rows = [np.arange(first + 7 * m, first + 7 * m + n) for m, n in enumerate(counts)]
    values = {**small_method().hparams, **hparams}
    return train.members(
        {k: np.broadcast_to(v, len(counts)) for k, v in values.items()},
        np.arange(len(counts)) if seeds is None else seeds,
        rows,
        [labels[r] for r in rows],
    )


def compiled(members: train.Members, *, devices: int = 1, images=None, method=None, **options) -> train.Program:
    """A program on the first so many devices, by default with batches of 16 and random shifts."""
    images = digits()[0] if images is None else images
    return train.compile_program(
        method or small_method(),
        images,
        members,
        normalise_of(digits()[0]),
        mesh=make_mesh(len(members.seed), jax.devices()[:devices]),
        **{"batch_size": 16, "augment": Augment(shift_px=1), "steps_per_dispatch": 4, **options},
    )


def of_members(program: train.Program, members: train.Members) -> train.Program:
    """The same program for another table of the same shapes: compiled code takes it as an argument."""
    return program._replace(table=jax.device_put(members, jax.tree.map(lambda x: x.sharding, program.table)))


@lru_cache
def pair() -> train.Program:
    """Two members of unlike size on one device, for all who compare with them: compiled once a process."""
    return compiled(table((48, 37)), steps_per_dispatch=2)


def trained(program: train.Program, steps: int) -> train.State:
    """The state after so many steps from the start."""
    state = program.init(program.table)
    for _, state, _ in train.epochs(program, state, steps):  # noqa: B007, B020
        pass
    return state


def member(tree, m: int):
    return jax.tree.map(lambda x: np.asarray(x)[m], tree)


def assert_equal(a, b) -> None:
    """Same structure, same bits."""
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def assert_close(a, b, atol: float = 2e-5) -> None:
    """Same structure, same numbers up to the order of sums: Adam's first steps divide by gradients near zero."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-4, atol), *jax.device_get((a, b)))


def write(path: str | Path, tree) -> None:
    """Leaves to an .npz file."""
    np.savez(path, *map(np.asarray, jax.tree.leaves(tree)))


def read(path: str | Path, like):
    """The tree of that structure from an .npz file."""
    with np.load(path) as file:
        return jax.tree.unflatten(jax.tree.structure(like), list(file.values()))


def start(script: str, *args, devices: int = 1) -> subprocess.Popen:
    """Runs a script of this directory with so many fake CPU devices."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]),
    }
    return subprocess.Popen(
        [sys.executable, "-u", str(HERE / script), *map(str, args)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, timeout_s: float = 240) -> str:
    """All that a process still prints; fails unless it exits with 0."""
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise AssertionError(f"no end after {timeout_s} s:\n{output}") from None
    assert process.returncode == 0, f"exit code {process.returncode}:\n{output}"
    return output


def events(folder):
    """[(step, name, value)] and [where a later process began] of TensorBoard's files, oldest first.

    A file is records of length (8 bytes), its sum (4), an event, its sum (4).
    """
    from tensorboardX.proto.event_pb2 import Event

    points, starts = [], []
    for path in sorted(folder.glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            points += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            starts += [event.step] * (event.session_log.status == 1)
            at += 16 + length
    return points, starts


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
