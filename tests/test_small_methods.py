"""What autoencoder, classifier, regressor, Deep SVDD and random scores compute, against NumPy in float64."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from optax import contrib
from training import SHAPE

from adjax import models
from adjax.losses.blur import blur
from adjax.losses.ssim import ssim
from adjax.methods import METHODS
from adjax.methods._contrast import contrast_normalised
from adjax.methods._muon import count, muon_or_adam, orthogonal
from adjax.methods._optimizer import adamw, muon
from adjax.methods.classifier import class_weights
from adjax.methods.regressor import r2

RNG = np.random.default_rng(0)
SIDE = (12, 12, 1)
IMAGES = RNG.uniform(0.05, 0.95, (16, *SIDE)).astype(np.float32)
LABELS = np.asarray(np.arange(16) % 3 == 0, np.int32)


class Straight(nnx.Module):
    """One linear layer a name, so that NumPy can repeat it in one line each."""

    def __init__(self, rngs: nnx.Rngs):
        self.encode = nnx.Linear(144, 6, rngs=rngs)
        self.decode = nnx.Linear(6, 144, rngs=rngs)
        self.head = nnx.Linear(6, 1, rngs=rngs)

    def __call__(self, images):
        features = self.encode(images.reshape(len(images), -1))
        reconstruction = nnx.sigmoid(self.decode(features)).reshape(images.shape)
        return {"features": features, "logits": self.head(features), "reconstruction": reconstruction}


@lru_cache
def network():
    return models.network(Straight)


@lru_cache
def method(name: str, **options):
    return METHODS[name](network(), SIDE, 1, **{"steps": 100, "warmup_steps": 0, **options})


def drawn(like, seed=0):
    """Weights without compiling an initialisation."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), like)


def state_of(method, seed=0, **hparams):
    """An initial state whose weights are drawn by NumPy; everything else is zeros, as `init` makes it."""
    values = {**method.hparams, **hparams}
    hparams = {k: np.float32(v) for k, v in values.items()}
    state = jax.tree.map(
        lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(method.init, jax.random.key(seed), hparams)
    )
    params = {**state["params"], "network": drawn(state["params"]["network"], seed)}
    return {**state, "params": params, "hparams": hparams}


def forward(weights, x):
    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    features = dense(x.reshape(len(x), -1), weights["encode"])
    return features, dense(features, weights["head"])[:, 0], 1 / (1 + np.exp(-dense(features, weights["decode"])))


def float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


X, Y = float64((IMAGES, LABELS))
GAMMA = 0.5


def reconstruction_loss(kind):
    def loss(weights):
        x = X**GAMMA
        y = forward(weights, x)[2].reshape(x.shape)
        errors = {
            "mse": ((x - y) ** 2).mean(),
            "bce": -(x * np.log(y) + (1 - x) * np.log(1 - y)).mean(),
            "ssim": 1 - np.mean([similarity(a, b) for a, b in zip(x, y, strict=True)]),
        }
        return errors["mse"] + errors["ssim"] if kind == "mse+ssim" else errors[kind]

    return loss


def similarity(x, y):
    from skimage.metrics import structural_similarity

    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return structural_similarity(x, y, channel_axis=-1, **options)


def entropy_loss(weights, normal=0.6, anomalous=2.5):
    probability = 1 / (1 + np.exp(-forward(weights, X)[1]))
    own = np.where(Y == 1, probability, 1 - probability)
    return (np.where(Y == 1, anomalous, normal) * -np.log(own)).mean()


def square_loss(weights):
    return ((forward(weights, X)[1] - Y) ** 2).mean()


