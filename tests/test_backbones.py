"""The ImageNet networks: published sizes, the images they take, what training changes; depthwise convolutions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax
from tiers import daily

from adjax import models, nn
from adjax.models import _backbone, efficientnet, resnet, squeezenet, vit

BACKBONES = ("efficientnet_lite0", "squeezenet", "vgg16")


@cache
def whole(name, shape, classes, **options):
    """A network and the shapes of its weights: to trace one takes a second."""
    network = models.make(name, shape, classes, **options)
    return network, jax.eval_shape(network.init, jax.random.key(0))


def arbitrary_params(network):
    """Numbers of the right shapes, cheaper than an initialisation compiled; variances are positive."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda x: np.abs(rng.normal(0.1, 0.1, x.shape)).astype(np.float32), shapes)


@pytest.fixture
def short(monkeypatch):
    """EfficientNet of two stages, three blocks: compiled in a second."""
    stages = (efficientnet.Stage(1, 3, 1, 1, 8), efficientnet.Stage(2, 5, 2, 2, 12))
    monkeypatch.setattr(efficientnet, "STAGES", stages)


@pytest.mark.parametrize(
    ("name", "classes", "published"),
    [
        pytest.param("efficientnet_lite0", 1000, 4_652_008, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite2", 1000, 6_092_072, marks=pytest.mark.slow),
        pytest.param("squeezenet", 1000, 1_235_496, marks=pytest.mark.slow),
        ("vgg16", 7, 14_714_688 + 512 * 7 + 7),  # the trunk, and our own head
    ],
)
def test_the_number_of_weights_is_the_published_one(name, classes, published):
    network, shapes = whole(name, (40, 33, 3), classes, side_px=48)
    pairs = zip(jax.tree.leaves(shapes), jax.tree.leaves(network.trainable), strict=True)
    assert sum(x.size for x, trained in pairs if trained) == published


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("efficientnet_b0", 5_288_548),
        ("resnet18", 11_689_512),
        ("resnet50", 25_557_032),
        ("wide_resnet50_2", 68_883_240),
        ("convnext_tiny", 28_589_128),
        ("dinov2_vits14", 22_056_576 - 2 * 384 + 385_000),  # no mask token, one position less; our own head
        ("dinov2_vitb14", 86_580_480 - 2 * 768 + 769_000),
    ],
)
def test_the_number_of_weights_of_a_large_network_is_the_published_one(name, published):
    """As torchvision, timm and facebookresearch count them."""
    module = models.MODELS[name]
    weights = nnx.eval_shape(lambda: nnx.state(module((64, 64, 3), 1000, rngs=nnx.Rngs(0)), nnx.Param))
    assert sum(x.size for x in jax.tree.leaves(weights)) == published


def test_a_narrower_layer_of_vgg_makes_no_later_ones():
    network = models.make("vgg16", (8, 8, 1), 2, layer="block2_conv2")
    params = arbitrary_params(network)
    assert set(params) == {"block1_conv1", "block1_conv2", "block2_conv1", "block2_conv2", "head"}
    outputs = jax.eval_shape(network.apply, params, jnp.zeros((3, 8, 8, 1)))
    assert outputs["features"].shape == (3, 128)
    assert {name: x.shape for name, x in outputs.items() if name.startswith("layer")} == {"layer1": (3, 4, 4, 128)}


def test_vgg_is_what_convolutions_and_poolings_make_of_it():
    network = models.make("vgg16", (6, 8, 3), 2, layer="block2_conv1")
    params = arbitrary_params(network)
    x = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)

    @jax.jit
    def theirs(params, y):
        for name in ("block1_conv1", "block1_conv2", "pool", "block2_conv1"):
            if name == "pool":
                y = nnx.max_pool(y, (2, 2), (2, 2))
            else:
                y = lax.conv_general_dilated(
                    y, params[name]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                )
                y = jnp.maximum(y + params[name]["bias"], 0)
        return y.mean((1, 2))

    ours = jax.jit(network.apply)(params, x)["features"]
    np.testing.assert_allclose(ours, theirs(params, x), rtol=1e-4)


