"""Every method keeps the contract of `adjax.types.Method`. What a method computes stands in a test file of its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, PartitionSpec
from sums import chain
from tiers import daily
from training import CLASSES, SHAPE, Small, digits

from adjax import models
from adjax.augment import normalise_for
from adjax.methods import METHODS, _collective, entry, make
from adjax.types import Method


class Mirror(nnx.Module):
    """A small autoencoder."""

    def __init__(self, rngs: nnx.Rngs):
        self.encode = nnx.Linear(64, 16, rngs=rngs)
        self.decode = nnx.Linear(16, 64, rngs=rngs)

    def __call__(self, images):
        features = nnx.relu(self.encode(images.reshape(len(images), -1)))
        return {"features": features, "reconstruction": nnx.sigmoid(self.decode(features)).reshape(images.shape)}


class Normed(nnx.Module):
    """Bias-free, with batch statistics."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 16, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(
            16, use_scale=False, use_bias=False, momentum=0.9, use_running_average=True, rngs=rngs
        )
        self.head = nnx.Linear(16, 8, use_bias=False, rngs=rngs)

    def __call__(self, images):
        hidden = self.norm(self.hidden(images.reshape(len(images), -1)))
        return {"features": self.head(nnx.leaky_relu(hidden))}


class Copier(nnx.Module):
    """A generator of 32×32 px with batch statistics, which compiles in a fraction of a U-Net's time."""

    def __init__(self, rngs: nnx.Rngs):
        self.encode = nnx.Linear(32 * 32, 16, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.decode = nnx.Linear(16, 32 * 32, rngs=rngs)

    def __call__(self, images):
        latent = self.norm(self.encode(images.reshape(len(images), -1)))
        reconstruction = jnp.tanh(self.decode(nnx.leaky_relu(latent))).reshape(images.shape)
        return {"latent": latent, "features": latent, "reconstruction": reconstruction}


class Enrolment(NamedTuple):
    """How a method is put through the contract.

    Attributes:
      model: a name in `MODELS`, or a module class taking rngs, as small as may be.
      options: of the method.
      model_options: of the model.
      image_shape: digits are enlarged to it by repeating pixels.
      falls: the metric that training brings down.
      trained: in steps; others are fitted at once or need neither.
      hparams: to learn with, where the defaults would take longer.
      batch, steps: of the training.
      sums: over devices that wait for each other in a step: 1 for gradients and metrics, and 2 for each batch norm on
        the way there and back, whose statistics are those of the whole batch.
    """

    model: str | Callable[[nnx.Rngs], nnx.Module] | None
    options: Mapping[str, Any] = {}
    model_options: Mapping[str, Any] = {}
    image_shape: tuple[int, int, int] = SHAPE
    falls: str = "loss"
    trained: bool = True
    hparams: Mapping[str, float] = {}
    batch: int = 64
    steps: int = 150
    sums: int = 1


GAN = Enrolment(
    None,
    {"width": 2, "norm": "batch", "share": 1.0},
    image_shape=(24, 24, 1),
    falls="reconstruction",
    hparams={"learning_rate": 4e-2},
    batch=16,
    steps=30,
)
ENROLLED = {name: Enrolment(Small) for name in METHODS} | {
    "autoencoder": Enrolment(Mirror),
    "deep_svdd": Enrolment(Normed, {"center_steps": 2}, sums=3),
    "gan": GAN._replace(model=Copier, hparams={"learning_rate": 4e-2}, steps=120, sums=9),
    "gan of a u-net": GAN._replace(model="unet", model_options={"width": 8, "norm": "batch"}, sums=19),
    "gmm": Enrolment(Small, trained=False),
    "hog_ocsvm": Enrolment(Small, trained=False),
    "random": Enrolment(None, trained=False),
}
"""A method that a small classifier does for needs no line; one of two networks takes "method of ...", which is slow."""


def method_of(name: str) -> str:
    return name.partition(" of ")[0]


@lru_cache
def built(name: str) -> Method:
    model, options, model_options, shape, *_ = ENROLLED[name]
    network: Any = None
    if isinstance(model, str):
        network = models.make(model, shape, CLASSES, **model_options)
    elif model is not None:
        network = models.network(model)
    return make(method_of(name), network, shape, CLASSES, steps=ENROLLED[name].steps, **options)


TRAINED = sorted(name for name, enrolment in ENROLLED.items() if enrolment.trained)

DAILY = [name for name in TRAINED if name in METHODS]

names = pytest.mark.parametrize("name", [*daily(sorted(ENROLLED), *METHODS)], scope="module")
trained = pytest.mark.parametrize("name", [*daily(TRAINED, *DAILY)], scope="module")
"""Of a module's scope, so that the tests of one method follow one another and a process compiles it once."""
quickly_trained = pytest.mark.parametrize(
    "name", [*daily(TRAINED, *(name for name in DAILY if name != "gan"))], scope="module"
)
"""The GAN takes seconds to compile, and as long again for two devices."""


@lru_cache
def jitted(name: str, function: str):
    return jax.jit(getattr(built(name), function))


@lru_cache
def state_of(name: str, seed: int = 0, factor: float = 1, **hparams: float):
    """The initial state, every hyper-parameter `factor` times its default but for those given."""
    values = {**{k: factor * v for k, v in built(name).hparams.items()}, **hparams}
    hparams = {k: np.float32(v) for k, v in values.items()}
    return jitted(name, "init")(jax.random.key(seed), hparams)


@lru_cache
def digits_for(name: str):
    """Digits in the range and with the labels that the method takes; 7 to 9 are the anomalies where it takes any."""
    images, labels = digits()
    method, shape = built(name), ENROLLED[name].image_shape
    kind = method.supervision
    if kind == "normal":
        images, labels = np.resize(images[labels == 0], images.shape), np.zeros_like(labels)
    elif kind == "anomalies":
        labels = (labels >= 7).astype(np.int32)
    elif kind == "classes and anomalies":
        labels = np.where(labels >= 7, CLASSES, labels).astype(np.int32)
    for axis in (1, 2):
        images = images.repeat(shape[axis - 1] // SHAPE[axis - 1], axis)
    return np.asarray(normalise_for(method.input_range, images)(images)), labels


def batch(name: str, size: int = 0, first: int = 0):
    images, labels = digits_for(name)
    rows = slice(first, first + (size or ENROLLED[name].batch))
    return {"images": images[rows], "labels": labels[rows]}


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), jax.eval_shape(lambda: tree))


