"""A classifier of several networks, against each of them alone."""

from functools import lru_cache

import jax
import numpy as np
import pytest
from flax import nnx

from adjax import models
from adjax.methods import METHODS

SIDE = (4, 4, 1)
IMAGES = np.random.default_rng(0).normal(size=(8, *SIDE)).astype(np.float32)
LABELS = np.asarray(np.arange(8) % 3 == 0, np.int32)


class Dropping(nnx.Module):
    """Features, dropped out at random, and logits that are linear in them."""

    def __init__(self, rngs: nnx.Rngs):
        self.body = nnx.Linear(16, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True)
        self.head = nnx.Linear(3, 1, rngs=rngs)

    def __call__(self, images, rngs: nnx.Rngs | None = None):
        features = self.body(images.reshape(len(images), -1))
        return {"pixels": images, "features": features, "logits": self.head(self.dropout(features, rngs=rngs))}


@lru_cache
def classifier(networks: int):
    return METHODS["classifier"](models.network(Dropping), SIDE, 1, steps=10, warmup_steps=0, networks=networks)


def one_by_one(function):
    """Over what three networks have each of their own."""
    return [function(i) for i in range(3)]


def stacked(trees):
    return jax.tree.map(lambda *x: np.stack(x), *jax.device_get(trees))


def close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


@pytest.mark.slow
def test_several_networks_train_as_each_would_alone():
    alone, together = classifier(1), classifier(3)
    hparams = {name: np.float32(value) for name, value in alone.hparams.items()}
    key, batch = jax.random.key(7), {"images": IMAGES, "labels": LABELS}
    begun = jax.random.split(jax.random.key(3), 3)
    state = jax.jit(together.init)(jax.random.key(3), hparams)
    init, step = jax.jit(alone.init), jax.jit(alone.step)
    own = one_by_one(lambda i: init(begun[i], hparams))
    close(state, stacked(own))
    kernels = state["params"]["network"]["body"]["kernel"]
    assert len(np.unique(np.asarray(kernels)[:, 0, 0])) == 3

    after, metrics = jax.jit(together.step)(state, batch, key)
    keys = jax.random.split(key, 3)
    steps = one_by_one(lambda i: step(own[i], batch, keys[i]))
    close(after, stacked([state for state, _ in steps]))
    close(metrics, jax.tree.map(lambda x: x.mean(0), stacked([metrics for _, metrics in steps])))


def test_what_they_say_together():
    alone, together = classifier(1), classifier(3)
    hparams = {name: np.float32(value) for name, value in alone.hparams.items()}
    like = jax.eval_shape(together.init, jax.random.key(3), hparams)["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), like)
    said = jax.jit(together.outputs)(params, IMAGES)
    outputs = jax.jit(alone.outputs)
    own = one_by_one(lambda i: outputs(jax.tree.map(lambda x: x[i], params), IMAGES))
    logit = np.mean([np.asarray(x["logits"], np.float64) for x in own], 0)
    assert set(said) == {"score", "probability", "logits", "features"}
    close(said["logits"], logit)
    close(said["score"], logit[:, 0])
    close(said["probability"], 1 / (1 + np.exp(-logit[:, 0])))
    np.testing.assert_allclose(said["features"], np.concatenate([x["features"] for x in own], 1), rtol=1e-5, atol=1e-6)
    heads = params["network"]["head"]
    linear = said["features"] @ heads["kernel"].reshape(9, 1) / 3 + heads["bias"].mean(0)
    close(said["logits"], linear)


def test_no_network_is_refused():
    with pytest.raises(ValueError, match="0 networks: must be at least 1"):
        classifier(0)