LOSSES = {
    "mse": ("autoencoder", {"loss": "mse"}, {}, reconstruction_loss("mse")),
    "bce": ("autoencoder", {"loss": "bce"}, {}, reconstruction_loss("bce")),
    "ssim": ("autoencoder", {"loss": "ssim"}, {}, reconstruction_loss("ssim")),
    "mse+ssim": ("autoencoder", {"loss": "mse+ssim"}, {}, reconstruction_loss("mse+ssim")),
    "weighted": ("classifier", {}, {"weight_normal": 0.6, "weight_anomalous": 2.5}, entropy_loss),
    "regression": ("regressor", {}, {}, square_loss),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_loss_and_gradient_are_those_of_float64(kind):
    """The gradient is Adam's first moment over 1 − 0.9, against central differences along random directions."""
    name, options, hparams, reference = LOSSES[kind]
    made = method(name, **options)
    state = state_of(made, **hparams)
    weights = float64(state["params"]["network"])
    after, metrics = jax.jit(made.step)(state, {"images": IMAGES, "labels": LABELS}, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], reference(weights), rtol=1e-5)
    gradient = jax.tree.map(lambda mu: np.asarray(mu, np.float64) / 0.1, after["optimizer"].mu)
    assert_slope(reference, weights, gradient)


def assert_slope(loss, weights, gradient, h=1e-6):
    rng = np.random.default_rng(1)
    leaves, tree = jax.tree.flatten(weights)
    for i, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        direction = rng.normal(size=leaf.shape)
        up, down = (
            loss(jax.tree.unflatten(tree, [*leaves[:i], leaf + s * h * direction, *leaves[i + 1 :]])) for s in (1, -1)
        )
        np.testing.assert_allclose((slope * direction).sum(), (up - down) / (2 * h), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["mse", "bce", "ssim", "mse+ssim"])
def test_an_autoencoder_scores_by_the_error_asked_for(kind):
    made = method("autoencoder", score=kind, blur_px=0.0)
    params = state_of(made)["params"]
    said = jax.jit(made.outputs)(params, IMAGES)
    one_by_one = [reconstruction_of(params, x) for x in X]
    x = X**GAMMA
    y = np.stack(one_by_one)
    errors = {
        "mse": ((x - y) ** 2).mean((1, 2, 3)),
        "bce": -(x * np.log(y) + (1 - x) * np.log(1 - y)).mean((1, 2, 3)),
        "ssim": 1 - np.array([similarity(a, b) for a, b in zip(x, y, strict=True)]),
    }
    errors["mse+ssim"] = errors["mse"] + errors["ssim"]
    np.testing.assert_allclose(said["score"], errors[kind], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(said["reconstruction"], y ** (1 / GAMMA), rtol=1e-4)  # in the images' own range


def reconstruction_of(params, x):
    return forward(float64(params["network"]), x[None] ** GAMMA)[2].reshape(x.shape)


def test_black_pixels_have_a_score_with_a_slope():
    """0 ** 0.5 has none; someone who differentiates a score by its pixels must not get NaN."""
    made = method("autoencoder")
    params = state_of(made)["params"]
    slope = jax.jit(jax.grad(lambda x: made.outputs(params, x)["score"].sum()))(np.zeros((2, *SIDE), np.float32))
    assert np.isfinite(slope).all()


def test_a_sure_and_wrong_pixel_costs_no_infinity():
    made = method("autoencoder", loss="bce", score="bce", gamma=1.0)
    params = state_of(made)["params"]
    params["network"]["decode"]["bias"] += 1e3  # all white
    assert np.isfinite(jax.jit(made.outputs)(params, np.zeros((1, *SIDE), np.float32))["score"]).all()


def test_blurred_difference_is_scipys():
    np.testing.assert_allclose(jax.jit(lambda x: blur(x, 1.0))(IMAGES), gaussian(X), atol=1e-6)
    assert blur(IMAGES, 0) is IMAGES
    with pytest.raises(ValueError, match=r"blur of -1 px: must be at least 0"):
        blur(IMAGES, -1)


@pytest.mark.parametrize(("shape", "data_range"), [((11, 11, 1), 1.0), ((28, 20, 3), 255.0)])
def test_ssim_is_that_of_scikit_image(shape, data_range):
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(2)
    x = rng.uniform(0, data_range, (4, *shape)).astype(np.float32)
    y = np.clip(x + data_range * np.array([0, 0.02, 0.2, 1])[:, None, None, None] * rng.normal(size=x.shape), 0, None)
    y = y.astype(np.float32)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": data_range}
    expected = [structural_similarity(a, b, channel_axis=-1, **options) for a, b in zip(x, y, strict=True)]
    ours = jax.jit(partial(ssim, data_range=data_range))(x, y)
    np.testing.assert_allclose(ours, expected, atol=2e-4)
    assert expected[0] == 1
    assert expected[3] < 0.5


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (((2, 12, 12, 1), (2, 12, 11, 1)), {}, r"must be the same \[N, H, W, C\]"),
        (((2, 12, 10, 1),) * 2, {}, "a window of 11 px: must be odd and at most the 10 px of a side"),
        (((2, 12, 12, 1),) * 2, {"window_px": 4}, "a window of 4 px: must be odd"),
        (((2, 12, 12, 1),) * 2, {"data_range": 0}, "data range 0, σ 1.5 px: both must be positive"),
    ],
)
def test_ssim_refuses_by_value_and_limit(shapes, options, message):
    with pytest.raises(ValueError, match=message):
        ssim(*map(np.zeros, shapes), **options)


