"""Run with eight fake devices: trains the same members on one device, on eight, and by `jax.pmap`; writes all states.

Arguments: a folder. See test_distributed.py.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from training import compiled, digits, small_method, table, trained, write

from adjax import methods, models, train
from adjax.augment import Augment, normalise_of, random_shift

OUT = Path(sys.argv[1])
STEPS = 9
COUNTS = {2: (48, 37), 3: (48, 37, 70), 8: (40,) * 8}  # meshes 2 × 4, 1 × 8, 8 × 1; LeNet's is 1 × 8
LENET = methods.make("centerloss", models.make("lenet5", (8, 8, 1), 10), (8, 8, 1), 10, steps=STEPS)


def by_pmap(method, members, shift_px: int, devices: int):
    """A member's steps for users whose code is still pmap-ed: the same batches, drawn by hand."""
    program = compiled(members, augment=Augment(shift_px=shift_px))
    normalise, images = normalise_of(digits()[0]), digits()[0]
    state = jax.tree.map(lambda x: np.repeat(x, devices, 0), jax.device_get(program.init(program.table).members))
    step = jax.pmap(partial(method.step, axis_name="data"), axis_name="data", in_axes=(0, 0, None))
    metrics = []
    for i in range(STEPS):
        order = jax.device_get(program.epoch_order(program.table, np.int32(i)))
        rows, labels = (x[0, i % program.steps_per_epoch] for x in order)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(members.seed[0]), train._STEP), i)
        key, shift_key = jax.random.split(key)
        batch = images[rows]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(shift_key, jnp.arange(len(batch)))
        batch = normalise(random_shift(keys, jnp.asarray(batch), shift_px))
        share = lambda x: x.reshape(devices, -1, *x.shape[1:])  # noqa: E731
        state, own = step(state, {"images": share(batch), "labels": share(labels)}, key)
        metrics.append(own)
    state, metrics = jax.device_get((state, metrics))
    assert all((x == x[:1]).all() for x in jax.tree.leaves(state)), "replicas differ"
    return jax.tree.map(lambda x: x[:1], (state, jax.tree.map(lambda *x: np.stack(x, 1), *metrics)))


if __name__ == "__main__":
    assert len(jax.devices()) == 8
    for m, counts in COUNTS.items():
        for devices in (1, 8):
            program = compiled(table(counts), devices=devices, steps_per_dispatch=5)
            state = trained(program, STEPS)
            write(OUT / f"members{m}-devices{devices}.npz", state)
            held = {x.addressable_shards[0].data.shape[0] for x in jax.tree.leaves(state.members)}
            print(f"{m} members on mesh {tuple(program.mesh.shape.values())}, a device holds {held}", flush=True)
    program = compiled(table(COUNTS[2]), devices=8, steps_per_dispatch=5, resident=False)
    write(OUT / "members2-sent.npz", trained(program, STEPS))
    for devices in (1, 8):
        program = compiled(table((48,)), method=LENET, devices=devices, augment=Augment(shift_px=2))
        write(OUT / f"lenet-devices{devices}.npz", trained(program, STEPS))
    program = compiled(table((48,)), devices=4, steps_per_dispatch=1, augment=Augment(shift_px=2))
    metrics, state = [], program.init(program.table)
    for _, state, own in train.epochs(program, state, STEPS):  # noqa: B007, B020
        metrics.append(own)
    state, metrics = jax.device_get((state.members, metrics))
    write(OUT / "program.npz", (state, jax.tree.map(lambda *x: np.stack(x, 1), *metrics)))
    write(OUT / "pmap.npz", by_pmap(small_method(), table((48,)), 2, 4))
