"""The gradient of a mean over a batch, taken whole or in parts."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import daily
from training import compiled, pair, small_method, table

from adjax import models
from adjax.methods._gradient import _parts
from adjax.methods.centerloss import center_loss_gradients

SHAPE, CLASSES = (28, 28, 1), 10


class Wide(nnx.Module):
    """As many floats an image as LeNet-5, so that a CPU takes as many parts; compiled in a tenth of the time."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(784, 84, rngs=rngs)
        self.head = nnx.Linear(84, CLASSES, rngs=rngs)

    def __call__(self, images):
        pixels = images.reshape(len(images), -1)
        features = nnx.relu(self.hidden(pixels))
        return {"pixels": jnp.concatenate([pixels, -pixels], 1), "features": features, "logits": self.head(features)}


@cache
def network():
    return models.network(Wide)


@cache
def key():
    return jax.random.key(0)


def shapes(network):
    return jax.eval_shape(network.init, key())


def problem(n):
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.normal(size=(n, *SHAPE)).astype(np.float32),
        "labels": rng.integers(0, CLASSES, n).astype(np.int32),
        "weight": np.linspace(0, 2, n, dtype=np.float32),
    }
    weights = jax.tree.map(lambda x: rng.normal(0, 0.05, x.shape).astype(np.float32), shapes(network()))
    return weights, rng.normal(size=(CLASSES, 84)).astype(np.float32), batch


def gradients(network, weights, centers, batch):
    return center_loss_gradients(network, weights, centers, 0.1, batch, key())


@pytest.mark.parametrize("weighted", [*daily([False, True], True)])
def test_a_batch_in_parts_has_the_gradient_metrics_and_features_of_the_whole(weighted):
    weights, centers, batch = problem(512)
    if not weighted:
        del batch["weight"]
    assert _parts(network(), weights, batch["images"]) == 4
    in_parts, whole = (
        jax.jit(partial(gradients, each))(weights, centers, batch)
        for each in (network(), network()._replace(rowwise=False))
    )
    assert in_parts.kept.shape == (512, 84)
    for a, b in zip(jax.tree.leaves(in_parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6 * np.abs(b).max())


def test_rows_of_no_weight_count_for_nothing():
    weights, centers, batch = problem(256)
    half = {name: batch[name][:128] for name in ("images", "labels")}
    batch["weight"] = np.repeat(np.float32([2, 0]), 128)
    ours, of_half = (jax.jit(partial(gradients, network()))(weights, centers, b) for b in (batch, half))
    assert ours.metrics.pop("weight") == 1
    for a, b in zip(jax.tree.leaves(ours[:2]), jax.tree.leaves(of_half[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6 * np.abs(b).max())


def test_only_a_cpu_takes_parts():
    weights, centers, batch = problem(512)
    traced = jax.jit(partial(gradients, network())).trace(weights, centers, batch)
    for platform, loops in {"cpu": 1, "cuda": 0, "tpu": 0}.items():
        program = traced.lower(lowering_platforms=(platform,)).as_text()
        assert program.count("stablehlo.while") == loops, platform


@pytest.mark.parametrize(("rows", "parts"), [(1, 1), (128, 1), (200, 2), (1024, 8), (1021, 1)])
def test_parts_are_equal_and_not_too_small(rows, parts):
    """LeNet's are of up to 167 images; 1,021 is a prime."""
    images = jax.ShapeDtypeStruct((rows, *SHAPE), np.float32)
    lenet = models.make("lenet5", SHAPE, CLASSES)
    assert _parts(lenet, shapes(lenet), images) == parts


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
    weights, images = shapes(network), jax.ShapeDtypeStruct((2048, *shape), np.float32)
    assert (_parts(network, weights, images) > 1) == rowwise


def test_a_single_device_adds_nothing_up():
    """XLA would copy all gradients to add them to nothing."""
    assert "all-reduce" not in pair().executable.as_text()


@pytest.mark.slow
def test_a_step_is_traced_once():
    """Tracing a GAN's takes seconds."""
    method, traced = small_method(), []

    def step(*arguments, **options):
        traced.append(1)
        return method.step(*arguments, **options)

    compiled(table(), method=method._replace(step=step))
    assert len(traced) == 1
