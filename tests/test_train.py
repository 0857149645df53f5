"""The training program: what must not change a result, what must, and what it refuses."""

from __future__ import annotations

import math
from functools import lru_cache

import jax
import numpy as np
import pytest
from flax import nnx
from jax import lax, monitoring
from tiers import daily
from training import (
    CLASSES,
    SHAPE,
    STEPS,
    assert_close,
    assert_equal,
    compiled,
    digits,
    member,
    of_members,
    small_method,
    table,
    trained,
)

from adjax import methods, models, nn, train
from adjax.augment import Augment, normalise_of
from adjax.sharding import make_mesh, to_host

COUNTS = (48, 37, 70)  # 3, 2 and 4 batches of 16; none but the first without rest
HPARAMS = {"lam": [0.0, 0.1, 1.0], "learning_rate": [1e-3, 3e-3, 1e-2]}


@lru_cache
def dispatching(k: int) -> train.Program:
    """Three unlike members, one after another; four steps an epoch."""
    return compiled(table(COUNTS, seeds=[5, 6, 5], **HPARAMS), steps_per_dispatch=k)


@pytest.fixture(scope="module")
def program():
    return dispatching(4)


@pytest.fixture(scope="module")
def state(program):
    """Its state after 11 steps, on the host."""
    return to_host(trained(program, 11))


@pytest.mark.parametrize("k", [*daily([1, 3, 32], 1)])
def test_steps_per_dispatch_changes_nothing(state, k):
    other = dispatching(k)
    assert_equal(trained(other, 11), state)
    *_, (step, _, _) = train.epochs(other, other.init(other.table), 11)
    assert step == 11  # and not where the last dispatch would have ended


