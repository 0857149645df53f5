"""The dual-discriminator GAN: its networks' sizes, its masks, and who learns from which loss."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from adjax import models
from adjax.losses.abc import abc
from adjax.losses.patch import patch
from adjax.losses.ssim import ssim
from adjax.methods.gan import HPARAMS, gan
from adjax.models._discriminator import Discriminator
from adjax.models._norm import norm
from adjax.models.unet import UNet, enlarged

SHAPE, STEPS = (28, 28, 1), 50
GENERATOR = ("reconstruction", "patch", "latent", "ssim", "adversarial", "anomaly_adversarial", "abc")
OTHER = {"share": 1.0, "adversarial": "cross_entropy"}
JUDGES = ("discriminator_normal", "discriminator_anomaly")


class Mirror(nnx.Module):
    """A generator that compiles in a fraction of the U-Net's time: what the method makes of one is under test."""

    def __init__(self, rngs: nnx.Rngs):
        self.encode = nnx.Linear(32 * 32, 8, rngs=rngs)
        self.decode = nnx.Linear(8, 32 * 32, rngs=rngs)

    def __call__(self, images):
        latent = jnp.tanh(self.encode(images.reshape(len(images), -1)))
        reconstruction = jnp.tanh(self.decode(latent)).reshape(images.shape)
        return {"latent": latent, "features": latent, "reconstruction": reconstruction}


GENERATORS = {"mirror": Mirror, "u-net": lambda rngs: UNet(SHAPE, width=2, norm="group", rngs=rngs)}


@lru_cache
def network(generator="mirror"):
    return models.network(GENERATORS[generator])


@lru_cache
def judge():
    return models.network(lambda rngs: Discriminator((32, 32, 1), width=2, norm="group", rngs=rngs))


@lru_cache
def method(generator, **options):
    return gan(network(generator), SHAPE, steps=STEPS, **{"width": 2, "norm": "group", "optimizer": "adam", **options})


@lru_cache
def stepper(generator, **options):
    return jax.jit(method(generator, **options).step)


def drawn(like, seed):
    """Weights as an initialisation draws them, without compiling one."""
    rng = np.random.default_rng(seed)

    def draw(path, x):
        scale = "scale" in jax.tree_util.keystr(path)
        return rng.normal(1 if scale else 0, 0.02, x.shape).astype(x.dtype)

    return jax.tree_util.tree_map_with_path(draw, like)


@lru_cache
def start(generator="mirror", **options):
    """An initial state with the default weights of the losses; `weighed` chooses others."""
    hparams = {k: np.float32(v) for k, v in HPARAMS.items()}
    like = jax.eval_shape(method(generator, **options).init, jax.random.key(0), hparams)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    judges = {kind: drawn(judge, i) for i, (kind, judge) in enumerate(like["discriminators"].items())}
    return {**state, "params": drawn(like["params"], 2), "discriminators": judges, "hparams": hparams}


def weighed(state, **weights):
    """The state with these weights of the losses and all others 0."""
    hparams = {k: np.float32(weights.get(k[2:], 0)) if k.startswith("w_") else v for k, v in state["hparams"].items()}
    return {**state, "hparams": hparams}


def batch(labels=(0, 1, 0, 1), seed=0):
    images = np.random.default_rng(seed).uniform(-1, 1, (len(labels), *SHAPE))
    return {"images": np.float32(images), "labels": np.asarray(labels, np.int32)}


def step(state, b, generator="mirror", **options):
    return stepper(generator, **options)(state, b, jax.random.key(0))


def gradients(state, b, **options):
    """(generator's, {kind: discriminator's}, metrics): Adam's first moment is half of the gradient after one step."""
    after, metrics = step(state, b, **options)
    moments = after["optimizer"]
    twice = {name: jax.tree.map(lambda mu: 2 * np.asarray(mu), each.mu) for name, each in moments.items()}
    return twice.pop("network"), twice, metrics