def test_every_method_is_put_through_the_contract():
    assert {*map(method_of, ENROLLED)} == set(METHODS), "give each method its line in ENROLLED"


@names
def test_whether_a_method_trains_is_as_enrolled(name):
    assert (built(name).step is not None) == ENROLLED[name].trained


@trained
def test_a_step_keeps_the_shape_of_the_state(name):
    """So that it can be the carry of a loop, donated, saved and restored."""
    state = state_of(name)
    after, metrics = jitted(name, "step")(state, batch(name), jax.random.key(1))
    assert shapes(after) == shapes(state)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert "loss" in metrics
    for metric, value in metrics.items():
        assert (value.shape, value.dtype) == ((), jnp.float32), metric
        assert np.isfinite(value), metric
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(after)))


@names
def test_outputs_are_named_rows(name):
    """Each of its own image, whatever the others of the batch are, and of any number of them."""
    params = state_of(name)["params"]
    images = batch(name, 11)["images"]
    first, other = (
        jitted(name, "outputs")(params, images[np.array(rows)]) for rows in (range(7), (0, 1, 2, *range(7, 11)))
    )
    few = jax.eval_shape(built(name).outputs, params, images[:3])
    assert "features" in first or "score" in first
    assert set(few) == set(first)
    for key, value in first.items():
        assert value.shape[0] == 7, key
        assert few[key].shape == (3, *value.shape[1:]), key
        assert value.dtype == jnp.float32, key
        np.testing.assert_allclose(value[:3], other[key][:3], rtol=1e-4, atol=1e-5, err_msg=key)
        assert (np.asarray(value[3:]) != other[key][3:]).any(), key


@names
def test_what_a_method_says_of_itself_is_so(name):
    method = built(name)
    images = batch(name, 7)["images"]
    said = jitted(name, "outputs")(state_of(name)["params"], images)
    if method.scorer == "score":
        assert said["score"].shape == (7,)
    if "reconstruction" in said:
        assert said["reconstruction"].shape == images.shape
        low, high = {"unit": (0, 1), "signed": (-1, 1), "standard": (-np.inf, np.inf)}[method.input_range]
        assert low <= said["reconstruction"].min() <= said["reconstruction"].max() <= high
    assert method.supervision in ("classes", "normal", "anomalies", "classes and anomalies")


@names
def test_an_entry_says_what_its_method_is(name):
    known, method = entry(method_of(name)), built(name)
    assert (known.supervision, known.input_range, known.scorer, known.trains) == (
        method.supervision,
        method.input_range,
        method.scorer,
        method.step is not None,
    )
    assert known.model in models.MODELS