def test_class_weights_make_both_kinds_weigh_the_same():
    weights = class_weights(5923, 504)
    assert weights["weight_normal"] == (5923 + 504) / (2 * 5923)
    assert 5923 * weights["weight_normal"] == pytest.approx(504 * weights["weight_anomalous"])
    with pytest.raises(ValueError, match="5923 normal images and 0 anomalies: class weights need at least 1 of each"):
        class_weights(5923, 0)


@pytest.mark.parametrize("logits", [1, 2])
def test_a_classifiers_score_is_the_log_odds(logits):
    class Heads(nnx.Module):
        def __init__(self, rngs):
            self.head = nnx.Linear(144, logits, rngs=rngs)

        def __call__(self, images):
            return {"logits": self.head(images.reshape(len(images), -1))}

    made = METHODS["classifier"](models.network(Heads), SIDE, 1, steps=1)
    outputs = jax.jit(made.outputs)
    said = outputs(state_of(made)["params"], IMAGES)
    z = np.asarray(said["logits"], np.float64)
    np.testing.assert_allclose(said["score"], z[:, -1] - (z[:, 0] if logits == 2 else 0), rtol=1e-5, atol=1e-6)
    if logits == 2:
        odds = np.exp(z[:, 1]) / np.exp(z).sum(1)
        np.testing.assert_allclose(said["probability"], odds, rtol=1e-5)
    far = outputs(jax.tree.map(lambda w: 100 * w, state_of(made)["params"]), IMAGES)["score"]
    assert len(np.unique(far)) == len(far)  # no ties, however sure


def test_r2_is_that_of_scikit_learn():
    from sklearn.metrics import r2_score

    predicted = np.random.default_rng(3).normal(0.4, 0.3, len(Y))
    ours = r2(jnp.float32(((predicted - Y) ** 2).mean()), jnp.float32(Y.mean()))
    np.testing.assert_allclose(ours, r2_score(Y, predicted), rtol=1e-5)
    assert r2(jnp.float32(0.1), jnp.float32(0)) == 0  # one kind alone has no variance
    made = method("regressor")
    state = state_of(made)
    _, metrics = jax.jit(made.step)(state, {"images": IMAGES, "labels": LABELS}, jax.random.key(0))
    expected = r2_score(Y, forward(float64(state["params"]["network"]), X)[1])
    np.testing.assert_allclose(metrics["r2"], expected, rtol=1e-4)


