"""The supervised OOD head: the body learns classes from what belongs alone, then rests while the head learns."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np
import pytest
from flax import nnx
from training import SHAPE, assert_close, assert_equal, digits, trained

from adjax import data, metrics, models, train
from adjax.augment import normalise_of
from adjax.methods import METHODS
from adjax.methods.ood_head import in_distribution
from adjax.sharding import make_mesh

CLASSES, STEPS, BODY_STEPS, BATCH = 8, 10, 4, 24
"""Digits 0 to 7 belong; 8 and 9 are OOD, both labelled 8."""


class Body(nnx.Module):
    """One hidden layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 16, rngs=rngs)
        self.head = nnx.Linear(16, CLASSES, rngs=rngs)

    def __call__(self, images):
        features = nnx.relu(self.hidden(images.reshape(len(images), -1)))
        return {"features": features, "logits": self.head(features)}


class Normed(nnx.Module):
    """A body with batch statistics and dropout, in which rows of a batch meet."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 12, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.dropout = nnx.Dropout(0.2)
        self.head = nnx.Linear(12, CLASSES, rngs=rngs)

    def __call__(self, images, rngs=None):
        features = nnx.relu(self.norm(self.hidden(images.reshape(len(images), -1))))
        return {"features": features, "logits": self.head(self.dropout(features, rngs=rngs))}


class Meeting(nnx.Module):
    """A body with batch statistics, and nothing drawn: what devices draw depends on their number."""

    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 12, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.head = nnx.Linear(12, CLASSES, rngs=rngs)

    def __call__(self, images):
        features = nnx.relu(self.norm(self.hidden(images.reshape(len(images), -1))))
        return {"features": features, "logits": self.head(features)}


OPTIONS = {"steps": STEPS, "body_share": BODY_STEPS / STEPS, "warmup_steps": 0}


@lru_cache
def method(body=Body):
    return METHODS["ood_head"](models.network(body), SHAPE, CLASSES, **OPTIONS)


@lru_cache
def step_of(body=Body):
    return jax.jit(method(body).step)


@lru_cache
def normalised():
    images, labels = digits()
    return np.asarray(normalise_of(images)(images)), np.minimum(labels, CLASSES)


def batch(first: int = 0, size: int = BATCH):
    images, labels = normalised()
    return {"images": images[first : first + size], "labels": labels[first : first + size]}


def blank(made, **hparams):
    """The structure of an initial state, all zeros but the hyper-parameters."""
    values = {k: np.float32(v) for k, v in {**made.hparams, **hparams}.items()}
    like = jax.eval_shape(made.init, jax.random.key(0), values)
    return {**jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like), "hparams": values}


def begun(body):
    """Centers and biases are somewhere from the start."""
    state, rng = blank(method(body), lam=0.3), np.random.default_rng(0)

    def drawn(x):
        deviation = np.sqrt(2 / x.shape[0]) if x.ndim == 2 else 0.3
        return rng.normal(0, deviation, x.shape).astype(np.float32)

    params = jax.tree.map(drawn, state["params"])
    if body is not Body:  # statistics as they start
        norm = {"scale": np.ones(12, np.float32), "mean": np.zeros(12, np.float32), "var": np.ones(12, np.float32)}
        params["network"]["norm"] = {**params["network"]["norm"], **norm}
    return {**state, "params": params}


@lru_cache
def run(body=Body):
    """The states after every step, and the stages that the steps say they are of."""
    states, stages = [begun(body)], []
    for i in range(STEPS):
        state, figures = step_of(body)(states[-1], batch(BATCH * i), jax.random.key(i))
        states.append(state)
        stages.append(figures["stage"])
    return states, jax.device_get(stages)


def state_after(steps: int, body=Body):
    return run(body)[0][steps]


def test_the_batches_are_mixed():
    assert 0 < (batch()["labels"] == CLASSES).sum() < BATCH // 2


def test_stage_1_is_center_loss_on_what_belongs():
    """Same gradient, centers and figures as the method centerloss on a batch of those rows alone."""
    state, both = state_after(0), batch()
    after, figures = step_of()(state, both, jax.random.key(1))
    given = {"steps": BODY_STEPS, "warmup_steps": 0, "optimizer": "adamw"}
    alone = METHODS["centerloss"](models.network(Body), SHAPE, CLASSES, **given)
    params = {k: state["params"][k] for k in ("network", "centers")}
    hparams = {k: state["hparams"][k] for k in alone.hparams}
    twin = {**blank(alone, **hparams), "params": params}
    belongs = both["labels"] < CLASSES
    twin, expected = jax.jit(alone.step)(twin, {k: v[belongs] for k, v in both.items()}, jax.random.key(1))
    assert_close(after["optimizer"]["body"].mu, twin["optimizer"].mu, atol=1e-6)
    assert_close(after["params"]["centers"], twin["params"]["centers"], atol=1e-6)
    assert_close([figures[k] for k in ("loss", "accuracy")], [expected[k] for k in ("loss", "accuracy")])
    assert figures["stage"] == 1
    assert_equal(after["params"]["head"], state["params"]["head"])


@pytest.mark.slow
@pytest.mark.parametrize("body", [Body, Normed])
def test_in_stage_1_no_ood_image_reaches_the_body(body):
    """Not even through batch statistics."""
    state, both = state_after(0, body), batch()
    ood = (both["labels"] == CLASSES)[:, None, None, None]
    other = {**both, "images": np.where(ood, 5 - both["images"], both["images"])}
    after, changed = (step_of(body)(state, b, jax.random.key(1))[0] for b in (both, other))
    assert_equal(after, changed)
    pairs = zip(*map(jax.tree.leaves, jax.device_get((state, after))), strict=True)
    differs = [np.any(a != b) for a, b in pairs]
    assert sum(differs) > 5


@pytest.mark.parametrize("body", [Body, Normed])
def test_in_stage_2_the_body_stays_bit_for_bit_and_the_head_moves(body):
    before = state_after(BODY_STEPS, body)
    after = state_after(STEPS - 1, body)
    for part in ("network", "centers"):
        assert_equal(before["params"][part], after["params"][part])
    assert_equal(before["optimizer"]["body"], after["optimizer"]["body"])
    heads = (jax.tree.leaves(jax.device_get(s["params"]["head"])) for s in (before, after))
    assert all(np.any(a != b) for a, b in zip(*heads, strict=True))


def test_the_stage_changes_after_its_share_of_the_steps():
    assert run()[1] == [1] * BODY_STEPS + [2] * (STEPS - BODY_STEPS)


def head_logit(head, features):
    """The head in NumPy, float64."""
    for layer in ("hidden1", "hidden2"):
        features = np.maximum(features @ head[layer]["kernel"] + head[layer]["bias"], 0)
    return (features @ head["out"]["kernel"] + head["out"]["bias"])[:, 0]


def head_loss(head, features, is_ood):
    """Binary cross-entropy, image by image: −log of the probability of what it is."""
    chance = 1 / (1 + np.exp(-head_logit(head, features)))
    return -np.mean([np.log(p if ood else 1 - p) for p, ood in zip(chance, is_ood, strict=True)])


def test_the_gradient_of_the_head_is_the_slope_of_cross_entropy():
    """Against central differences in float64, along random directions of each leaf."""
    state, both = state_after(BODY_STEPS), batch(300)
    after, figures = step_of()(state, both, jax.random.key(1))
    features = np.asarray(jax.jit(method().outputs)(state["params"], both["images"])["features"], np.float64)
    is_ood = both["labels"] == CLASSES
    head = jax.tree.map(lambda w: np.asarray(w, np.float64), state["params"]["head"])
    np.testing.assert_allclose(figures["loss"], head_loss(head, features, is_ood), rtol=1e-5)
    accuracy = ((head_logit(head, features) > 0) == is_ood).mean()
    np.testing.assert_allclose(figures["accuracy"], accuracy, rtol=1e-6)
    slopes = [np.asarray(mu, np.float64) / 0.1 for mu in jax.tree.leaves(after["optimizer"]["head"].mu)]
    rng, h = np.random.default_rng(1), 1e-6
    leaves, tree = jax.tree.flatten(head)
    for i, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
        direction = rng.normal(size=leaf.shape)
        ends = [[*leaves[:i], leaf + s * h * direction, *leaves[i + 1 :]] for s in (-1, 1)]
        low, high = (head_loss(jax.tree.unflatten(tree, end), features, is_ood) for end in ends)
        np.testing.assert_allclose((slope * direction).sum(), (high - low) / (2 * h), rtol=1e-3, atol=1e-5)


def test_the_score_is_the_logit_of_ood():
    state = state_after(STEPS - 1)
    out = jax.jit(method().outputs)(state["params"], batch()["images"])
    head = jax.tree.map(lambda w: np.asarray(w, np.float64), state["params"]["head"])
    np.testing.assert_allclose(out["score"], head_logit(head, np.asarray(out["features"], np.float64)), atol=1e-4)
    assert out["logits"].shape == (BATCH, CLASSES)


@lru_cache
def shared_step(body=Body):
    """Of a batch in two halves, each on its own device."""
    on = jax.vmap(
        lambda state, b: method(body).step(state, b, jax.random.key(1), axis_name="data"), (None, 0), axis_name="data"
    )
    return jax.jit(on)


def assert_devices_make_the_whole_batch(state, both, body):
    """The second half of the batch holds nearly all OOD images."""
    order = np.argsort(both["labels"], kind="stable")
    both = {k: v[order] for k, v in both.items()}
    whole = step_of(body)(state, both, jax.random.key(1))
    halves = jax.tree.map(lambda x: x.reshape(2, BATCH // 2, *x.shape[1:]), both)
    apart = jax.device_get(shared_step(body)(state, halves))
    for device in range(2):
        assert_close(whole, jax.tree.map(lambda x, device=device: x[device], apart), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("done", [0, BODY_STEPS])
def test_devices_with_unlike_shares_make_the_whole_batch(done):
    assert_devices_make_the_whole_batch(state_after(done), batch(), Body)


@pytest.mark.parametrize("belong", [3, 12, 17])
def test_batch_statistics_are_of_what_belongs_on_all_devices(belong):
    """Where the second device holds OOD images alone, and where it holds a few of the others."""
    labels = np.where(np.arange(BATCH) < belong, np.arange(BATCH) % CLASSES, CLASSES)
    state = begun(Meeting)
    state["hparams"]["learning_rate"] = np.float32(
        0
    )  # the slope of a constant pixel is rounding, which Adam divides by
    assert_devices_make_the_whole_batch(state, {**batch(), "labels": labels}, Meeting)


@pytest.mark.slow
def test_members_side_by_side_are_members_in_turn():
    """Under vmap the stages become a selection."""
    states = [state_after(BODY_STEPS - 1), state_after(BODY_STEPS)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *jax.device_get(states))
    step = jax.jit(jax.vmap(method().step, (0, None, None)))
    together = jax.device_get(step(stacked, batch(), jax.random.key(1)))
    for m, state in enumerate(states):
        assert_close(
            step_of()(state, batch(), jax.random.key(1)), jax.tree.map(lambda x, m=m: x[m], together), atol=1e-5
        )


@pytest.mark.parametrize("body", [Body, Meeting])
def test_a_batch_without_anything_that_belongs_teaches_the_body_nothing(body):
    """Weights don't decay and running statistics don't move."""
    state, both = begun(body), batch()
    after, figures = step_of(body)(state, {**both, "labels": np.full_like(both["labels"], CLASSES)}, jax.random.key(1))
    after = jax.device_get(after)
    assert figures["loss"] == 0
    assert all(np.all(mu == 0) for mu in jax.tree.leaves(after["optimizer"]["body"].mu))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
    assert_equal(after["params"], state["params"])
    assert after["optimizer"]["body"].count == 1


def test_ood_rows_are_replaced_by_those_that_belong():
    labels = np.array([3, 8, 1, 8, 8, 0])
    images = np.arange(6.0).reshape(6, 1, 1, 1)
    seen, classes, counts = jax.device_get(jax.jit(in_distribution, static_argnums=2)(images, labels, 8))
    assert seen.ravel().tolist() == [0, 2, 5, 0, 2, 5]
    assert classes.tolist() == [3, 1, 0, 3, 1, 0]
    assert counts.tolist() == [1, 1, 1, 0, 0, 0]


@pytest.mark.slow
def test_it_learns_to_tell_digits_8_and_9_from_the_others():
    """On test images, by a program as it is used; and the class of those that belong."""
    images, labels = digits()
    labels, steps = np.minimum(labels, CLASSES), 400
    learner = METHODS["ood_head"](models.network(Body), SHAPE, CLASSES, steps=steps, warmup_steps=20)
    members = train.members({k: [v] for k, v in learner.hparams.items()}, [0], [np.arange(len(labels))], [labels])
    normalise = normalise_of(images)
    program = train.compile_program(
        learner, images, members, normalise, batch_size=64, mesh=make_mesh(1, jax.devices()[:1])
    )
    params = jax.tree.map(lambda x: x[0], trained(program, steps).members["params"])
    test = data.load("digits", "test")
    out = jax.jit(learner.outputs)(params, normalise(np.asarray(test.images)))
    is_ood = test.labels >= CLASSES
    assert float(metrics.auroc(np.asarray(out["score"]), is_ood)) > 0.97
    assert (np.asarray(out["logits"]).argmax(-1) == test.labels)[~is_ood].mean() > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "at least 2, not 1: use method 'classifier'"),
        ({"steps": 0}, "0 steps: must be at least 1"),
        ({"body_share": 1.0}, "body share 1.0: must lie between 0 and 1"),
        ({"body_share": 0.0}, "body share 0.0: must lie between 0 and 1"),
        ({"center_rate": 0.0}, r"center rate 0.0: must lie in \(0, 1\]"),
        ({"warmup_steps": -1}, "-1 warm-up steps: must be at least 0"),
    ],
)
def test_it_refuses_by_value_limit_and_mend(change, message):
    options = {"classes": CLASSES, **OPTIONS, **change}
    with pytest.raises(ValueError, match=message):
        METHODS["ood_head"](models.network(Body), SHAPE, options.pop("classes"), **options)
