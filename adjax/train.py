"""The one training program: a table of members × a mesh of devices, whatever the devices.

A *member* is an independent run of one method; members differ only in arrays (hyper-parameters, seed, which rows of the
data set they see and with which labels). Seeds, λ values, one-vs-rest classes and folds are all members, and one
compiled program trains the whole table: over the mesh's "member" axis in parallel, and within a device by `vmap`
(accelerators, whose kernels one small network does not fill) or one after another by `lax.map` (CPU, where vmap-ed
convolutions were measured 2-4 times slower). The data set lies on the device as uint8; shuffling, augmentation and
normalising are compiled in; the step counter lives on the device, so an epoch moves nothing between host and device but
the metrics, which are fetched while the next steps run.

Everything random is a function of (seed, step), so a run that was killed continues bit for bit from its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from adjax.augment import Normalise, random_shift
from adjax.sharding import DATA, MEMBER, by_member, make_mesh, replicated
from adjax.types import Method, PyTree


class Members(NamedTuple):
    """A table of independent runs, one a row.

    Attributes:
      hparams: name -> float32[M].
      seed: int32[M]; initialisation and data order are functions of it alone, so runs that share it are paired.
      rows: int32[M, n], which rows of the data set the member trains on.
      labels: int32[M, n], the label of each of these rows, for this member.
      count: int32[M], how many of the n are real; the rest is padding and never seen.
    """

    hparams: dict[str, np.ndarray]
    seed: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    count: np.ndarray


def members(
    hparams: dict[str, Any], seeds: Any, rows: list[np.ndarray], labels: list[np.ndarray]
) -> Members:
    """Builds the table; `rows[m]` and `labels[m]` are member m's own, of any length ≥ 1.

    Raises:
      ValueError: the columns differ in length, or a member has no rows.
    """
    seeds = np.atleast_1d(np.asarray(seeds, np.int32))
    columns = {"rows": rows, "labels": labels, **{k: np.atleast_1d(v) for k, v in hparams.items()}}
    for name, column in columns.items():
        if len(column) != len(seeds):
            raise ValueError(f"a table of {len(seeds)} members needs as many {name}, not {len(column)}")
    count = np.array([len(r) for r in rows], np.int32)
    if count.min() < 1:
        raise ValueError(f"member {int(count.argmin())} has no image to train on")
    padded = np.zeros((2, len(rows), count.max()), np.int32)
    for m, (r, y) in enumerate(zip(rows, labels, strict=True)):
        padded[:, m, : len(r)] = r, y
    return Members(
        {k: np.atleast_1d(np.asarray(v, np.float32)) for k, v in hparams.items()}, seeds, *padded, count
    )


class State(NamedTuple):
    """Everything that training changes. `step`: int32[], steps done; `members`: the method's states, stacked [M, ...]."""

    step: jax.Array
    members: PyTree


class Program(NamedTuple):
    """Training, compiled: call `epoch_order` once an epoch and `run` until its steps are done.

    Attributes:
      init: `(table) -> State`.
      epoch_order: `(table, step) -> order`, the shuffled rows and labels of the epoch that `step` lies in.
      run: `(state, seed, order, images) -> (State, metrics)`, the next `steps_per_dispatch` steps or what is left of
        the epoch; `state` is donated; metrics are means over these steps, float32[M].
      steps_per_epoch, steps_per_dispatch: as they say.
      table, images: the data on the devices.
      mesh: where it runs.
      compile_s: seconds it took to compile.
    """

    init: Callable[..., State]
    epoch_order: Callable[..., PyTree]
    run: Callable[..., tuple[State, dict[str, jax.Array]]]
    steps_per_epoch: int
    steps_per_dispatch: int
    table: Members
    images: jax.Array
    mesh: Mesh
    compile_s: float