def largest(tree) -> float:
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def close(a, b, rtol=1e-4):
    """Equal but for rounding, leaf by leaf, against the largest of all entries."""
    size = max(largest(b), 1e-12)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, rtol * size), a, b)


def size(module) -> int:
    state = nnx.eval_shape(lambda: nnx.state(module(nnx.Rngs(0)), nnx.Param))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))


def test_parameters_are_as_many_as_published():
    convolutions = 16 * (64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 256 + 512 * 128 + 256 * 64 + 128)
    assert size(lambda rngs: UNet((32, 32, 1), norm="instance", rngs=rngs)) == convolutions + 2 * (896 + 448)
    assert round(convolutions / 1e6, 2) == 6.16
    convolutions = 16 * (64 + 64 * 128 + 128 * 256 + 256 * 256 + 256)
    assert size(lambda rngs: Discriminator((32, 32, 1), norm="instance", rngs=rngs)) == convolutions + 2 * 640
    assert round(convolutions / 1e6, 2) == 1.71


def test_weights_are_drawn_as_published():
    network = models.network(lambda rngs: UNet((32, 32, 1), width=16, norm="instance", rngs=rngs))

    @jax.jit  # compiles the draws of these alone
    def some(key):
        weights = network.init(key)
        kernels = weights["down3"]["conv"]["kernel"], weights["up2"]["kernel"]
        return kernels, jnp.concatenate([weights[f"norm{i}"]["scale"] for i in (1, 2, 3)])

    kernels, scales = jax.device_get(some(jax.random.key(0)))
    for kernel in kernels:
        assert abs(kernel.std() - 0.02) < 0.001
    assert abs(scales.mean() - 1) < 0.01
    assert 0.01 < scales.std() < 0.03


def test_the_generator_keeps_shape_and_range():
    """And operands rounded to a narrow type give nearly the same."""
    weights, x = start("u-net")["params"]["network"], batch()["images"]
    narrow = models.network(lambda rngs: UNet(SHAPE, width=2, norm="group", compute="bfloat16", rngs=rngs))
    exact, near = jax.jit(lambda weights, x: [n.apply(weights, x) for n in (network("u-net"), narrow)])(weights, x)
    assert {k: v.shape for k, v in exact.items()} == {
        "latent": (4, 2, 2, 16),
        "features": (4, 64),
        "reconstruction": (4, 32, 32, 1),
    }
    exact, near = (np.asarray(said["reconstruction"]) for said in (exact, near))
    assert np.abs(exact).max() <= 1
    assert 0 < np.abs(exact - near).max() < 0.02


@pytest.mark.parametrize("kind", ["instance", "group"])
def test_norms_are_those_of_flax(kind):
    @jax.jit
    def both(x):
        ours = norm(kind, 32, rngs=nnx.Rngs(0))
        theirs = nnx.GroupNorm(32, num_groups=32 if kind == "instance" else 2, epsilon=1e-5, rngs=nnx.Rngs(0))
        theirs.scale[...] = ours.scale[...]
        return ours(x), theirs(x)

    x = np.random.default_rng(0).normal(1, 2, (2, 4, 3, 32)).astype(np.float32)
    np.testing.assert_allclose(*both(x), rtol=1e-4, atol=1e-5)


ADVERSARIAL = {  # (logits) -> mean of what they lack to the target
    "least_squares": (lambda z: np.mean((z - 1) ** 2), lambda z: np.mean(z**2)),
    "cross_entropy": (lambda z: np.mean(np.log1p(np.exp(-z))), lambda z: np.mean(np.log1p(np.exp(z)))),
}


@lru_cache
def looked_up(generator="mirror"):
    """A compiled function of (state, images): what the definitions are made of, image by image."""

    @jax.jit
    def look(state, images):
        x, weights = enlarged(images), state["params"]["network"]
        said = network(generator).apply(weights, x)
        y = said["reconstruction"]
        drift = jnp.abs(said["latent"] - network(generator).apply(weights, y)["latent"])
        d = jnp.abs(x - y).mean((1, 2, 3))
        terms = {
            "reconstruction": d,
            "patch": patch(x, y),
            "latent": drift.reshape(len(x), -1).mean(-1),
            "ssim": 1 - ssim(x, y, data_range=2.0),
            "abc": abc(d),
        }
        return terms, (x, y)

    return look