def test_deep_svdds_center_is_the_untrained_networks_mean_and_then_frozen():
    made = method("deep_svdd", center_steps=4, center_gap=0.33, gamma=1.0, blur_px=0.0)
    start = state = state_of(made)
    batches = [{"images": IMAGES[4 * i : 4 * i + 4], "labels": LABELS[:4]} for i in range(4)]
    step = jax.jit(made.step)
    for i, b in enumerate(batches):
        state, _ = step(state, b, jax.random.key(i))
        jax.tree.map(np.testing.assert_array_equal, state["params"]["network"], start["params"]["network"])
    mean = forward(float64(start["params"]["network"]), X)[0].mean(0)
    expected = np.where(np.abs(mean) < 0.33, np.where(mean < 0, -0.33, 0.33), mean)
    assert (expected != mean).any()
    np.testing.assert_allclose(state["params"]["center"], expected, rtol=1e-5, atol=1e-6)
    trained, metrics = step(state, batches[0], jax.random.key(9))
    np.testing.assert_array_equal(trained["params"]["center"], state["params"]["center"])
    features = forward(float64(start["params"]["network"]), X)[0]
    np.testing.assert_allclose(metrics["loss"], ((features[:4] - expected) ** 2).sum(1).mean(), rtol=1e-4)
    said = jax.jit(made.outputs)(state["params"], IMAGES)
    np.testing.assert_allclose(said["score"], ((features - expected) ** 2).sum(1), rtol=1e-4)

    def loss(weights):
        return ((forward(weights, X[:4])[0] - expected) ** 2).sum(1).mean()

    gradient = jax.tree.map(lambda mu: np.asarray(mu, np.float64) / 0.1, trained["optimizer"]["moments"].mu)
    assert_slope(loss, float64(start["params"]["network"]), gradient)


def test_running_statistics_move_while_deep_svdds_center_is_found():
    class Normed(nnx.Module):
        def __init__(self, rngs):
            self.norm = nnx.BatchNorm(144, momentum=0.9, rngs=rngs)
            self.encode = nnx.Linear(144, 6, rngs=rngs)

        def __call__(self, images):
            return {"features": self.encode(self.norm(images.reshape(len(images), -1)))}

    made = METHODS["deep_svdd"](models.network(Normed), SIDE, steps=100, gamma=1.0, blur_px=0.0)
    start = state_of(made)
    before = start["params"]["network"]
    state, _ = jax.jit(made.step)(start, {"images": IMAGES, "labels": LABELS}, jax.random.key(0))
    after = state["params"]["network"]
    expected = 0.9 * before["norm"]["mean"] + 0.1 * X.reshape(16, -1).mean(0)
    np.testing.assert_allclose(after["norm"]["mean"], expected, rtol=1e-5, atol=1e-7)
    jax.tree.map(np.testing.assert_array_equal, after["encode"], before["encode"])
    np.testing.assert_array_equal(after["norm"]["scale"], before["norm"]["scale"])


def test_what_deep_svdd_looks_at_is_the_blurred_root():
    plain, root = (method("deep_svdd", gamma=g, blur_px=b) for g, b in ((1.0, 0.0), (0.5, 1.0)))
    params = state_of(plain)["params"]
    seen = gaussian(X**0.5).astype(np.float32)
    expected = jax.jit(plain.outputs)(params, seen)["score"]
    np.testing.assert_allclose(jax.jit(root.outputs)(params, IMAGES)["score"], expected, rtol=1e-4)


def gaussian(images):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(images, (0, 1, 1, 0), mode="constant", truncate=3.0)


