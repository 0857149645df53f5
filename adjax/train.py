"""The one training program: a table of members × a mesh of devices, whatever the devices.

A *member* is an independent run of one method; members differ only in arrays (hyper-parameters, seed, which rows of the
data set they see and with which labels). Seeds, λ values, one-vs-rest classes and folds are all members, and one
compiled program trains the whole table: over the mesh's "member" axis in parallel, and within a device by `vmap`
(accelerators, whose kernels one small network does not fill) or one after another by `lax.map` (CPU, where vmap-ed
convolutions were measured 2-4 times slower). The data set lies on the device as uint8 (or on the host, from where
batches are sent ahead, see `adjax.prefetch`); shuffling, augmentation and normalising are compiled in; the step counter
lives on the device, so an epoch moves nothing between host and device but the metrics, which are fetched while the next
steps run.

Everything random is a function of (seed, step), so a run that was killed continues bit for bit from its checkpoint; and
a member's run is a function of its own row alone, whoever trains beside it.

Example:
  >>> table = members({"learning_rate": [1e-3, 1e-2]}, [0, 0], [np.arange(9)] * 2, [np.zeros(9, np.int32)] * 2)
  >>> table.rows.shape, table.count.tolist()
  ((2, 9), [9, 9])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.layout import Format, Layout
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from adjax.augment import Augment, Normalise
from adjax.members import Members as Members
from adjax.members import members as members
from adjax.methods import _collective
from adjax.prefetch import HostPrefetcher
from adjax.sharding import DATA, MEMBER, make_mesh, to_host
from adjax.surface import named
from adjax.types import Method, PyTree

MAX_STEPS = 2**31 - 1
"""The step counter is an int32."""


class State(NamedTuple):
    """The state of training. `step`: int32[], steps done; `members`: the method's states, stacked [M, ...]."""

    step: jax.Array
    members: PyTree


def initial(method: Method, table: Members) -> PyTree:
    """Draws the parameters of every member before any step, on the host.

    Args:
      method: gives `init`.
      table: the M members.

    Returns:
      A pytree of arrays [M, ...].
    """

    each = []
    for m, seed in enumerate(table.seed):  # not compiled as one: weights of a file would be copied into the program
        key = jax.random.fold_in(jax.random.key(seed), _INIT)
        each.append(jax.device_get(method.init(key, jax.tree.map(lambda x, m=m: x[m], table.hparams))["params"]))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *each)


class Program(NamedTuple):
    """Training, compiled: call `epoch_order` once an epoch and `run` until its steps are done.

    Attributes:
      init: `(table) -> State`.
      epoch_order: `(table, step) -> order`, the rows and labels of all batches of the epoch that `step` lies in,
        int32[M, steps_per_epoch, batch size]. An epoch is the largest member's; a smaller one begins again, in a
        new order, as soon as its own images are through.
      run: `(state, seed, order, images, until=never) -> (State, metrics)`, with `images` the data set or a block of
        `HostPrefetcher`, the next `steps_per_dispatch` steps, or what
        is left of the epoch or up to step `until`; `state` is donated; metrics are means over these steps, float32[M].
      steps_per_epoch, steps_per_dispatch: as they say.
      table, images: the data on the devices, uint8[N, H·W·C] of images; none, if they are not resident.
      source: images on the host, if they are not resident.
      mesh: where it runs.
      compile_s: seconds it took to compile.
      executable: `run` as XLA compiled it, to be asked for its memory and costs.
    """

    init: Callable[..., State]
    epoch_order: Callable[..., PyTree]
    run: Callable[..., tuple[State, dict[str, jax.Array]]]
    steps_per_epoch: int
    steps_per_dispatch: int
    table: Members
    images: jax.Array | None
    source: np.ndarray | None
    mesh: Mesh
    compile_s: float
    executable: jax.stages.Compiled