@pytest.mark.parametrize(
    ("generator", "options"),
    [("mirror", {}), *(pytest.param(*each, marks=pytest.mark.slow) for each in (("mirror", OTHER), ("u-net", {})))],
    ids=["least_squares", "cross_entropy", "u-net"],
)
def test_every_term_is_what_the_paper_says(generator, options):
    """Against the definitions, kind by kind, from the generator's and the discriminators' own outputs."""
    state, b = start(generator), batch((0, 1, 0, 1))
    metrics = step(state, b, generator, **options)[1]
    terms, (x, y) = jax.device_get(looked_up(generator)(state, b["images"]))
    says = jax.jit(judge().apply)
    kinds = {"normal": np.array([0, 2]), "anomaly": np.array([1, 3])}
    real, fake = (
        {k: np.float64(says(w, images)["logits"])[kinds[k]] for k, w in state["discriminators"].items()}
        for images in (x, y)
    )
    one, zero = ADVERSARIAL[options.get("adversarial", "least_squares")]
    means = {k: v[kinds["anomaly" if k == "abc" else "normal"]].mean() for k, v in terms.items()}
    expected = {
        **means,
        "adversarial": one(fake["normal"]),
        "anomaly_adversarial": zero(fake["anomaly"]),
        "discriminator_normal": one(real["normal"]) + zero(fake["normal"]),
        "discriminator_anomaly": one(real["anomaly"]) + zero(fake["anomaly"]),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-3, atol=1e-6, err_msg=name)
    total = sum(HPARAMS[f"w_{name}"] * metrics[name] for name in GENERATOR)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)


@pytest.mark.parametrize("name", GENERATOR)
def test_each_generator_loss_moves_the_generator_alone(name):
    generator, judges, metrics = gradients(weighed(start(), **{name: 1.0}), batch())
    assert largest(generator) > 1e-6
    assert largest(judges) == 0
    np.testing.assert_allclose(metrics["loss"], metrics[name], rtol=1e-6)


def test_the_gradient_goes_every_way_that_a_weight_counts():
    """Through both passes of the encoder and both inputs of the drift, and through the terms of either kind at once."""
    state, b = start(), batch()
    normal, anomaly = np.array([0, 2]), np.array([1, 3])

    def loss(weights):
        x = enlarged(b["images"])
        said = network().train(weights, x, jax.random.key(0))[0]
        y = said["reconstruction"]
        again = network().train(weights, y, jax.random.key(0))[0]
        return {
            "latent": jnp.abs(said["latent"] - again["latent"])[normal].mean(),
            "abc": abc(jnp.abs(x - y).mean((1, 2, 3)))[anomaly].mean(),
        }

    share = {"latent": 1.0, "abc": 0.05}
    whole = jax.jit(jax.grad(lambda w: sum(share[name] * term for name, term in loss(w).items())))
    generator, _, _ = gradients(weighed(state, **share), b)
    close(generator, whole(state["params"]["network"]))


@jax.jit
@jax.grad
def slope_of_squares(weights, x, y):
    real, fake = judge().apply(weights, jnp.concatenate([x, y]))["logits"].reshape(2, -1)
    return (jnp.square(real - 1) + jnp.square(fake)).mean()


@pytest.mark.parametrize("name", JUDGES)
def test_each_discriminator_loss_moves_its_discriminator_alone(name):
    """Through what it says of true images and of made ones."""
    state, b = start(), batch()
    kind, rows = name.removeprefix("discriminator_"), slice(int(name.endswith("anomaly")), None, 2)
    x, y = looked_up()(state, b["images"])[1]
    generator, judges, _ = gradients(weighed(state, **{name: 1.0}), b)
    assert largest(generator) == 0
    close(judges.pop(kind), slope_of_squares(state["discriminators"][kind], *(np.asarray(i)[rows] for i in (x, y))))
    assert largest(judges) == 0