def test_contrast_normalisation_knows_no_brightness():
    normalised = jax.jit(contrast_normalised)
    x = np.asarray(normalised(IMAGES))
    np.testing.assert_allclose(x.mean((1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(np.abs(x).mean((1, 2, 3)), 1, rtol=1e-5)
    np.testing.assert_allclose(normalised(np.float32(0.3) * IMAGES + np.float32(0.2)), x, atol=1e-4)
    assert np.isfinite(normalised(np.full_like(IMAGES, 0.5))).all()


def test_random_scores_are_uniform_and_of_the_image_alone():
    from scipy.stats import kstest

    made = METHODS["random"](None, SHAPE, 1, steps=1)
    images = np.zeros((5000, *SHAPE), np.float32)
    images.reshape(5000, -1)[:, :2] = np.stack(np.divmod(np.arange(5000), 256), 1) / 255  # all but alike
    outputs = jax.jit(made.outputs)
    params = jax.jit(made.init)(jax.random.key(0), {})["params"]
    scores = np.asarray(outputs(params, images)["score"])
    assert kstest(scores, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(scores[1:], scores[:-1])[0, 1]) < 0.05
    np.testing.assert_array_equal(outputs(params, images[::-1])["score"][::-1], scores)
    other = outputs(jax.jit(made.init)(jax.random.key(1), {})["params"], images)["score"]
    assert abs(np.corrcoef(scores, other)[0, 1]) < 0.05
    flipped = outputs(params, images.swapaxes(1, 2))["score"]
    assert (flipped[1:] != scores[1:]).mean() > 0.9  # where a pixel stands counts


def test_the_optimiser_is_optaxs_adamw():
    optimizer = adamw(network(), 20, warmup_steps=2)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.01, 2, 20)
    theirs = optax.adamw(schedule, weight_decay=0.1)
    ours = expected = drawn(jax.eval_shape(network().init, jax.random.key(0)))
    mine, other = (
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(o.init, ours)) for o in (optimizer, theirs)
    )
    hparams = {"learning_rate": np.float32(0.01), "weight_decay": np.float32(0.1)}

    @jax.jit
    def both(ours, mine, expected, other, i):
        grads = jax.tree.map(lambda w: jnp.cos(7 * w + i), ours)
        updates, other = theirs.update(grads, other, expected)
        return (*optimizer.update(grads, mine, ours, hparams), optax.apply_updates(expected, updates), other)

    for i in range(5):
        ours, mine, expected, other = both(ours, mine, expected, other, np.float32(i))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, expected)


def test_muon_moves_each_hidden_matrix_along_its_singular_directions_alike():
    net = network()
    weights = drawn(jax.eval_shape(net.init, jax.random.key(0)))
    grads = jax.tree.map(lambda w: jnp.cos(7 * w), weights)
    hparams = {"learning_rate": np.float32(0.01), "weight_decay": np.float32(0.0)}
    each = {}
    for name, optimizer in (("muon", muon(net, 20, 0, classes=1)), ("adamw", adamw(net, 20, 0))):
        update, state, after = jax.jit(optimizer.update), optimizer.init(weights), weights
        for _ in range(11):  # half the way down the cosine
            before = after
            after, state = update(grads, state, before, hparams)
        each[name] = jax.tree.map(lambda w, to: np.asarray(w - to) / (0.01 * 0.5), before, after)
    found = {"hidden": 0, "others": 0}
    for w, moved, plain in zip(*map(jax.tree.leaves, (weights, each["muon"], each["adamw"])), strict=True):
        if w.ndim not in (2, 4) or w.shape[-1] == 1:  # biases, and the layer of logits
            np.testing.assert_allclose(moved, plain, rtol=1e-5, atol=1e-6)
            found["others"] += 1
            continue
        matrix, own = moved.reshape(-1, moved.shape[-1]), max(math.prod(w.shape[:-1]), w.shape[-1]) ** 0.5
        values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * own)
        assert values.min() > 0.6  # Newton–Schulz steps end near 1, and not at it
        assert values.max() < 1.3
        found["hidden"] += 1
    assert min(found.values()) >= 1


def newton_schulz(x):
    """The five steps in float64, as they are published."""
    x = np.float64(x) / np.linalg.norm(np.float64(x))
    x = x.T if x.shape[0] > x.shape[1] else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (12, 12), (300, 64), (1, 9), (9, 1)])
