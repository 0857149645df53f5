"""The autoencoders, the small CNN and Deep SVDD's bias-free LeNet."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import daily

from adjax import models
from adjax.models.autoencoder import _spread


def arbitrary(network, scale=0.1):
    """Numbers of the right shapes, cheaper than an initialisation compiled."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda x: np.abs(rng.normal(0, scale, x.shape)).astype(np.float32), shapes)


def images(shape, rows=3):
    return np.random.default_rng(1).uniform(size=(rows, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "shape", "sizes"),
    [
        ("conv_autoencoder", {"latent": 5, "width": 4}, (12, 8, 3), {"features": (5,), "reconstruction": (12, 8, 3)}),
        pytest.param(
            "conv_autoencoder",
            {"latent": None, "width": 4},
            (8, 8, 1),
            {"features": (32,), "pool1": (4, 4, 4)},
            marks=pytest.mark.slow,
        ),
        ("deep_autoencoder", {"latent": 5, "hidden": 9}, (7, 5, 2), {"features": (5,), "reconstruction": (7, 5, 2)}),
        ("cnn", {"width": 4}, (9, 8, 1), {"features": (128,), "logits": (3,), "pool2": (2, 2, 8)}),
        ("cnn", {"width": 4, "pool2": 1}, (9, 8, 1), {"hidden": (256,), "pool2": (4, 4, 8)}),
        ("svdd_lenet", {"latent": 7, "width": 4}, (9, 8, 1), {"features": (7,), "hidden": (128,)}),
        pytest.param(
            "svdd_lenet",
            {"latent": 7, "width": 4, "batch_norm": False},
            (8, 8, 1),
            {"features": (7,)},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_intermediates_are_named_and_shaped(name, options, shape, sizes):
    network = models.make(name, shape, 3, **options)
    outputs = jax.jit(network.apply)(arbitrary(network), images(shape))
    for key, size in sizes.items():
        assert outputs[key].shape == (3, *size), key
    if "reconstruction" in outputs:
        assert outputs["reconstruction"].shape == (3, *shape)
        assert 0 <= outputs["reconstruction"].min() <= outputs["reconstruction"].max() <= 1
    assert all(x.dtype == jnp.float32 and np.isfinite(x).all() for x in outputs.values())


def test_the_decoder_enlarges_by_transposed_convolutions():
    """A 3×3 convolution to four times the channels, spread over 2×2 px = a 6×6 kernel transposed, stride 2."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 8)).astype(np.float32)
    numbers = ("NHWC", "HWIO", "NHWC")
    ours = _spread(jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers))
    # Output pixel (2i + a, 2j + b) meets input (i + p − 1, j + q − 1) by kernel[p, q, :, (a, b, o)].
    six = kernel[::-1, ::-1].reshape(3, 3, 3, 2, 2, 2).transpose(0, 3, 1, 4, 2, 5).reshape(6, 6, 3, 2)
    dilated = jax.lax.conv_general_dilated(
        x, six[::-1, ::-1], (1, 1), [(3, 3), (3, 3)], lhs_dilation=(2, 2), dimension_numbers=numbers
    )
    assert ours.shape == dilated.shape == (2, 10, 8, 2)
    np.testing.assert_allclose(ours, dilated, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_dropout_is_drawn_in_training_and_off_in_outputs():
    network = models.make("cnn", (8, 8, 1), 2, width=2)
    params, x = arbitrary(network), images((8, 8, 1), 64)
    train = jax.jit(network.train)
    first, second = (train(params, x, jax.random.key(k))[0]["logits"] for k in (0, 1))
    still = jax.jit(network.apply)(params, x)["logits"]
    assert (first != second).any()
    np.testing.assert_array_equal(train(params, x, jax.random.key(0))[0]["logits"], first)
    np.testing.assert_array_equal(jax.jit(network.apply)(params, x)["logits"], still)
    # Inverted dropout keeps the mean; a wrong rate or a missing scale would not.
    draws = np.stack([train(params, x, jax.random.key(k))[0]["logits"] for k in range(20)])
    np.testing.assert_allclose(draws.mean((0, 1)), still.mean(0), rtol=0.02)


def test_deep_svdds_network_has_no_bias():
    """No parameter is a vector, and a black image is mapped to zero whatever the weights."""
    network = models.make("svdd_lenet", (8, 8, 1), 1, width=2, batch_norm=False)
    params = arbitrary(network)
    assert all(leaf.ndim > 1 for leaf in jax.tree.leaves(params))
    assert (jax.jit(network.apply)(params, np.zeros((1, 8, 8, 1), np.float32))["features"] == 0).all()
    normed = models.make("svdd_lenet", (8, 8, 1), 1, width=2)
    kept = [path for path, kept in jax.tree_util.tree_leaves_with_path(normed.trainable) if kept]
    assert all("kernel" in str(path) for path in kept)


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("conv_autoencoder", (10, 8, 1), {}, "images of 10×8 px: this autoencoder halves both sides twice"),
        ("conv_autoencoder", (8, 8, 1), {"latent": 0}, "latent 0: must be at least 1"),
        ("deep_autoencoder", (8, 8, 1), {"hidden": 0}, "hidden 0: must be at least 1"),
        ("cnn", (3, 8, 1), {}, "images of 3×8 px: two poolings need at least 4×4"),
        ("cnn", (8, 8, 1), {"pool2": 3}, "second pool of 3 px: must be 1 or 2"),
        ("cnn", (8, 8, 1), {"dropout": 1.0}, r"dropout 1.0: must lie in \[0, 1\)"),
        ("cnn", (8, 8, 1), {"width": 0}, "width 0: must be at least 1 each"),
        ("svdd_lenet", (8, 3, 1), {}, "images of 8×3 px: two poolings need at least 4×4"),
        ("svdd_lenet", (8, 8, 1), {"latent": 0}, "0 features, width 16: must be at least 1 each"),
    ],
)
def test_a_model_refuses_by_value_and_limit(name, shape, options, message):
    with pytest.raises(ValueError, match=message):
        models.make(name, shape, 2, **options)


@pytest.mark.parametrize("name", [*daily(["conv_autoencoder", "cnn", "svdd_lenet"], "svdd_lenet")])
def test_no_convolution_is_left_to_xla_on_cpu(name):
    network = models.make(name, (28, 28, 1), 1)
    params = jax.eval_shape(network.init, jax.random.key(0))

    def loss(params, x):
        outputs, _ = network.train(params, x, jax.random.key(0))
        return sum(value.sum() for value in outputs.values())

    lowered = jax.jit(jax.grad(loss)).trace(params, jax.ShapeDtypeStruct((8, 28, 28, 1), np.float32))
    assert "stablehlo.convolution" not in lowered.lower(lowering_platforms=("cpu",)).as_text()


def test_modules_are_plain_flax_modules():
    for name in ("conv_autoencoder", "deep_autoencoder", "cnn", "svdd_lenet"):
        module = nnx.eval_shape(lambda name=name: models.MODELS[name]((8, 8, 1), 2, rngs=nnx.Rngs(0)))
        assert isinstance(module, nnx.Module)
