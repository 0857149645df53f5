"""The gradient of a mean over a batch, taken whole or in parts."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import export

from adjax import methods, models, train
from adjax.augment import normalise_for
from adjax.methods.centerloss import center_loss_gradients
from adjax.methods.gradient import _parts

SHAPE = (28, 28, 1)
LENET = models.make("lenet5", SHAPE, 10)
KEY = jax.random.key(0)


def problem(n):
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.normal(size=(n, *SHAPE)).astype(np.float32),
        "labels": rng.integers(0, 10, n).astype(np.int32),
        "weight": np.linspace(0, 2, n, dtype=np.float32),
    }
    return LENET.init(KEY), rng.normal(size=(10, 84)).astype(np.float32), batch


def gradients(network, weights, centers, batch):
    return center_loss_gradients(network, weights, centers, 0.1, batch, KEY)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_in_parts_has_the_gradient_metrics_and_features_of_the_whole(weighted):
    weights, centers, batch = problem(512)
    if not weighted:
        del batch["weight"]
    assert _parts(LENET, weights, batch["images"]) == 4
    in_parts, whole = (
        jax.jit(partial(gradients, network))(weights, centers, batch)
        for network in (LENET, LENET._replace(rowwise=False))
    )
    assert in_parts.kept.shape == (512, 84)
    for a, b in zip(jax.tree.leaves(in_parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6 * np.abs(b).max())


def test_rows_of_no_weight_count_for_nothing():
    weights, centers, batch = problem(256)
    half = {name: batch[name][:128] for name in ("images", "labels")}
    batch["weight"] = np.repeat(np.float32([2, 0]), 128)
    ours, of_half = (jax.jit(partial(gradients, LENET))(weights, centers, b) for b in (batch, half))
    for a, b in zip(jax.tree.leaves(ours[:2]), jax.tree.leaves(of_half[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6 * np.abs(b).max())


def test_only_a_cpu_takes_parts():
    weights, centers, batch = problem(512)
    function = jax.jit(partial(gradients, LENET))
    for platform, loops in {"cpu": 1, "cuda": 0, "tpu": 0}.items():
        program = export.export(function, platforms=[platform])(weights, centers, batch).mlir_module()
        assert program.count("stablehlo.while") == loops, platform


@pytest.mark.parametrize(("rows", "parts"), [(1, 1), (128, 1), (200, 2), (1024, 8), (1021, 1)])
def test_parts_are_equal_and_not_too_small(rows, parts):
    """LeNet's are of up to 167 images; 1,021 is a prime."""
    images = jax.ShapeDtypeStruct((rows, *SHAPE), np.float32)
    assert _parts(LENET, jax.eval_shape(LENET.init, KEY), images) == parts


@pytest.mark.parametrize(
    ("model", "options", "rowwise"),
    [
        ("lenet5", {}, True),
        ("conv_autoencoder", {}, True),
        ("cnn", {}, False),  # dropout
        ("unet", {"norm": "batch"}, False),
        ("unet", {"norm": "instance"}, True),
    ],
)
def test_images_that_meet_in_a_step_are_not_parted(model, options, rowwise):
    shape = (32, 32, 1) if model == "unet" else SHAPE
    network = models.make(model, shape, 10, **options)
    assert network.rowwise == rowwise
    weights, images = jax.eval_shape(network.init, KEY), jax.ShapeDtypeStruct((2048, *shape), np.float32)
    assert (_parts(network, weights, images) > 1) == rowwise


def compiled(method):
    images = np.zeros((256, *SHAPE), np.uint8)
    table = train.members({k: [v] for k, v in method.hparams.items()}, [0], [np.arange(256)], [np.arange(256) % 10])
    mesh, normalise = train.make_mesh(1, devices=jax.devices()[:1]), normalise_for(method.pixels, images)
    return train.compile_program(method, images, table, normalise, batch_size=256, mesh=mesh)


def test_a_single_device_adds_nothing_up():
    """XLA would copy all gradients to add them to nothing."""
    program = compiled(methods.make("centerloss", LENET, SHAPE, 10, steps=10))
    assert "all-reduce" not in program.executable.as_text()


def test_a_step_is_traced_once():
    """Tracing a GAN's takes seconds."""
    method, traced = methods.make("centerloss", LENET, SHAPE, 10, steps=10), []

    def step(*arguments, **options):
        traced.append(1)
        return method.step(*arguments, **options)

    compiled(method._replace(step=step))
    assert len(traced) == 1