def compile_program(
    method: Method,
    images: np.ndarray,
    table: Members,
    normalise: Normalise,
    *,
    batch_size: int,
    augment: Augment = Augment(),  # noqa: B008 (a tuple of constants)
    steps_per_dispatch: int = 32,
    layout: str = "auto",
    mesh: Mesh | None = None,
    resident: bool = True,
) -> Program:
    """Places the data and compiles the training of a whole table of members.

    Args:
      method: what to train.
      images: uint8[N, H, W, C]; replicated on every device, if resident.
      table: the members.
      normalise: pixel values to network input.
      batch_size: images per step and member, over all devices of a mesh row together.
      augment: random changes to the images, drawn again at each step.
      steps_per_dispatch: optimiser steps per call of the compiled program; changes no result.
      layout: how members lie inside a device: "vmap", "map" (one after another) or "auto" (map on CPU, else vmap).
      mesh: by default all devices, see `make_mesh`.
      resident: whether the images lie on the devices. If not, they stay where they are, which may be a `numpy.memmap`,
        and the batches of the next dispatch are sent while this one runs; changes no result.

    Returns:
      The `Program`.

    Raises:
      ValueError: a batch that the devices can't share evenly or that exceeds the images; members that the mesh can't
        share; rows that are not there; hyper-parameters that are not the method's; an unknown layout.
    """
    mesh = make_mesh(len(table.seed)) if mesh is None else mesh
    sizes = {"batch_size": batch_size, "steps_per_dispatch": steps_per_dispatch}
    check(method, images, table, **sizes, augment=augment, mesh=mesh)
    steps_per_epoch = int(table.count.max()) // batch_size
    jitted = functions(
        method,
        normalise,
        mesh,
        image_shape=images.shape[1:],
        batch_size=batch_size,
        steps_per_epoch=steps_per_epoch,
        augment=augment,
        steps_per_dispatch=steps_per_dispatch,
        layout=layout,
        resident=resident,
    )
    table = jax.device_put(table, NamedSharding(mesh, P(MEMBER)))
    never = jax.device_put(np.int32(2**31 - 1), NamedSharding(mesh, P()))
    if resident:
        given = on_device = jax.device_put(images.reshape(len(images), -1), in_rows(mesh, P(), 2))
    else:
        on_device = None
        block = (len(table.seed), steps_per_dispatch, batch_size, *images.shape[1:])
        given = jax.ShapeDtypeStruct(block, jnp.uint8, sharding=NamedSharding(mesh, _BLOCK))

    started = time.perf_counter()
    init = jitted.init.trace(table)
    state = init.out_info
    epoch_order = jitted.epoch_order.trace(table, state.step)
    order = ordered(epoch_order.out_info, mesh)
    run = jitted.run.trace(state, table.seed, order, given, never).lower().compile()
    # Drawing weights is a hundred small kernels, run once: optimised like a step they take longer to compile than it.
    level = "0" if jax.config.read("jax_disable_most_optimizations") else "1"
    cheap: dict[str, str | bool] = {"xla_backend_optimization_level": level}
    return Program(
        init=init.lower().compile(cheap if _platform(mesh) == "cpu" else None),
        epoch_order=epoch_order.lower().compile(),
        run=lambda state, seed, order, images, until=never: run(state, seed, order, images, until),
        steps_per_epoch=steps_per_epoch,
        steps_per_dispatch=steps_per_dispatch,
        table=table,
        images=on_device,
        source=None if resident else images,
        mesh=mesh,
        compile_s=time.perf_counter() - started,
        executable=run,
    )


def in_rows(mesh: Mesh, shares: P, dims: int) -> Format:
    """Where an array lies, and how: the last dimension runs fastest. A TPU's compiler takes what pads least for an
    argument, columns of 60,000 images, and copies them all at each dispatch (of LeNet, 102 of 148 MB).

    Args:
      mesh: of the devices.
      shares: how they share the array.
      dims: that it has.

    Returns:
      What `jax.device_put` and `jit` take for a sharding.
    """
    return Format(Layout(tuple(range(dims))), NamedSharding(mesh, shares))


def ordered(shapes: PyTree, mesh: Mesh) -> PyTree:
    """Shapes of what `epoch_order` gives, with where it lies: `run` takes it so.

    Args:
      shapes: as `jax.eval_shape` says them.
      mesh: of the devices.

    Returns:
      The same, placed.
    """
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=in_rows(mesh, _BLOCK, 3)), shapes)


class Functions(NamedTuple):
    """A program's three functions, jitted but not compiled yet; what they do stands at `Program`."""

    init: Any
    epoch_order: Any
    run: Any