def test_metrics_are_means_over_the_steps_of_a_dispatch(program):
    single = dispatching(1)
    each = [to_host(m) for _, _, m in train.epochs(single, single.init(single.table), 7)]
    at, together = zip(
        *((s, to_host(m)) for s, _, m in train.epochs(program, program.init(program.table), 7)), strict=True
    )
    assert at == (4, 7)
    for steps, metrics in zip((slice(0, 4), slice(4, 7)), together, strict=True):
        for name, value in metrics.items():
            np.testing.assert_allclose(value, np.mean([m[name] for m in each[steps]], axis=0), rtol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("m", [0, 1, 2])
def test_a_member_trains_as_if_alone(state, m):
    alone = table(COUNTS, seeds=[5, 6, 5], **HPARAMS)
    n = COUNTS[m]
    alone = train.Members(
        {k: v[m : m + 1] for k, v in alone.hparams.items()},
        alone.seed[m : m + 1],
        alone.rows[m : m + 1, :n],
        alone.labels[m : m + 1, :n],
        alone.count[m : m + 1],
    )
    assert_close(member(trained(compiled(alone), 11).members, 0), member(state.members, m), atol=1e-6)


def test_members_side_by_side_train_as_one_after_another(state):
    program = compiled(table(COUNTS, seeds=[5, 6, 5], **HPARAMS), layout="vmap")
    assert_close(trained(program, 11), state)


def test_padding_is_never_seen(program, state):
    """Padding points at an image and a label that would ruin everything."""
    poisoned = table(COUNTS, seeds=[5, 6, 5], **HPARAMS)
    padding = np.arange(poisoned.rows.shape[1]) >= poisoned.count[:, None]
    assert padding.sum() == 22 + 33
    images = digits()[0].copy()
    images[-1] = 255
    assert poisoned.rows.max() < len(images) - 1
    poisoned.rows[padding], poisoned.labels[padding] = len(images) - 1, 2**30
    images = jax.device_put(images.reshape(len(images), -1), program.images.sharding)
    assert_equal(trained(of_members(program, poisoned)._replace(images=images), 11), state)


def test_members_that_share_a_seed_are_paired(program):
    program = of_members(program, table((70, 70, 70), seeds=[3, 3, 4], lam=[0.0, 1.0, 0.0]))
    start = program.init(program.table)
    assert_equal(member(start.members["params"], 0), member(start.members["params"], 1))
    order = program.epoch_order(program.table, start.step)
    picks = np.asarray(order[0]) - 7 * np.arange(3)[:, None, None]  # place among the member's own images
    np.testing.assert_array_equal(picks[0], picks[1])
    assert (picks[0] != picks[2]).any()
    hidden = member(start.members["params"]["network"]["hidden"]["kernel"], slice(None))
    assert (hidden[0] != hidden[2]).mean() > 0.99


def test_every_hyper_parameter_of_a_member_is_its_own(program):
    """λ moves the network of a member whose seed and images are another's; so do the rest, and nobody else's."""
    same = {"lam": 0, "learning_rate": 1e-3, "weight_decay": 0}
    assert same.keys() == small_method().hparams.keys()
    for name, value in {"lam": 1, "learning_rate": 1e-2, "weight_decay": 1}.items():
        members = table((70,) * 3, seeds=[3] * 3, **{**same, name: [same[name], value, same[name]]})
        members.rows[:], members.labels[:] = members.rows[0], members.labels[0]
        state = trained(of_members(program, members), 8)
        kernel = np.asarray(state.members["params"]["network"]["hidden"]["kernel"])
        assert np.abs(kernel[0] - kernel[1]).max() > 1e-4, name
        np.testing.assert_array_equal(kernel[0], kernel[2], name)


def test_an_epoch_shows_every_image_once_in_fair_order():
    n, epochs = 8, 600
    members = table((n, n), seeds=[0, 1])
    epoch_order = train.functions(
        small_method(),
        normalise_of(digits()[0]),
        make_mesh(2, jax.devices()[:1]),
        image_shape=SHAPE,
        batch_size=4,
        steps_per_epoch=2,
        augment=Augment(),
        steps_per_dispatch=4,
        layout="auto",
    ).epoch_order
    orders = jax.jit(lambda members, steps: lax.map(lambda step: epoch_order(members, step), steps))
    rows, own = jax.device_get(orders(members, np.arange(2 * epochs, dtype=np.int32)))
    np.testing.assert_array_equal(own, digits()[1][rows])
    both = rows.reshape(epochs, 2, 2, n) - [[0], [7]]  # whichever step of the epoch it is asked for
    np.testing.assert_array_equal(both[:, 0], both[:, 1])
    seen = both[:, 0]
    assert (np.sort(seen) == np.arange(n)).all()
    assert (seen[1:] != seen[:-1]).any(-1).all(), "an epoch repeats the one before"
    assert (seen[:, 0] != seen[:, 1]).any(-1).all(), "two seeds share an order"
    # Which image comes at which place: 600 draws in 64 cells, χ² with 49 degrees of freedom; 90 has p = 0.0003.
    for m in range(2):
        table_of = np.stack([np.bincount(seen[:, m, place], minlength=n) for place in range(n)])
        assert ((table_of - epochs / n) ** 2 / (epochs / n)).sum() < 90
    # Neighbours stay neighbours no more often than by chance: 7 pairs of 56 ordered ones.
    together = (np.diff(seen[:, 0], axis=-1) == 1).mean()
    assert abs(together - 1 / n) < 0.03


def test_a_smaller_member_sees_each_of_its_images_once_in_its_own_epochs(program):
    """36 of 37 images, two batches of 16, twice in each four-step epoch of the table, shuffled anew each time."""
    rows = np.concatenate([np.asarray(program.epoch_order(program.table, np.int32(s))[0][1]) for s in (0, 4, 8)])
    own = rows.reshape(6, 32)
    assert all(len(set(e)) == 32 for e in own)
    assert own.min() >= 7
    assert own.max() < 7 + 37
    assert len({tuple(e) for e in own}) == 6


@pytest.mark.slow
def test_random_shifts_shift(program, state):
    still = compiled(table(COUNTS, seeds=[5, 6, 5], **HPARAMS), augment=Augment())
    kernel = lambda s: np.asarray(s.members["params"]["network"]["hidden"]["kernel"])  # noqa: E731
    assert np.abs(kernel(trained(still, 11)) - kernel(state)).max() > 1e-3


def test_training_goes_on_from_any_step(program, state):
    """From the host's copy of any state: in the middle of an epoch, of a dispatch, at an epoch's end."""
    for at in (3, 4, 6):
        half = to_host(trained(program, at))
        again = jax.device_put(half, jax.tree.map(lambda x: x.sharding, program.init(program.table)))
        for _, again, _ in train.epochs(program, again, 11):  # noqa: B007, B020
            pass
        assert_equal(again, state)


def test_an_epoch_moves_nothing_and_compiles_nothing(program):
    compiles = []
    monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiles.append(event) if "compile" in event else None
    )
    try:
        start = program.init(program.table)
        jax.block_until_ready(start)
        with jax.transfer_guard("disallow"):
            for _, start, metrics in train.epochs(program, start, 11):  # noqa: B007, B020
                pass
        assert not compiles
        assert np.isfinite(to_host(metrics)["loss"]).all()
        jax.jit(lambda x: x * 3.25)(1.0)
        assert compiles, "the listener hears nothing"
    finally:
        monitoring.clear_event_listeners()