OF_SHAPES = [*((name, (40, 33, 3)) for name in BACKBONES), ("squeezenet", (28, 28, 1))]


@pytest.mark.parametrize(("name", "shape"), [*daily(OF_SHAPES, OF_SHAPES[2])])
def test_features_and_logits_of_any_image(name, shape):
    classes = 7 if name == "vgg16" else 1000
    network, params = whole(name, shape, classes, side_px=48)
    outputs = jax.eval_shape(network.apply, params, jnp.zeros((2, *shape)))
    width, side = 1280 if name.startswith("eff") else 512, 3 if name == "vgg16" else 2
    assert {k: (v.shape, v.dtype) for k, v in outputs.items() if not k.startswith("layer")} == {
        "patches": ((2, side, side, width), np.float32),
        "features": ((2, width), np.float32),
        "logits": ((2, classes), np.float32),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("squeezenet", {}), ("vgg16", {"layer": "block2_conv1"})])
def test_features_are_the_mean_of_patches(name, options):
    network = models.make(name, (32, 48, 3), 2, **options)
    params, x = arbitrary_params(network), np.random.default_rng(0).random((2, 32, 48, 3), np.float32)
    said = jax.jit(network.apply)(params, x)
    np.testing.assert_allclose(said["patches"].mean((1, 2)), said["features"], rtol=1e-5)
    assert said["patches"].std((1, 2)).min() > 0  # every place its own


def test_grey_is_three_equal_channels_resized_as_jax_does():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 1)).astype(np.float32)
    grey = _backbone.prepare(x, 9)
    colour = _backbone.prepare(np.repeat(x, 3, -1), 9)
    np.testing.assert_allclose(grey, colour, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grey[..., :1], jax.image.resize(x, (2, 9, 9, 1), "bilinear"), rtol=1e-5, atol=1e-6)
    assert _backbone.prepare(x, None).shape == (2, 5, 7, 3)
    square = np.zeros((1, 9, 9, 3), np.float32)
    assert _backbone.prepare(square, 9) is square