@pytest.mark.parametrize("labels", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_a_batch_of_one_kind_is_judged_by_what_it_has(labels):
    after, metrics = jax.device_get(step(start(), batch(labels)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, metrics)))
    there, absent = ("normal", "anomaly") if labels[0] == 0 else ("anomaly", "normal")
    assert metrics[f"discriminator_{there}"] > 0
    assert metrics[f"discriminator_{absent}"] == 0
    assert metrics["abc"] == 0 or metrics["reconstruction"] == 0
    assert metrics["abc"] > 0 or metrics["reconstruction"] > 0


def test_images_of_one_kind_dont_touch_the_losses_of_the_other():
    b, other = batch((0, 1, 0, 1)), batch((0, 1, 0, 1), seed=1)
    mixed = {**b, "images": np.concatenate([b["images"][::2], other["images"][1::2]])[[0, 2, 1, 3]]}
    one, two = (step(start(), each)[1] for each in (b, mixed))
    for name in ("reconstruction", "patch", "latent", "ssim", "adversarial", "discriminator_normal"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, err_msg=name)
    assert one["abc"] != two["abc"]


@pytest.mark.slow  # a further step to compile; the contract suite trains with a share of one
def test_a_share_of_one_judges_all():
    """At ½ the third normal image is one too many for half a batch of 4."""
    b = batch((0, 0, 0, 1))
    half, whole = step(start(), b)[1], step(start(), b, **OTHER)[1]
    for name in ("reconstruction", "patch", "abc"):
        np.testing.assert_allclose(half[name], whole[name], rtol=1e-5)
    assert abs(half["latent"] - whole["latent"]) > 1e-7


@pytest.mark.parametrize(
    ("options", "seen"), [({}, 2), pytest.param({"share": 0.01}, 1, marks=pytest.mark.slow)], ids=["half", "least"]
)
def test_a_mean_is_over_the_images_that_a_discriminator_sees(options, seen):
    """Two of the three normal ones, where half of a batch of 4 is seen; and at least one."""
    state, b = start(), batch((0, 0, 0, 1))
    x, y = looked_up()(state, b["images"])[1]
    says, weights = jax.jit(judge().apply), state["discriminators"]["normal"]
    real, fake = (np.float64(says(weights, images)["logits"])[:seen] for images in (x, y))
    one, zero = ADVERSARIAL["least_squares"]
    metrics = step(state, b, **options)[1]
    np.testing.assert_allclose(metrics["discriminator_normal"], one(real) + zero(fake), rtol=1e-3)
    np.testing.assert_allclose(metrics["adversarial"], one(fake), rtol=1e-3)


@pytest.mark.parametrize("label", [0, 1])
def test_a_discriminator_without_an_image_of_its_kind_stays_as_it_is(label):
    before, b = start(), batch((label,) * 4)
    after, metrics = step(before, b)
    there, gone = ("normal", "anomaly") if label == 0 else ("anomaly", "normal")

    def of(state, kind):
        return state["discriminators"][kind], state["optimizer"][kind]

    jax.tree.map(np.testing.assert_array_equal, of(after, gone), of(before, gone))
    assert int(after["optimizer"][there].count) == 1
    assert float(metrics[f"discriminator_{gone}"]) == 0 < float(metrics[f"discriminator_{there}"])
    assert (float(metrics["abc"]) > 0) == (label == 1) != (float(metrics["reconstruction"]) > 0)


