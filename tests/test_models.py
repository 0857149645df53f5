"""LeNet-5 and the door between Flax modules and pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import daily

from adjax import models
from adjax.models.lenet import LeNet5

SHAPES = {(28, 28, 1): 10, (8, 8, 1): 9, (20, 33, 3): 2, (19, 9, 2): 1}


def arbitrary_params(shape):
    """Numbers of the right shapes, cheaper than an initialisation compiled."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(models.make("lenet5", shape, SHAPES[shape]).init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), shapes)


def test_lenet_has_the_published_number_of_parameters():
    """6·25+6, 16·150+16, 120·400+120, 84·120+84, 10·84+10."""
    assert sum(x.size for x in jax.tree.leaves(arbitrary_params((28, 28, 1)))) == 61_706


@pytest.mark.parametrize(("options", "gain"), [({}, 1 / 3), ({"gain": 2.0}, 2)])
def test_first_weights_have_the_variance_that_is_asked_for(options, gain):
    drawn = jax.jit(models.make("lenet5", (28, 28, 1), 10, **options).init)(jax.random.key(0))
    for layer, fan_in in (("hidden1", 400), ("hidden2", 120), ("conv2", 150)):
        assert np.var(drawn[layer]["kernel"]) == pytest.approx(gain / fan_in, rel=0.1), layer
        assert not drawn[layer]["bias"].any()


@pytest.mark.parametrize("gain", [0, -1, float("nan"), float("inf")])
def test_a_gain_that_draws_no_weights_is_refused(gain):
    with pytest.raises(ValueError, match=r"gain .*: must be finite and above 0; 2 is He's rule"):
        jax.eval_shape(models.make("lenet5", (28, 28, 1), 10, gain=gain).init, jax.random.key(0))


@pytest.mark.parametrize(("shape", "classes"), [*daily(SHAPES.items(), *list(SHAPES.items())[:2])])
def test_intermediates_are_named_and_shaped(shape, classes):
    params = arbitrary_params(shape)
    apply = jax.jit(models.make("lenet5", shape, classes).apply)
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    outputs = apply(params, images)
    assert set(outputs) == {"pool1", "pool2", "hidden", "features", "logits"}
    assert outputs["pool1"].shape == (3, shape[0] // 2, shape[1] // 2, 6)
    assert outputs["hidden"].shape == (3, 120)
    assert outputs["features"].shape == (3, 84)
    assert outputs["logits"].shape == (3, classes)
    assert all(x.dtype == np.float32 for x in outputs.values())
    assert outputs["features"].min() == 0  # rectified
    np.testing.assert_allclose(
        apply(params, images[[1, 1, 1]])["logits"][0], outputs["logits"][1], rtol=1e-4, atol=1e-5
    )


def test_lenet_is_what_flax_layers_of_their_own_make_of_it():
    """The same weights through plain lax convolutions, reduce_window pooling and matmuls."""
    p = arbitrary_params((28, 28, 1))
    x = np.random.default_rng(0).normal(size=(2, 28, 28, 1)).astype(np.float32)

    @jax.jit
    def theirs(p, y):
        for layer, padding in (("conv1", "SAME"), ("conv2", "VALID")):
            y = jax.lax.conv_general_dilated(
                y, p[layer]["kernel"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            y = nnx.max_pool(jnp.maximum(y + p[layer]["bias"], 0), (2, 2), (2, 2))
        y = y.reshape(2, -1)
        for layer in ("hidden1", "hidden2"):
            y = jnp.maximum(y @ p[layer]["kernel"] + p[layer]["bias"], 0)
        return y @ p["head"]["kernel"] + p["head"]["bias"]

    ours = jax.jit(models.make("lenet5", (28, 28, 1), 10).apply)(p, x)["logits"]
    np.testing.assert_allclose(ours, theirs(p, x), rtol=1e-4, atol=1e-5)


def test_images_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match=r"at least 8×8 px, not 7×28: enlarge"):
        models.make("lenet5", (7, 28, 1), 10)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="0 classes"):
        models.make("lenet5", (28, 28, 1), 0)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no model 'lenet'; there are: .*lenet5"):
        models.make("lenet", (28, 28, 1), 10)


@pytest.mark.slow
def test_parameters_are_a_function_of_the_key_under_any_transformation():
    network = models.make("lenet5", (8, 8, 1), 3)

    def init(key):  # of two layers alone, since a compiler takes its time for a draw
        params = network.init(key)
        return {name: params[name] for name in ("conv1", "hidden1")}

    keys = jax.random.split(jax.random.key(1), 2)
    each = [jax.jit(init)(k) for k in keys]
    stacked = jax.jit(lambda keys: jax.lax.map(init, keys))(keys)
    for i, one in enumerate(each):
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(stacked), strict=True):
            np.testing.assert_array_equal(a, b[i])
    kernels = [p["hidden1"]["kernel"] for p in each]
    assert not np.allclose(*kernels)
    # a sixth of He's 2 / fan-in: a gain of 1/3 (models/lenet.py)
    assert np.std(kernels[0]) == pytest.approx(np.sqrt(1 / 3 / kernels[0].shape[0]), rel=0.1)


def test_the_whole_network_is_matmuls_on_cpu():
    network = models.make("lenet5", (28, 28, 1), 10)
    params = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((8, 28, 28, 1), np.float32)
    loss = jax.jit(jax.grad(lambda p, x: network.apply(p, x)["logits"].sum()))
    text = loss.trace(params, images).lower(lowering_platforms=("cpu",)).as_text()
    assert "convolution" not in text
    assert "scatter" not in text


def test_the_module_itself_is_a_plain_flax_module():
    module = nnx.eval_shape(lambda: LeNet5((28, 28, 1), 10, rngs=nnx.Rngs(0)))
    logits = nnx.eval_shape(lambda m, x: m(x)["logits"], module, jnp.zeros((1, 28, 28, 1)))
    assert logits.shape == (1, 10)