@pytest.mark.parametrize(("spread", "error"), [(0.0, 2e-4), (4.0, 0.02), (8.0, 0.02)])
def test_muon_brings_singular_values_where_its_steps_do(shape, spread, error):
    """Of matrices of all conditions, one of rank 1 among them; `error` is that of the largest singular value."""
    rng = np.random.default_rng(0)
    left, _, right = np.linalg.svd(rng.normal(size=shape), full_matrices=False)
    for values in (np.logspace(0, -spread, min(shape)), np.eye(1, min(shape))[0]):
        x = np.float32(left * values @ right)
        expected = newton_schulz(x)
        found = np.asarray(orthogonal(x), np.float64)
        found = found if found.shape == expected.shape else found.T
        assert np.linalg.norm(found - expected, 2) < error


def test_muon_of_narrow_gradients_is_of_float32():
    x = np.random.default_rng(0).normal(size=(64, 1)) + 1e-4 * np.random.default_rng(1).normal(size=(64, 64))
    found = orthogonal(jnp.asarray(x, jnp.bfloat16))
    assert found.dtype == jnp.float32
    assert np.linalg.norm(found, 2) < 1.3


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (5, 5, 3, 8), (4, 4, 1, 64)])
def test_muon_is_optaxs(shape):
    """Momentum, bias corrections and all, over three steps; kernels are matrices from inputs to channels."""
    theirs = contrib.scale_by_muon(
        weight_dimension_numbers=contrib.MuonDimensionNumbers(tuple(range(len(shape) - 1)), len(shape) - 1)
    )
    ours, rng = muon_or_adam(), np.random.default_rng(0)
    grads = [*(np.float32(rng.normal(size=shape)) for _ in range(2)), np.zeros(shape, np.float32)]
    mine, other = ours.init(grads[0]), theirs.init(grads[0])
    size = 0.2 * max(math.prod(shape[:-1]), shape[-1]) ** 0.5
    for grad in grads:
        (found, mine), (expected, other) = ours.update(grad, mine, grad), theirs.update(grad, other)
        np.testing.assert_allclose(found, size * expected, atol=1e-3 * size)
    np.testing.assert_array_equal(ours.update(grads[-1], ours.init(grads[-1]), grads[-1])[0], 0)


def test_what_muon_leaves_has_adam():
    ours, theirs = muon_or_adam(0.5), optax.scale_by_adam(0.5)
    mine, other = ours.init(np.zeros(3, np.float32)), theirs.init(np.zeros(3, np.float32))
    for grad in np.float32([[1, -2, 3], [4, 5, -6], [0, 1, 2]]):
        (found, mine), (expected, other) = ours.update(grad, mine), theirs.update(grad, other)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert count(mine) == 3


def test_muon_takes_convolutions_whatever_the_number_of_classes():
    """LeNet's first has six channels."""
    net = models.make("lenet5", (28, 28, 1), 6)
    state = jax.eval_shape(muon(net, 20, classes=6).init, jax.eval_shape(net.init, jax.random.key(0)))
    moments = jax.tree.leaves(state.inner_states["matrix"])
    assert sorted(x.shape for x in moments if x.ndim > 1) == [(5, 5, 1, 6), (5, 5, 6, 16), (120, 84), (400, 120)]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("autoencoder", {"loss": "l1"}, r"error 'l1': must be one of mse, bce, ssim, mse\+ssim"),
        ("autoencoder", {"gamma": 0.0}, "gamma 0.0, blur of 1.0 px: must be positive and at least 0"),
        ("autoencoder", {"blur_px": -1.0}, "gamma 0.5, blur of -1.0 px"),
        ("classifier", {"steps": 0}, "0 steps: must be at least 1"),
        ("regressor", {"warmup_steps": -2}, "-2 warm-up steps: must be at least 0"),
        ("deep_svdd", {"center_steps": 0}, "0 steps for the center: must be at least 1"),
        ("deep_svdd", {"gamma": 0.0}, "gamma 0.0, blur of 1.0 px: must be positive and at least 0"),
        ("deep_svdd", {"center_gap": -1.0}, "center gap -1.0: must be at least 0"),
    ],
)
def test_a_method_refuses_by_value_and_limit(name, options, message):
    with pytest.raises(ValueError, match=message):
        METHODS[name](network(), SIDE, 1, **{"steps": 1, **options})