def functions(
    method: Method,
    normalise: Normalise,
    mesh: Mesh,
    *,
    image_shape: tuple[int, ...],
    batch_size: int,
    steps_per_epoch: int,
    augment: Augment,
    steps_per_dispatch: int,
    layout: str,
    resident: bool = True,
) -> Functions:
    """Builds the program before it is compiled, for a table of any size.

    Args:
      method, normalise, mesh, batch_size, augment, steps_per_dispatch, layout, resident: as of `compile_program`.
      image_shape: [H, W, C].
      steps_per_epoch: optimiser steps per pass through the largest member's rows, ≥ 1.

    Returns:
      The `Functions`, jitted.
    """
    each, method_step = _layout(layout, mesh), method.step
    assert method_step is not None  # check

    def init(table: Members) -> State:
        keys = jax.vmap(lambda s: jax.random.fold_in(jax.random.key(s), _INIT))(table.seed)
        return State(jnp.int32(0), lax.map(lambda x: method.init(*x), (keys, table.hparams)))

    def epoch_order(table: Members, step: jax.Array):
        steps = step // steps_per_epoch * steps_per_epoch + jnp.arange(steps_per_epoch)

        def one(member):
            seed, rows, labels, count = member
            epoch, within = jnp.divmod(steps, count // batch_size)  # the member's own
            whole = rows.size // batch_size * batch_size

            def shuffle(e, order):
                key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _ORDER), e)
                draw = jax.random.bits(key, rows.shape)
                draw = jnp.where(jnp.arange(rows.size) < count, draw, np.uint32(2**32 - 1))
                shuffled = lax.sort((draw, rows, labels), num_keys=1)[1:]  # stable, so the padding comes last
                # whole batches are gathered, since accelerators pad each index of a gather to a row of lanes
                batches = [x[:whole].reshape(-1, batch_size)[within] for x in shuffled]
                return [jnp.where((epoch == e)[:, None], x, old) for x, old in zip(batches, order, strict=True)]

            nothing = [jnp.zeros((steps_per_epoch, batch_size), x.dtype) for x in (rows, labels)]
            return lax.fori_loop(epoch[0], epoch[-1] + 1, shuffle, nothing)

        return each(one)((table.seed, table.rows, table.labels, table.count))

    def train_step(seed, order, images, step, place, state):
        """Step number `step` of one member, the dispatch's number `place`, on this device's share of the batch."""
        rows, labels = (lax.dynamic_index_in_dim(x, step % steps_per_epoch, keepdims=False) for x in order)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _STEP), step)
        key, augment_key = jax.random.split(key)
        # a row an image: a TPU would put a dimension of 60,000 in its lanes, and read all of them for a batch
        batch = (
            images[rows].reshape(-1, *image_shape)
            if resident
            else lax.dynamic_index_in_dim(images, place, keepdims=False)
        )
        if any(augment):
            batch = augment(_collective.keys(augment_key, rows.size, DATA), batch)
        return method_step(state, {"images": normalise(batch), "labels": labels}, key, axis_name=DATA)

    def run(state: State, seed, order, images, until):
        """On each device: its members, each for the next steps; all in one program, in one loop per member."""
        step_once = jax.jit(train_step, inline=True)  # traced once, for its shapes and for the loop
        left = jnp.minimum(steps_per_epoch - state.step % steps_per_epoch, until - state.step)
        steps = jnp.minimum(steps_per_dispatch, left)

        def one(member):
            seed, order, member_state, *block = member
            seen = images if resident else block[0]

            def body(i, carry):
                member_state, total = carry
                member_state, metrics = step_once(seed, order, seen, state.step + i, i, member_state)
                return member_state, jax.tree.map(jnp.add, total, metrics)

            shapes = jax.eval_shape(step_once, seed, order, seen, state.step, jnp.int32(0), member_state)[1]
            zeros = jax.tree.map(lambda m: jnp.zeros(m.shape, m.dtype), shapes)
            member_state, total = lax.fori_loop(jnp.int32(0), steps, body, (member_state, zeros))
            return member_state, jax.tree.map(lambda m: m / steps.astype(m.dtype), total)

        states, metrics = each(one)((seed, order, state.members, *(() if resident else (images,))))
        return State(state.step + steps, states), metrics

    # What each device holds; a method averages over DATA itself, as under pmap, hence check_vma=False.
    row, everywhere, order_at = P(MEMBER), P(), _BLOCK
    images_at = everywhere if resident else order_at
    shares = State(everywhere, row)  # type: ignore[arg-type]
    here = partial(jax.shard_map, mesh=mesh, check_vma=False)
    at = partial(jax.tree.map, partial(NamedSharding, mesh))
    return Functions(
        jax.jit(here(init, in_specs=row, out_specs=shares), out_shardings=at(shares)),
        jax.jit(here(epoch_order, in_specs=(row, everywhere), out_specs=row), out_shardings=in_rows(mesh, order_at, 3)),
        jax.jit(
            here(run, in_specs=(shares, row, order_at, images_at, everywhere), out_specs=(shares, row)),
            donate_argnums=0,
            out_shardings=(at(shares), at(everywhere)),
        ),
    )