@pytest.mark.parametrize("k", [4, pytest.param(1, marks=pytest.mark.slow), pytest.param(32, marks=pytest.mark.slow)])
def test_images_on_the_host_train_the_same(state, k, tmp_path):
    """Members of unlike size, from a file that is mapped into memory, stopped in the middle of an epoch and a block."""
    images = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, digits()[0].shape)
    images[:] = digits()[0]
    members = table(COUNTS, seeds=[5, 6, 5], **HPARAMS)
    there = compiled(members, images=images, steps_per_dispatch=k, resident=False)
    assert there.images is None
    assert dispatching(4).source is None
    assert_equal(trained(there, 11), state)
    again = there.init(there.table)
    for steps in (6, 11):
        for _, again, _ in train.epochs(there, again, steps):  # noqa: B007, B020
            pass
    assert_equal(again, state)


def test_the_state_is_donated(program):
    old = program.init(program.table)
    leaves = jax.tree.leaves(old.members)
    next(train.epochs(program, old, 4))
    assert all(leaf.is_deleted() for leaf in leaves)


class Convolution(nnx.Module):
    """The layers that the CPU has lowerings of its own for."""

    def __init__(self, rngs: nnx.Rngs):
        lowering = nn.conv_general_dilated
        self.convolution = nnx.Conv(1, 4, (3, 3), conv_general_dilated=lowering, rngs=rngs)
        self.head = nnx.Linear(64, CLASSES, rngs=rngs)

    def __call__(self, images):
        features = nn.max_pool_2x2(self.convolution(images)).reshape(len(images), -1)
        return {"features": features, "logits": self.head(features)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a convolution", pytest.param("lenet5", marks=pytest.mark.slow)])
def test_the_program_lowers_for_accelerators(name):
    """From this machine, members side by side: nothing in it is bound to the CPU."""
    pytest.importorskip("flatbuffers")
    network = models.make(name, SHAPE, CLASSES) if name in models.MODELS else models.network(Convolution)
    method = methods.make("centerloss", network, SHAPE, CLASSES, steps=STEPS)
    members = table((48, 48))
    jitted = train.functions(
        method,
        normalise_of(digits()[0]),
        make_mesh(2, jax.devices()[:1]),
        image_shape=SHAPE,
        batch_size=16,
        steps_per_epoch=3,
        augment=Augment(shift_px=1),
        steps_per_dispatch=32,
        layout="vmap",
    )
    state = jax.eval_shape(jitted.init, members)
    order = jax.eval_shape(jitted.epoch_order, members, state.step)
    arguments = {
        "init": (members,),
        "epoch_order": (members, state.step),
        "run": (state, members.seed, order, digits()[0].reshape(-1, math.prod(SHAPE)), state.step),
    }
    for name, args in arguments.items():
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
        artefact = jax.export.export(getattr(jitted, name), platforms=["cuda", "tpu"])(*shapes)
        assert artefact.platforms == ("cuda", "tpu")
        assert ("stablehlo.convolution" in artefact.mlir_module()) == (name == "run")


ONE = ([np.arange(3)], [np.zeros(3, int)])


@pytest.mark.parametrize(
    ("hparams", "seeds", "rows", "labels", "message"),
    [
        ({"lam": [0, 1]}, [0], *ONE, "a table of 1 members needs as many lam, not 2"),
        ({}, [0, 1], *ONE, "a table of 2 members needs as many rows, not 1"),
        ({}, [0], ONE[0], [], "a table of 1 members needs as many labels, not 0"),
        ({"learning_rate": [0]}, [0], *ONE, "hparams learning_rate=0: must be finite and above 0"),
        ({"lam": [np.inf]}, [0], *ONE, "hparams lam=inf: must be finite and at least 0"),
        ({}, [], [], [], "seeds are empty: give at least one"),
        (
            {},
            [0],
            [np.zeros(0, int)],
            [np.zeros(0, int)],
            r"member 0 has rows of shape \(0,\): must be \[n\], n ≥ 1",
        ),
        ({}, [0], [np.ones(3, bool)], ONE[1], "member 0 has rows of dtype bool: must be integers"),
        ({}, [0], ONE[0], [np.zeros(3)], "member 0 has labels of dtype float64: must be integers"),
        ({}, [0], [np.arange(-1, 2)], ONE[1], "member 0 has rows down to -1: must be ≥ 0"),
        ({}, [0], ONE[0], [np.zeros(2, int)], "member 0 has 3 rows but 2 labels: must be as many"),
    ],
)
def test_members_refuses_by_value_limit_and_mend(hparams, seeds, rows, labels, message):
    with pytest.raises(ValueError, match=message):
        train.members(hparams, seeds, rows, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 49}, "batch_size 49 exceeds the 48 training images of the smallest member: lower it"),
        ({"augment": Augment(shift_px=-1)}, "shift_px -1: must lie between 0 and 7 for images of 8 px"),
        ({"augment": Augment(shift_px=8)}, "shift_px 8: must lie between 0 and 7 for images of 8 px"),
        ({"augment": Augment(crop_px=4)}, "crop_px 4: must lie between 0 and 3 for images of 8 px"),
        ({"steps_per_dispatch": 0}, r"steps_per_dispatch 0: must lie between 1 and 2,147,483,647$"),
        ({"layout": "pmap"}, "layout 'pmap': must be 'vmap', 'map' or 'auto'"),
        ({"images": np.zeros((60, 8, 8, 1))}, r"float64: must be uint8 \[N, H, W, C\]"),
        ({"images": np.zeros((60, 8, 8), np.uint8)}, r"\(60, 8, 8\), uint8: must be uint8 \[N, H, W, C\]"),
        ({"images": np.zeros((47, 8, 8, 1), np.uint8)}, "row 47 is not among the 47 images"),
    ],
)
def test_compile_program_refuses_by_value_limit_and_mend(change, message):
    with pytest.raises(ValueError, match=message):
        compiled(table((48,)), **change)


def test_hyper_parameters_are_exactly_the_methods():
    members = table((48,))
    for hparams in ({"lam": members.hparams["lam"]}, {**members.hparams, "lambda": members.seed}):
        with pytest.raises(ValueError, match="the method takes lam, learning_rate, weight_decay"):
            compiled(members._replace(hparams=hparams))


def test_members_must_fit_the_mesh():
    mesh = jax.sharding.AbstractMesh((2, 4), ("member", "data"))
    for members, batch_size, message in [
        (table((48,) * 3), 16, r"3 members can't be spread evenly over 2 mesh rows: take .*make_mesh\(3\)"),
        (table((48,) * 2), 18, "batch_size 18 can't be shared evenly by 4 devices: take a multiple of 4"),
    ]:
        with pytest.raises(ValueError, match=message):
            train.compile_program(
                small_method(),
                digits()[0],
                members,
                normalise_of(digits()[0]),
                batch_size=batch_size,
                mesh=mesh,
            )
