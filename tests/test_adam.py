"""Adam's moments: optax's answers, and no array copied that could be overwritten."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from adjax.methods._adam import scale_by_adam, when_all_are_there

pytestmark = pytest.mark.rounding

WEIGHTS = {"first": np.ones((48, 64), np.float32), "second": np.ones((64, 80), np.float32)}


@pytest.mark.parametrize("b1", [0.0, 0.5, 0.9])
def test_it_is_that_of_optax(b1):
    ours, theirs = scale_by_adam(b1), optax.scale_by_adam(b1)
    a, b = ours.init(WEIGHTS), theirs.init(WEIGHTS)
    assert jax.tree.structure(a) == jax.tree.structure(b)  # checkpoints of either can be read by the other
    both = jax.jit(lambda grads, a, b: (ours.update(grads, a), theirs.update(grads, b)))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        grads = jax.tree.map(lambda w, rng=rng, seed=seed: np.float32(rng.normal(size=w.shape) * 10**seed), WEIGHTS)
        (x, a), (y, b) = both(grads, a, b)
        # 1 - b2**count of float32 is what they differ by.
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, 1e-4, 1e-7), (x, a), (y, b))


@pytest.mark.parametrize("where", list(WEIGHTS))
def test_what_waits_is_the_value_or_nan(where):
    grads = jax.tree.map(np.zeros_like, WEIGHTS)
    assert when_all_are_there(grads, jnp.float32(0.3)) == jnp.float32(0.3)
    grads[where][0, 0] = np.nan
    assert jnp.isnan(when_all_are_there(grads, jnp.float32(0.3)))


def test_no_weight_and_no_moment_is_copied():
    """Of two layers under one another, since the upper one's new weights are ready before the lower one's gradient."""

    def copied(adam):
        def step(weights, moments, x):
            loss = lambda w: jnp.square(jnp.tanh(x @ w["first"]) @ w["second"]).mean()  # noqa: E731
            updates, moments = adam.update(jax.grad(loss)(weights), moments)
            return jax.tree.map(lambda w, u: w - 0.1 * u, weights, updates), moments

        args = WEIGHTS, adam.init(WEIGHTS), jnp.ones((8, 48))
        program = jax.jit(step, donate_argnums=(0, 1)).lower(*args).compile().as_text()
        return re.findall(r"f32\[(?:48,64|64,80)\]\S* copy\(", program)

    assert len(copied(optax.scale_by_adam(0.5))) > 0  # or this file isn't needed any more
    assert not copied(scale_by_adam(0.5))