@pytest.mark.parametrize(
    ("sides", "side_px", "seen"),
    [
        ((28, 42), None, (28, 42)),
        ((30, 35), None, (28, 42)),
        ((3, 20), None, (14, 14)),
        ((28, 42), 50, (56, 56)),
        ((28, 42), (30, 69), (28, 70)),
    ],
)
def test_sides_go_to_the_nearest_multiple(sides, side_px, seen):
    x = np.random.default_rng(0).normal(size=(1, *sides, 3)).astype(np.float32)
    found = _backbone.prepare(x, side_px, vit.PATCH_PX)
    np.testing.assert_allclose(found, jax.image.resize(x, (1, *seen, 3), "bilinear"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("new", [1, 5, 20, 37, 41])
def test_positions_shrink_as_jax_resizes_and_keep_what_is_constant(new):
    """JAX has the anti-aliased kernel; the other, and the offset, are held against PyTorch by the golden numbers."""
    x = np.random.default_rng(0).normal(size=(vit.GRID, 2)).astype(np.float32)
    found = vit.cubic_weights(vit.GRID, new, antialias=True) @ x
    np.testing.assert_allclose(found, jax.image.resize(x, (new, 2), "cubic"), rtol=1e-4, atol=1e-5)
    for antialias, offset in ((True, 0.0), (False, 0.0), (False, 0.1)):
        np.testing.assert_allclose(vit.cubic_weights(vit.GRID, new, antialias, offset).sum(1), 1, rtol=1e-5)


def test_the_shortcut_of_a_resnet_is_a_convolution_where_the_shape_changes():
    assert [resnet.RESNET18.widens(stage) for stage in range(4)] == [False, True, True, True]
    assert all(resnet.RESNET50.widens(stage) for stage in range(4))
    assert resnet.WIDE_RESNET50_2.block(1, 2) == ((256, 1, 1), (256, 3, 2), (512, 1, 1))


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("efficientnet_b0", (8, 8, 2), {}, r"grey \(1\) or RGB \(3\) images, not 2 channels"),
        ("squeezenet", (28, 28, 1), {}, r"at least 31×31 px, not 28×28: enlarge them by side_px=32"),
        ("squeezenet", (64, 64, 1), {"side_px": 30}, "at least 31×31 px, not 30×30"),
        ("vgg16", (15, 64, 3), {}, "at least 16×16 px, not 15×64"),
        ("vgg16", (64, 64, 3), {"layer": "block5_conv4"}, "layer 'block5_conv4': must be one of block1_conv1"),
        ("efficientnet_lite0", (8, 8, 1), {"side_px": 0}, "side_px 0: must be at least 1"),
        ("efficientnet_lite0", (8, 8, 1), {"drop_connect": 1.0}, r"drop_connect 1.0: must lie in \[0, 1\)"),
        ("resnet18", (64, 64, 4), {}, r"ResNet takes grey \(1\) or RGB"),
        ("convnext_tiny", (31, 64, 3), {}, "at least 32×32 px, not 31×64"),
        (
            "dinov2_vits14",
            (28, 28, 3),
            {"registers": -1},
            "registers -1: must be at least 0; published weights",
        ),
        ("dinov2_vits14", (28, 28, 3), {"dim": 100}, "dim 100: must be a multiple of 64"),
        ("squeezenet", (64, 64, 1), {"dropout": -0.1}, r"dropout -0.1: must lie in \[0, 1\)"),
    ],
)
def test_what_a_network_cannot_take_is_refused(name, shape, options, message):
    with pytest.raises(ValueError, match=message):
        models.make(name, shape, 2, **options)


def test_no_classes_are_refused():
    with pytest.raises(ValueError, match="0 classes"):
        models.make("vgg16", (32, 32, 3), 0)


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("ceil", [True, False])
def test_pooling_of_three_is_that_of_xla(size, ceil):
    """PyTorch's `ceil_mode` starts a last window wherever one px is left for it."""
    x = np.random.default_rng(0).uniform(size=(2, size, size + 1, 3)).astype(np.float32)
    padding = [(0, 0), *((0, (n - 3) % 2 if ceil else 0) for n in x.shape[1:3]), (0, 0)]
    xla = lax.reduce_window(x, -np.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
    np.testing.assert_array_equal(squeezenet._max_pool_3x3(jnp.asarray(x), ceil), xla)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_training_takes_batch_statistics_draws_and_moves_the_running_ones():
    network = models.make("efficientnet_b0", (16, 16, 3), 2)
    params = arbitrary_params(network)
    x = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)
    train = jax.jit(network.train)
    key = jax.random.key(0)
    outputs, moved = train(params, x, key)
    again, _ = train(params, x, key)
    other, _ = train(params, x, jax.random.key(1))
    np.testing.assert_array_equal(outputs["logits"], again["logits"])
    assert not np.allclose(outputs["logits"], other["logits"])  # dropout of the head, stochastic depth
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), params, moved)
    assert changed == jax.tree.map(lambda trained: not trained, network.trainable)
    apply = jax.jit(network.apply)
    applied = apply(params, x)["features"]
    assert not np.allclose(applied, outputs["features"])
    # running statistics: an image's features don't depend on its neighbours
    np.testing.assert_allclose(apply(params, x[[1, 1, 1, 1]])["features"][0], applied[1], rtol=1e-4)


