"""Run with eight fake devices: trains the same members on one device, on eight, and by `jax.pmap`; writes all states.

Arguments: a folder, and what to train: "pair", two members on a mesh 2 × 4; "ways", the same, then on batches that are
sent, and the first of them by `jax.pmap` on four devices; "further", other meshes. See test_distributed.py.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from training import compiled, digits, member, small_method, table, trained, write

from adjax import methods, models, train
from adjax.augment import Augment, normalise_of, random_shift

OUT, WHAT = Path(sys.argv[1]), sys.argv[2]
STEPS = 9
FURTHER = {3: (48, 37, 70), 8: (40,) * 8}  # meshes 1 × 8, 8 × 1; LeNet's is 1 × 8


def pair_on_eight():
    """On resident images; a step a dispatch, so that each step's metrics are known."""
    program = compiled(table((48, 37)), devices=8, steps_per_dispatch=1)
    metrics, state = [], program.init(program.table)
    for _, state, own in train.epochs(program, state, STEPS):  # noqa: B007, B020
        metrics.append(own)
    write_and_say("members2-devices8", program, state)
    return program, state, metrics


def ways() -> None:
    program, state, metrics = pair_on_eight()
    sent = compiled(table((48, 37)), devices=8, steps_per_dispatch=5, resident=False)
    write(OUT / "members2-sent.npz", trained(sent, STEPS))
    metrics = jax.tree.map(lambda *x: np.stack(x, 1), *jax.device_get(metrics))
    write(OUT / "program.npz", member((state.members, metrics), 0))
    write(OUT / "pmap.npz", by_pmap(small_method(), program, 4))


def write_and_say(name: str, program, state) -> None:
    write(OUT / f"{name}.npz", state)
    held = {x.addressable_shards[0].data.shape[0] for x in jax.tree.leaves(state.members)}
    members = len(program.table.seed)
    print(f"{members} members on mesh {tuple(program.mesh.shape.values())}, a device holds {held}", flush=True)


def by_pmap(method, program, devices: int):
    """The first member's steps for users whose code is still pmap-ed: the same batches, drawn by hand."""
    normalise, images = normalise_of(digits()[0]), digits()[0]
    start = member(jax.device_get(program.init(program.table).members), 0)
    state = jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], devices, 0), start)
    step = jax.pmap(partial(method.step, axis_name="data"), axis_name="data", in_axes=(0, 0, None))
    metrics = []

    @jax.jit
    def drawn(i, batch):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), train._STEP), i)  # the first member's seed is 0
        key, shift_key = jax.random.split(key)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(shift_key, jnp.arange(len(batch)))
        return key, normalise(random_shift(keys, batch, 1))

    for i in range(STEPS):
        order = jax.device_get(program.epoch_order(program.table, np.int32(i)))
        rows, labels = (x[0, i % program.steps_per_epoch] for x in order)
        key, batch = drawn(i, images[rows])
        share = lambda x: np.asarray(x).reshape(devices, -1, *x.shape[1:])  # noqa: E731
        state, own = step(state, {"images": share(batch), "labels": share(labels)}, key)
        metrics.append(own)
    state, metrics = jax.device_get((state, metrics))
    assert all((x == x[:1]).all() for x in jax.tree.leaves(state)), "replicas differ"
    return jax.tree.map(lambda x: x[0], (state, jax.tree.map(lambda *x: np.stack(x, 1), *metrics)))


def further() -> None:
    """The same members on one device and on eight."""
    for m, counts in FURTHER.items():
        for devices in (1, 8):
            program = compiled(table(counts), devices=devices, steps_per_dispatch=5)
            write_and_say(f"members{m}-devices{devices}", program, trained(program, STEPS))
    lenet = methods.make("centerloss", models.make("lenet5", (8, 8, 1), 10), (8, 8, 1), 10, steps=STEPS)
    for devices in (1, 8):
        program = compiled(table((48,)), method=lenet, devices=devices, augment=Augment(shift_px=2))
        write(OUT / f"lenet-devices{devices}.npz", trained(program, STEPS))


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    {"pair": pair_on_eight, "ways": ways, "further": further}[WHAT]()