@pytest.mark.slow  # the contract suite has all other methods on two devices
def test_devices_that_share_a_batch_find_its_gradients():
    """Two of two images each, of unlike kinds, against one of four; each sees all of its share."""
    b = batch((0, 0, 0, 1))
    alone, metrics = stepper("mirror", **OTHER)(start(), b, jax.random.key(0))
    halves = {k: x.reshape(2, 2, *x.shape[1:]) for k, x in b.items()}
    step = method("mirror", **OTHER).step
    shared = jax.vmap(lambda b: step(start(), b, jax.random.key(0), axis_name="data"), axis_name="data")
    after, found = jax.tree.map(lambda x: x[1], jax.device_get(jax.jit(shared)(halves)))
    close(found, metrics)
    for part in ("network", "normal", "anomaly"):
        close(after["optimizer"][part].mu, alone["optimizer"][part].mu)


def test_muon_moves_kernels_of_the_generator_alike_and_all_else_as_adam_does():
    names = "muon", "adam"
    state, _ = starts = [start("u-net", optimizer=name) for name in names]
    with_muon, with_adam = (
        step(one, batch(), "u-net", optimizer=name) for one, name in zip(starts, names, strict=True)
    )
    close(with_muon[1], with_adam[1])
    (muon, adam), kernels = (each["discriminators"] for each, _ in (with_muon, with_adam)), 0
    close(muon, adam)
    moments = with_muon[0]["optimizer"]["network"].inner_states["other"].inner_state.mu
    others = [mu for mu in jax.tree.leaves(with_adam[0]["optimizer"]["network"].mu) if mu.ndim < 4]
    for mu, expected in zip(jax.tree.leaves(moments), others, strict=True):
        np.testing.assert_allclose(mu, expected, rtol=1e-3, atol=1e-8)
    rate = HPARAMS["learning_rate"]
    before, muon, adam = (each["params"]["network"] for each in (state, with_muon[0], with_adam[0]))
    for w, moved, plain in zip(*map(jax.tree.leaves, (before, muon, adam)), strict=True):
        if w.ndim < 4:
            np.testing.assert_allclose(moved, plain, rtol=1e-5)
            continue
        values = np.linalg.svd(np.asarray(w - moved).reshape(-1, w.shape[-1]), compute_uv=False)
        size = 0.2 * rate * max(np.prod(w.shape[:-1]), w.shape[-1]) ** 0.5
        assert values.max() < 1.3 * size
        kernels += values.min() > 0.6 * size
    assert kernels >= 6  # of eight: a gradient may leave a direction out


def test_normal_images_come_to_score_lower():
    state = weighed(start(), reconstruction=1.0, abc=0.5)
    state["hparams"]["learning_rate"] = np.float32(0.02)
    rng = np.random.default_rng(0)

    def draw():
        b = batch((0, 1, 0, 1), seed=rng.integers(1 << 30))
        images = b["images"] * np.float32(0.05) - np.float32(0.95)
        images[1::2, 4:24, 4:24] += 1.5 * rng.uniform(0, 1, (2, 20, 20, 1))
        return {**b, "images": images}

    for i in range(STEPS):
        state, _ = stepper("mirror")(state, draw(), jax.random.key(i))
    said = jax.jit(method("mirror").outputs)(state["params"], draw()["images"])
    assert said["score"][1::2].min() > 1.5 * said["score"][::2].max()
    assert said["reconstruction"].shape == (4, *SHAPE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "0 steps"),
        ({"share": 0.0}, "share 0.0 of a batch"),
        ({"adversarial": "hinge"}, "'hinge': must be one of least_squares, cross_entropy"),
        ({"norm": "layer"}, "'layer': must be one of instance"),
        ({"width": 0}, "width 0"),
        ({"optimizer": "adamw"}, "optimizer 'adamw': choose muon or adam"),
    ],
)
def test_the_gan_refuses_by_value_and_limit(options, message):
    with pytest.raises(ValueError, match=message):
        gan(network(), SHAPE, **{"steps": STEPS, **options})


def test_the_u_net_refuses_images_it_would_halve_to_nothing():
    with pytest.raises(ValueError, match="at least 17 px"):
        models.network(lambda rngs: UNet((16, 16, 1), rngs=rngs))
