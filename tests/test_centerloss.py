"""Center loss computes what its papers say."""

from __future__ import annotations

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import CLASSES, SHAPE, STEPS, Small, digits

from adjax import models
from adjax.augment import normalise_of
from adjax.methods import METHODS
from adjax.types import Method

NETWORK = models.network(Small)

jitted = lru_cache(jax.jit)


def state_of(method: Method, **hparams):
    """An initial state whose weights and centers are drawn by NumPy: the centers of `init` are zero."""
    values = {k: np.float32(v) for k, v in {**method.hparams, **hparams}.items()}
    like, rng = jax.eval_shape(method.init, jax.random.key(0), values), np.random.default_rng(0)
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    network = jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), like["params"]["network"])
    centers = rng.normal(size=like["params"]["centers"].shape).astype(np.float32)
    return {**state, "params": {"network": network, "centers": centers}, "hparams": values}


@lru_cache
def normalised():
    images, labels = digits()
    return np.asarray(normalise_of(images)(images)), labels


def batch(size: int, first: int = 0):
    images, labels = normalised()
    return {"images": images[first : first + size], "labels": labels[first : first + size]}


def forward(weights, x):
    """The small network in NumPy, float64."""
    weights = jax.tree.map(lambda w: np.asarray(w, np.float64), weights)
    x = np.asarray(x, np.float64).reshape(len(x), -1)
    features = np.maximum(x @ weights["hidden"]["kernel"] + weights["hidden"]["bias"], 0)
    return features, features @ weights["head"]["kernel"] + weights["head"]["bias"]


def reference_loss(weights, centers, x, labels, lam):
    """Equations 1 and 2, image by image, in float64: (cross-entropy, half the mean squared distance, their sum)."""
    features, logits = forward(weights, x)
    entropy = spread = 0.0
    for f, z, y in zip(features, logits, np.asarray(labels), strict=True):
        entropy += np.log(np.exp(z - z.max()).sum()) + z.max() - z[y]
        spread += 0.5 * ((f - np.asarray(centers, np.float64)[y]) ** 2).sum()
    n = len(x)
    return entropy / n, spread / n, entropy / n + lam * spread / n


def reference_centers(centers, features, labels, rate):
    """Wen et al., equation 4, center by center and image by image."""
    centers = np.array(centers, np.float64)
    new = centers.copy()
    for j in range(len(centers)):
        numerator, count = np.zeros(centers.shape[1]), 0
        for f, y in zip(features, labels, strict=True):
            if y == j:
                numerator += centers[j] - f
                count += 1
        new[j] = centers[j] - rate * numerator / (1 + count)
    return new


@lru_cache
def centerloss(**options) -> Method:
    given = {"steps": STEPS, "warmup_steps": 0, "optimizer": "adamw", **options}
    return METHODS["centerloss"](NETWORK, SHAPE, CLASSES, **given)


def descent(method: Method, **hparams):
    """The gradient that one step follows: Adam's first moment after it is (1 − 0.9) times it."""
    state = state_of(method, **hparams)
    after, metrics = jitted(method.step)(state, batch(20), jax.random.key(0))
    gradient = jax.tree.map(lambda mu: np.asarray(mu, np.float64) / 0.1, after["optimizer"].mu)
    return state, gradient, metrics