@trained
def test_nothing_recompiles_on_the_second_call(name):
    step = jitted(name, "step")
    state = state_of(name)
    for seed in range(2):
        state, _ = step(state, batch(name, first=seed), jax.random.key(seed))
    before = step._cache_size()
    for seed in range(2):
        state, _ = step(state, batch(name, first=seed), jax.random.key(seed))
    assert step._cache_size() == before


@trained
def test_hyper_parameters_are_arrays_not_code(name):
    """Two members of other hyper-parameters run through one program, and come out unlike."""
    one, other = (state_of(name, factor=f) for f in (1, 2))
    assert shapes(one) == shapes(other)
    step = jitted(name, "step")
    size = step._cache_size()
    ends = []
    for state in (one, other):
        for i in range(8):
            state, _ = step(state, batch(name), jax.random.key(i))
        ends.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(state["params"])]))
    assert step._cache_size() <= max(size, 1)
    assert np.abs(ends[0] - ends[1]).max() > 1e-4


@trained
def test_init_and_step_are_pure(name):
    first, second = state_of(name), state_of(name)
    for _ in range(2):
        first, _ = jitted(name, "step")(first, batch(name), jax.random.key(1))
    for _ in range(2):
        second, _ = jitted(name, "step")(second, batch(name), jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    other = state_of(name, seed=1)
    pairs = zip(*map(jax.tree.leaves, jax.device_get((state_of(name), other))), strict=True)
    assert any((a != b).any() for a, b in pairs)


@trained
def test_training_learns(name):
    """The loss on images that were not trained on falls far below the untrained network's."""
    falls = ENROLLED[name].falls
    step, state = jitted(name, "step"), state_of(name, **ENROLLED[name].hparams)
    unseen, size, steps = batch(name, first=1000), ENROLLED[name].batch, ENROLLED[name].steps

    def loss(state):
        return step(state, unseen, jax.random.key(0))[1][falls]

    before = loss(state)
    for i in range(steps):
        state, _ = step(state, batch(name, first=size * (i % 15)), jax.random.key(i))
    assert loss(state) < 0.6 * before


@quickly_trained
def test_two_devices_with_half_a_batch_each_are_one(name):
    """Gradients, metrics, batch statistics and centers are those of the whole batch; random draws too."""
    method = built(name)
    state, whole = state_of(name), batch(name, 64)
    alone = jitted(name, "step")(state, whole, jax.random.key(0))
    halves = jax.tree.map(lambda x: x.reshape(2, len(x) // 2, *x.shape[1:]), whole)
    shared = jax.vmap(lambda b: method.step(state, b, jax.random.key(0), axis_name="data"), axis_name="data")
    shared = jax.jit(shared)(halves)
    for device in (0, 1):
        jax.tree.map(lambda a, b, d=device: np.testing.assert_allclose(a, b[d], 1e-3, 3e-5), alone, shared)


@trained
def test_a_step_waits_for_other_devices_no_more_often_than_it_must(name):
    both, everywhere = PartitionSpec("data"), PartitionSpec()
    step = jax.shard_map(
        partial(built(name).step, axis_name="data"),
        mesh=AbstractMesh((2,), ("data",), axis_types=(AxisType.Auto,)),
        in_specs=(everywhere, both, everywhere),
        out_specs=everywhere,
        check_vma=False,
    )
    program = jax.make_jaxpr(step)(state_of(name), batch(name), jax.random.key(0))
    assert max(chain(program.jaxpr)) == ENROLLED[name].sums


@names
def test_a_factory_takes_what_the_registry_says(name):
    first = list(inspect.signature(METHODS[method_of(name)]).parameters)[:4]
    assert first == ["network", "image_shape", "classes", "steps"]


def test_make_names_the_known_methods():
    with pytest.raises(ValueError, match=r"no method 'centreloss'; there are: .*centerloss"):
        make("centreloss", None, SHAPE, CLASSES, steps=1)


def test_keys_do_not_depend_on_the_devices():
    key = jax.random.key(3)
    whole = jax.random.key_data(_collective.keys(key, 6, None))
    halves = jax.vmap(lambda _: _collective.keys(key, 3, "data"), axis_name="data")(jnp.arange(2))
    np.testing.assert_array_equal(whole, jax.random.key_data(halves).reshape(whole.shape))
    assert len({tuple(k) for k in np.asarray(whole)}) == 6