def compile_program(
    method: Method,
    images: np.ndarray,
    table: Members,
    normalise: Normalise,
    *,
    batch_size: int,
    shift_px: int = 0,
    steps_per_dispatch: int = 32,
    layout: str = "auto",
    mesh: Mesh | None = None,
) -> Program:
    """Places the data and compiles the training of a whole table of members.

    Args:
      method: what to train.
      images: uint8[N, H, W, C]; replicated on every device.
      table: the members.
      normalise: pixel values to network input.
      batch_size: images a step and member, over all devices of a mesh row together.
      shift_px: random shifts of ± so many pixels.
      steps_per_dispatch: optimiser steps a call of the compiled program; changes no result.
      layout: how members lie inside a device: "vmap", "map" (one after another) or "auto" (map on CPU, else vmap).
      mesh: by default all devices, see `make_mesh`.

    Raises:
      ValueError: a batch that the devices can't share evenly or that exceeds the images; an unknown layout.
    """
    mesh = make_mesh(len(table.seed)) if mesh is None else mesh
    shards = mesh.shape[DATA]
    if batch_size < 1 or batch_size % shards:
        raise ValueError(
            f"batch size {batch_size} can't be shared evenly by {shards} devices: take a multiple of {shards}"
        )
    if batch_size > table.count.min():
        raise ValueError(
            f"batch size {batch_size} exceeds the {table.count.min()} training images of the smallest member: lower it"
        )
    if len(table.seed) % mesh.shape[MEMBER]:
        raise ValueError(
            f"{len(table.seed)} members can't be spread evenly over {mesh.shape[MEMBER]} mesh rows"
        )
    steps_per_epoch = int(table.count.max()) // batch_size
    each = _layout(layout, mesh)

    def init(table: Members) -> State:
        keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(s), _INIT))(table.seed)
        states = lax.map(lambda x: method.init(*x), (keys, table.hparams))
        return State(jnp.int32(0), states)

    def epoch_order(table: Members, step: jax.Array):
        def one(member):
            seed, rows, labels, count = member
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _ORDER), step // steps_per_epoch)
            draw = jnp.where(jnp.arange(rows.size) < count, jax.random.uniform(key, rows.shape), 2.0)
            order = jnp.argsort(draw)  # padding last
            order = order[jnp.arange(steps_per_epoch * batch_size) % count]  # a smaller member goes round again
            shape = (steps_per_epoch, batch_size)
            return rows[order].reshape(shape), labels[order].reshape(shape)

        return lax.map(one, (table.seed, table.rows, table.labels, table.count))

    def train_step(seed, order, images, step, state):
        """Step number `step` of one member, on this device's share of the batch."""
        rows, labels = (lax.dynamic_index_in_dim(x, step % steps_per_epoch, keepdims=False) for x in order)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _STEP), step)
        place = lax.axis_index(DATA) * rows.size + jnp.arange(rows.size)
        batch = images[rows]
        if shift_px:
            batch = random_shift(jax.vmap(jax.random.fold_in, (None, 0))(key, place), batch, shift_px)
        return method.step(state, {"images": normalise(batch), "labels": labels}, key, axis_name=DATA)

    def dispatch(state: State, seed, order, images):
        """On each device: its members, each for the next steps; all in one program, in one loop a member."""
        steps = jnp.minimum(steps_per_dispatch, steps_per_epoch - state.step % steps_per_epoch)

        def one(member):
            seed, order, member_state = member

            def body(i, carry):
                member_state, total = carry
                member_state, metrics = train_step(seed, order, images, state.step + i, member_state)
                return member_state, jax.tree.map(jnp.add, total, metrics)

            shapes = jax.eval_shape(train_step, seed, order, images, state.step, member_state)[1]
            zeros = jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), shapes)
            member_state, total = lax.fori_loop(0, steps, body, (member_state, zeros))
            return member_state, jax.tree.map(lambda m: m / steps, total)

        states, metrics = each(one)((seed, order, state.members))
        return State(state.step + steps, states), metrics

    member = P(MEMBER)
    shares = State(P(), member)
    sharded = jax.shard_map(
        dispatch,
        mesh=mesh,
        in_specs=(shares, member, P(MEMBER, None, DATA), P()),
        out_specs=(shares, member),
        check_vma=False,  # the method averages over DATA itself, as under pmap
    )
    on_rows, everywhere = by_member(mesh), replicated(mesh)
    at = State(everywhere, on_rows)
    order_at = jax.sharding.NamedSharding(mesh, P(MEMBER, None, DATA))
    table = jax.device_put(table, on_rows)
    images = jax.device_put(images, everywhere)

    started = time.perf_counter()
    jit_init = jax.jit(init, out_shardings=at).lower(table).compile()
    abstract = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        jax.eval_shape(init, table),
        jax.tree.map(lambda _: on_rows, jax.eval_shape(init, table))._replace(step=everywhere),
    )
    jit_order = jax.jit(epoch_order, out_shardings=order_at).lower(table, abstract.step).compile()
    order = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=order_at),
        jax.eval_shape(epoch_order, table, abstract.step),
    )
    run = jax.jit(sharded, donate_argnums=0, out_shardings=(at, everywhere))
    run = run.lower(abstract, table.seed, order, images).compile()
    compile_s = time.perf_counter() - started
    return Program(
        jit_init, jit_order, run, steps_per_epoch, steps_per_dispatch, table, images, mesh, compile_s
    )


def epochs(program: Program, state: State, until_step: int) -> Iterator[tuple[int, State, dict]]:
    """Trains on to `until_step`, giving `(steps done, state, metrics on the device)` after every dispatch.

    The yielded state is donated to the next dispatch: copy or save it before asking for more.
    """
    step, order, order_epoch = int(state.step), None, -1
    while step < until_step:
        epoch = step // program.steps_per_epoch
        if epoch != order_epoch:
            order, order_epoch = program.epoch_order(program.table, state.step), epoch
        left = program.steps_per_epoch - step % program.steps_per_epoch
        state, metrics = program.run(state, program.table.seed, order, program.images)
        step += min(program.steps_per_dispatch, left)
        yield step, state, metrics


_INIT, _ORDER, _STEP = range(3)  # streams of randomness of one seed


def _layout(layout: str, mesh: Mesh) -> Callable:
    if layout == "auto":
        layout = "map" if mesh.devices.flat[0].platform == "cpu" else "vmap"
    if layout == "vmap":
        return jax.vmap
    if layout == "map":
        return lambda f: lambda xs: lax.map(f, xs)
    raise ValueError(f"layout {layout!r}: must be 'vmap', 'map' or 'auto'")
