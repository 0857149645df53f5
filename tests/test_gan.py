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
from adjax.models.discriminator import Discriminator
from adjax.models.norm import norm
from adjax.models.unet import UNet, enlarged

SHAPE, STEPS = (28, 28, 1), 50
GENERATOR = ("reconstruction", "patch", "latent", "ssim", "adversarial", "anomaly_adversarial", "abc")
OTHER = {"share": 1.0, "adversarial": "cross_entropy"}
JUDGES = ("discriminator_normal", "discriminator_anomaly")


@lru_cache
def network(norm="group"):
    return models.network(lambda rngs: UNet(SHAPE, width=2, norm=norm, rngs=rngs))


@lru_cache
def judge():
    return models.network(lambda rngs: Discriminator((32, 32, 1), width=2, norm="group", rngs=rngs))


@lru_cache
def method(**options):
    return gan(network(), SHAPE, steps=STEPS, **{"width": 2, "norm": "group", **options})


@lru_cache
def stepper(**options):
    return jax.jit(method(**options).step)


@lru_cache
def start(seed=0):
    """The initial state with the default weights of the losses; `weighed` chooses others."""
    return jax.jit(method().init)(jax.random.key(seed), {k: jnp.float32(v) for k, v in HPARAMS.items()})


def weighed(state, **weights):
    """The state with these weights of the losses and all others 0."""
    hparams = {k: jnp.float32(weights.get(k[2:], 0)) if k.startswith("w_") else v for k, v in state["hparams"].items()}
    return {**state, "hparams": hparams}


def batch(labels=(0, 1, 0, 1), seed=0):
    images = np.random.default_rng(seed).uniform(-1, 1, (len(labels), *SHAPE))
    return {"images": jnp.float32(images), "labels": jnp.asarray(labels, jnp.int32)}


def step(state, b, **options):
    return stepper(**options)(state, b, jax.random.key(0))


def gradients(state, b, **options):
    """(generator's, {kind: discriminator's}, metrics): Adam's first moment is half of the gradient after one step."""
    after, metrics = step(state, b, **options)
    moments = after["optimizer"]
    twice = {name: jax.tree.map(lambda mu: 2 * mu, each.mu) for name, each in moments.items()}
    return twice.pop("network"), twice, metrics


def largest(tree) -> float:
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


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


def scaled(name, layer):
    """The norms of a layer of the U-Net."""
    return [layer] if name.startswith("norm") else [layer["norm"]] if layer.get("norm") else []


def test_weights_are_drawn_as_published():
    weights = models.network(lambda rngs: UNet((32, 32, 1), width=16, norm="instance", rngs=rngs)).init(
        jax.random.key(0)
    )
    for kernel in (weights["down3"]["conv"]["kernel"], weights["up2"]["kernel"]):
        assert abs(kernel.std() - 0.02) < 0.001
    scales = jnp.concatenate([weights[f"norm{i}"]["scale"] for i in (1, 2, 3)])
    assert abs(scales.mean() - 1) < 0.01
    assert 0.01 < scales.std() < 0.03


def test_the_generator_keeps_shape_and_range():
    outputs = jax.jit(network().apply)(start()["params"]["network"], batch()["images"])
    assert {k: v.shape for k, v in outputs.items()} == {
        "latent": (4, 2, 2, 16),
        "features": (4, 64),
        "reconstruction": (4, 32, 32, 1),
    }
    assert jnp.abs(outputs["reconstruction"]).max() <= 1


@pytest.mark.parametrize("kind", ["instance", "group"])
def test_norms_are_those_of_flax(kind):
    x = jnp.float32(np.random.default_rng(0).normal(1, 2, (2, 4, 3, 32)))
    ours = norm(kind, 32, rngs=nnx.Rngs(0))
    theirs = nnx.GroupNorm(32, num_groups=32 if kind == "instance" else 2, epsilon=1e-5, rngs=nnx.Rngs(0))
    theirs.scale[...] = ours.scale[...]
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


ADVERSARIAL = {  # (logits) -> mean of what they lack to the target
    "least_squares": (lambda z: np.mean((z - 1) ** 2), lambda z: np.mean(z**2)),
    "cross_entropy": (lambda z: np.mean(np.log1p(np.exp(-z))), lambda z: np.mean(np.log1p(np.exp(z)))),
}