@pytest.mark.usefixtures("short")
def test_stochastic_depth_rises_from_block_to_block():
    network = nnx.eval_shape(lambda: efficientnet.EfficientNet((8, 8, 1), 2, drop_connect=0.6, rngs=nnx.Rngs(0)))
    total = len(network.names)
    assert total > 1
    rates = [getattr(network, name).drop.rate for name in network.names]
    np.testing.assert_allclose(rates, 0.6 * np.arange(total) / total)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_stochastic_depth_drops_whole_images():
    """With all but the last residual sure to survive: an image's features are one of two, by a coin of its own."""
    network = models.make("efficientnet_lite0", (8, 8, 1), 2, drop_connect=0.75, dropout=0.0)
    x = np.repeat(np.random.default_rng(0).uniform(size=(1, 8, 8, 1)).astype(np.float32), 64, 0)
    features, _ = jax.jit(network.train)(arbitrary_params(network), x, jax.random.key(0))
    kinds = np.unique(np.round(features["features"], 3), axis=0)
    assert len(kinds) == 2


@pytest.mark.slow
def test_padding_and_epsilon_follow_the_library_of_the_weights(monkeypatch):
    monkeypatch.setattr(efficientnet, "STAGES", (efficientnet.Stage(1, 5, 2, 2, 12),))
    shape = (16, 16, 3)
    networks = [
        models.make("efficientnet_lite0", shape, 2, symmetric=symmetric, epsilon=epsilon)
        for symmetric, epsilon in ((False, 1e-3), (True, 1e-3), (False, 1e-1))
    ]
    params = arbitrary_params(networks[0])
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    same, symmetric, epsilon = (jax.jit(n.apply)(params, x)["features"] for n in networks)
    assert not np.allclose(same, symmetric, rtol=1e-3)
    assert not np.allclose(same, epsilon, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_no_convolution_is_left_to_xla_on_cpu():
    network = models.make("efficientnet_b0", (28, 28, 1), 3, side_px=32)
    params = jax.eval_shape(network.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), np.float32)
    loss = jax.jit(jax.grad(lambda p, x: network.apply(p, x)["logits"].sum()))
    traced = loss.trace(params, images)
    assert "stablehlo.convolution" not in traced.lower(lowering_platforms=("cpu",)).as_text()
    assert "feature_group_count" in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding"),
    [
        ((7, 6), (3, 3), (1, 1), "SAME"),
        ((8, 9), (5, 5), (2, 2), ((2, 2), (2, 2))),
        ((9, 4), (2, 4), (3, 1), ((2, 3), (4, 1))),
    ],
)
def test_depthwise_convolution_is_that_of_xla(size, kernel, strides, padding):
    n, channels = 2, 3
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, *size, channels)).astype(np.float32)
    w = rng.normal(size=(*kernel, 1, channels)).astype(np.float32)

    def value_and_gradients(convolution, x, w):
        y, pull = jax.vjp(
            lambda x, w: convolution(
                x,
                w,
                strides,
                padding,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=channels,
            ),
            x,
            w,
        )
        return y, *pull(jnp.sin(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape))

    ours, xla = jax.jit(
        lambda x, w: (
            value_and_gradients(nn.conv_general_dilated, x, w),
            value_and_gradients(lax.conv_general_dilated, x, w),
        )
    )(x, w)
    for a, b in zip(ours, xla, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(np.abs(b).max(), 1e-30))


def test_depthwise_convolution_in_a_narrow_type_is_that_of_rounded_operands():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 6, 6, 4)).astype(np.float32), rng.normal(size=(3, 3, 1, 4)).astype(np.float32)
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": 4}
    ours = nn.conv_general_dilated(x, w, (1, 1), "SAME", compute=jnp.bfloat16, **options)
    rounded = [np.asarray(jnp.asarray(a, jnp.bfloat16), np.float32) for a in (x, w)]
    np.testing.assert_allclose(
        ours, lax.conv_general_dilated(*rounded, (1, 1), "SAME", **options), rtol=1e-5, atol=1e-5
    )