@pytest.mark.parametrize("lam", [0.0, 0.3, 2.0])
def test_the_loss_is_that_of_the_paper(lam):
    state, _, metrics = descent(centerloss(), lam=lam)
    params, b = state["params"], batch(20)
    entropy, spread, loss = reference_loss(params["network"], params["centers"], *b.values(), lam)
    np.testing.assert_allclose(metrics["cross_entropy"], entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["center_loss"], spread, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    accuracy = (forward(params["network"], b["images"])[1].argmax(-1) == b["labels"]).mean()
    np.testing.assert_allclose(metrics["accuracy"], accuracy, rtol=1e-5)


@pytest.mark.parametrize("lam", [0.0, 0.3, 2.0])
def test_the_gradient_is_the_slope_of_the_loss(lam):
    """Against central differences of the float64 loss, along random directions of each leaf."""
    state, gradient, _ = descent(centerloss(), lam=lam)
    weights, centers = state["params"]["network"], state["params"]["centers"]
    rng, h = np.random.default_rng(1), 1e-6
    leaves, tree = jax.tree.flatten(jax.tree.map(lambda w: np.asarray(w, np.float64), weights))
    for i, (leaf, slope) in enumerate(zip(leaves, jax.tree.leaves(gradient), strict=True)):
        for _ in range(5):
            direction = rng.normal(size=leaf.shape)
            ends = [
                reference_loss(
                    jax.tree.unflatten(tree, [*leaves[:i], leaf + s * h * direction, *leaves[i + 1 :]]),
                    centers,
                    *batch(20).values(),
                    lam,
                )[2]
                for s in (1, -1)
            ]
            np.testing.assert_allclose((slope * direction).sum(), (ends[0] - ends[1]) / (2 * h), rtol=1e-4, atol=1e-5)


def test_at_lambda_zero_centers_leave_the_classifier_alone():
    method = centerloss()
    far = state_of(method, lam=0.0)
    near = {**far, "params": {**far["params"], "centers": np.zeros_like(far["params"]["centers"])}}
    moved_near, moved_far = (jitted(method.step)(s, batch(20), jax.random.key(0))[0]["params"] for s in (near, far))
    jax.tree.map(np.testing.assert_array_equal, moved_near["network"], moved_far["network"])
    assert np.abs(moved_far["centers"] - far["params"]["centers"]).max() > 0.01


@pytest.mark.parametrize("rate", [0.5, pytest.param(0.1, marks=pytest.mark.slow), 1.0])
def test_centers_follow_equation_4(rate):
    method = centerloss(center_rate=rate)
    state = state_of(method)
    b = batch(20)
    b["labels"] = np.where(b["labels"] == 3, 4, b["labels"])  # class 3 is absent: its center must stay
    features, _ = forward(state["params"]["network"], b["images"])
    expected = reference_centers(state["params"]["centers"], features, np.asarray(b["labels"]), rate)
    after, _ = jitted(method.step)(state, b, jax.random.key(0))
    np.testing.assert_allclose(after["params"]["centers"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(after["params"]["centers"][3], state["params"]["centers"][3])


def test_the_update_is_adamw_with_warm_up_and_cosine():
    """Against optax's own AdamW on the same gradients."""
    import optax

    method = centerloss(warmup_steps=4, optimizer="adamw")
    hparams = {"lam": 0.1, "learning_rate": 0.01, "weight_decay": 0.1}
    state = state_of(method, **hparams)
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.01, 4, STEPS)
    adamw = optax.adamw(schedule, weight_decay=0.1)
    weights = state["params"]["network"]
    optimizer = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(adamw.init, weights))

    @jax.jit
    def follow(weights, optimizer, b, centers):
        def loss(weights):
            out = NETWORK.apply(weights, b["images"])
            spread = 0.5 * ((out["features"] - centers[b["labels"]]) ** 2).sum(-1)
            own = jnp.take_along_axis(jax.nn.log_softmax(out["logits"]), b["labels"][:, None], -1)[:, 0]
            return (0.1 * spread - own).mean()

        updates, optimizer = adamw.update(jax.grad(loss)(weights), optimizer, weights)
        return optax.apply_updates(weights, updates), optimizer

    for i in range(6):
        b = batch(20, first=20 * i)
        weights, optimizer = follow(weights, optimizer, b, state["params"]["centers"])
        state, _ = jitted(method.step)(state, b, jax.random.key(i))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            state["params"]["network"],
            weights,
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "at least 2, not 1: use a one-class method"),
        ({"steps": 0}, "0 steps: must be at least 1"),
        ({"optimizer": "sgd"}, "optimizer 'sgd': choose muon or adamw"),
        ({"center_rate": 0.0}, r"center rate 0.0: must lie in \(0, 1\]"),
        ({"center_rate": 1.5}, r"center rate 1.5: must lie in \(0, 1\]"),
        ({"warmup_steps": -1}, "-1 warm-up steps: must be at least 0"),
    ],
)
def test_center_loss_refuses_by_value_limit_and_mend(change, message):
    options = {"classes": CLASSES, "steps": STEPS, **change}
    with pytest.raises(ValueError, match=message):
        METHODS["centerloss"](NETWORK, SHAPE, options.pop("classes"), **options)