@pytest.mark.parametrize("options", [{}, OTHER], ids=["least_squares", "cross_entropy"])
def test_every_term_is_what_the_paper_says(options):
    """Against the definitions, kind by kind, from the generator's and the discriminators' own outputs."""
    state, b = start(), batch((0, 1, 0, 1))
    metrics = step(state, b, **options)[1]
    x, weights = enlarged(b["images"]), state["params"]["network"]
    generate = jax.jit(network().apply)
    said = generate(weights, x)
    y = said["reconstruction"]
    again = generate(weights, y)
    says = jax.jit(judge().apply)
    kinds = {"normal": np.array([0, 2]), "anomaly": np.array([1, 3])}
    real, fake = (
        {k: np.float64(says(w, images)["logits"])[kinds[k]] for k, w in state["discriminators"].items()}
        for images in (x, y)
    )
    one, zero = ADVERSARIAL[options.get("adversarial", "least_squares")]
    normal, anomaly = kinds.values()
    d = jnp.abs(x - y).mean((1, 2, 3))
    expected = {
        "reconstruction": d[normal].mean(),
        "patch": patch(x, y)[normal].mean(),
        "latent": jnp.abs(said["latent"] - again["latent"])[normal].mean(),
        "ssim": 1 - ssim(x, y, data_range=2.0)[normal].mean(),
        "adversarial": one(fake["normal"]),
        "anomaly_adversarial": zero(fake["anomaly"]),
        "abc": abc(d)[anomaly].mean(),
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
    x, normal, anomaly = enlarged(b["images"]), jnp.array([0, 2]), jnp.array([1, 3])

    def loss(weights):
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


@pytest.mark.parametrize("name", JUDGES)
def test_each_discriminator_loss_moves_its_discriminator_alone(name):
    """Through what it says of true images and of made ones."""
    state, b = start(), batch()
    kind, rows = name.removeprefix("discriminator_"), slice(int(name.endswith("anomaly")), None, 2)
    x = enlarged(b["images"])
    y = jax.jit(network().apply)(state["params"]["network"], x)["reconstruction"]

    def loss(weights):
        real, fake = (judge().apply(weights, images[rows])["logits"] for images in (x, y))
        return (jnp.square(real - 1) + jnp.square(fake)).mean()

    generator, judges, _ = gradients(weighed(state, **{name: 1.0}), b)
    assert largest(generator) == 0
    close(judges.pop(kind), jax.jit(jax.grad(loss))(state["discriminators"][kind]))
    assert largest(judges) == 0


@pytest.mark.parametrize("labels", [(0, 0, 0, 0), (1, 1, 1, 1)])
def test_a_batch_of_one_kind_is_judged_by_what_it_has(labels):
    after, metrics = step(start(), batch(labels))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((after, metrics)))
    there, absent = ("normal", "anomaly") if labels[0] == 0 else ("anomaly", "normal")
    assert metrics[f"discriminator_{there}"] > 0
    assert metrics[f"discriminator_{absent}"] == 0
    assert metrics["abc"] == 0 or metrics["reconstruction"] == 0
    assert metrics["abc"] > 0 or metrics["reconstruction"] > 0


def test_images_of_one_kind_dont_touch_the_losses_of_the_other():
    b, other = batch((0, 1, 0, 1)), batch((0, 1, 0, 1), seed=1)
    mixed = {**b, "images": b["images"].at[jnp.array([1, 3])].set(other["images"][jnp.array([1, 3])])}
    one, two = (step(start(), each)[1] for each in (b, mixed))
    for name in ("reconstruction", "patch", "latent", "ssim", "adversarial", "discriminator_normal"):
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5, err_msg=name)
    assert one["abc"] != two["abc"]


def test_a_share_of_one_judges_all():
    """At ½ the third normal image is one too many for half a batch of 4."""
    b = batch((0, 0, 0, 1))
    half, whole = step(start(), b)[1], step(start(), b, **OTHER)[1]
    for name in ("reconstruction", "patch", "abc"):
        np.testing.assert_allclose(half[name], whole[name], rtol=1e-5)
    assert abs(half["latent"] - whole["latent"]) > 1e-7


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


@pytest.mark.slow  # the contract suite trains it on two devices, too
def test_devices_that_share_a_batch_find_its_gradients():
    """Two of two images each, of unlike kinds, against one of four; each sees all of its share."""
    b = batch((0, 0, 0, 1))
    alone, metrics = stepper(**OTHER)(start(), b, jax.random.key(0))
    halves = jax.tree.map(lambda x: x.reshape(2, 2, *x.shape[1:]), b)
    shared = jax.vmap(lambda b: method(**OTHER).step(start(), b, jax.random.key(0), axis_name="data"), axis_name="data")
    after, found = jax.tree.map(lambda x: x[1], jax.jit(shared)(halves))
    close(found, metrics)
    for part in ("network", "normal", "anomaly"):
        close(after["optimizer"][part].mu, alone["optimizer"][part].mu)


def test_normal_images_come_to_score_lower():
    state = weighed(start(), reconstruction=1.0, abc=0.5)
    state["hparams"]["learning_rate"] = jnp.float32(0.02)
    rng = np.random.default_rng(0)

    def draw():
        b = batch((0, 1, 0, 1), seed=rng.integers(1 << 30))
        images = b["images"] * 0.05 - 0.95
        return {**b, "images": images.at[1::2, 4:24, 4:24].add(1.5 * rng.uniform(0, 1, (2, 20, 20, 1)))}

    for i in range(STEPS):
        state, _ = stepper()(state, draw(), jax.random.key(i))
    said = jax.jit(method().outputs)(state["params"], draw()["images"])
    assert said["score"][1::2].min() > 1.5 * said["score"][::2].max()
    assert said["reconstruction"].shape == (4, *SHAPE)


def test_a_narrow_generator_is_near_the_exact_one():
    weights, x = start()["params"]["network"], batch()["images"]
    narrow = models.network(lambda rngs: UNet(SHAPE, width=2, norm="group", compute="bfloat16", rngs=rngs))
    exact, near = (jax.jit(n.apply)(weights, x)["reconstruction"] for n in (network(), narrow))
    assert 0 < jnp.abs(exact - near).max() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "0 steps"),
        ({"share": 0.0}, "share 0.0 of a batch"),
        ({"adversarial": "hinge"}, "'hinge': must be one of least_squares, cross_entropy"),
        ({"norm": "layer"}, "'layer': must be one of instance"),
        ({"width": 0}, "width 0"),
    ],
)
def test_the_gan_refuses_by_value_and_limit(options, message):
    with pytest.raises(ValueError, match=message):
        gan(network(), SHAPE, **{"steps": STEPS, **options})


def test_the_u_net_refuses_images_it_would_halve_to_nothing():
    with pytest.raises(ValueError, match="at least 17 px"):
        models.network(lambda rngs: UNet((16, 16, 1), rngs=rngs))