def epochs(program: Program, state: State, until_step: int) -> Iterator[tuple[int, State, dict]]:
    """Trains on to `until_step`.

    The yielded state is donated to the next dispatch: copy or save it before asking for more.

    Args:
      program: compiled.
      state: where to go on from.
      until_step: steps from the start, ≥ those done.

    Yields:
      (steps done, state, metrics on the device) after every dispatch.
    """
    step, order, order_epoch = int(jax.device_get(state.step)), None, -1
    until = jax.device_put(np.int32(until_step), NamedSharding(program.mesh, P()))
    feed = None
    if program.source is not None:
        feed = HostPrefetcher(program.source, program.steps_per_dispatch, NamedSharding(program.mesh, _BLOCK))
    while step < until_step:
        epoch = step // program.steps_per_epoch
        if epoch != order_epoch:
            order, order_epoch = program.epoch_order(program.table, state.step), epoch
            if feed is not None:
                feed.begin(to_host(order[0]))
        images = program.images if feed is None else feed.block(step % program.steps_per_epoch)
        state, metrics = program.run(state, program.table.seed, order, images, until)
        left = program.steps_per_epoch - step % program.steps_per_epoch
        step += min(program.steps_per_dispatch, left, until_step - step)
        yield step, state, metrics


_BLOCK = P(MEMBER, None, DATA)  # batches of many steps: members apart, each batch shared
_INIT, _ORDER, _STEP = range(3)  # streams of randomness of one seed


def _layout(layout: str, mesh: Mesh) -> Callable:
    if layout == "auto":
        layout = "map" if _platform(mesh) == "cpu" else "vmap"
    if layout == "vmap":
        return _vmap
    if layout == "map":
        return lambda f: lambda xs: lax.map(f, xs)
    raise ValueError(f"layout {layout!r}: must be 'vmap', 'map' or 'auto'")


def _vmap(f: Callable) -> Callable:
    """`jax.vmap`; a single member goes without a dimension of one, which a TPU's tiles would pad to eight."""

    def each(xs: PyTree) -> PyTree:
        if len(jax.tree.leaves(xs)[0]) > 1:
            return jax.vmap(f)(xs)
        return jax.tree.map(lambda x: x[None], f(jax.tree.map(lambda x: x[0], xs)))

    return each


def _platform(mesh: Mesh) -> str:
    return mesh.devices.flat[0].platform


def check(
    method: Method,
    images: np.ndarray,
    table: Members,
    *,
    batch_size: int,
    augment: Augment = Augment(),  # noqa: B008 (a tuple of constants)
    steps_per_dispatch: int = 32,
    mesh: Mesh | None = None,
) -> None:
    """Checks what `compile_program` is given, before anything is compiled, opened or written.

    Args:
      method, images, table, batch_size, augment, steps_per_dispatch, mesh: as of `compile_program`.

    Raises:
      ValueError: as of `compile_program`, but for the layout.
    """
    mesh = make_mesh(len(table.seed)) if mesh is None else mesh
    if method.step is None:
        raise ValueError("this method has no step and trains nothing: take the parameters of its `init`")
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(f"images of shape {images.shape}, {images.dtype}: must be uint8 [N, H, W, C]")
    if table.rows.max() >= len(images):
        raise ValueError(f"row {table.rows.max()} is not among the {len(images)} images: rows count from 0")
    if set(table.hparams) != set(method.hparams):
        given, wanted = (", ".join(sorted(names)) or "none" for names in (table.hparams, method.hparams))
        raise ValueError(f"hyper-parameters {given}: the method takes {wanted}; give each member each of them")
    shards = mesh.shape[DATA]
    if batch_size < 1 or batch_size % shards:
        raise ValueError(
            f"{named('batch_size', batch_size)} can't be shared evenly by {shards} devices: take a multiple of {shards}"
        )
    if batch_size > table.count.min():
        raise ValueError(
            f"{named('batch_size', batch_size)} exceeds the {table.count.min()} training images of the smallest "
            "member: lower it"
        )
    if len(table.seed) % mesh.shape[MEMBER]:
        raise ValueError(
            f"{len(table.seed)} members can't be spread evenly over {mesh.shape[MEMBER]} mesh rows: take "
            f"adjax.sharding.make_mesh({len(table.seed)})"
        )
    side = min(images.shape[1:3])
    limits = (
        ("shift_px", augment.shift_px, 0, side - 1),
        ("crop_px", augment.crop_px, 0, (side - 1) // 2),
        ("steps_per_dispatch", steps_per_dispatch, 1, MAX_STEPS),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            of = "" if name == "steps_per_dispatch" else f" for images of {side} px"
            raise ValueError(f"{named(name, value)}: must lie between {least} and {most:,}{of}")
    if augment.rotate and images.shape[1] != images.shape[2]:
        raise ValueError(f"images of {images.shape[1]}×{images.shape[2]} px can't be rotated: they must be square")
