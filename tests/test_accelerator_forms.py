"""What accelerators compute otherwise than a CPU says the same: to rounding, and on the same side of every level."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from adjax import thresholds
from adjax.scorers.mahalanobis import _scattered, _selected, _squares


def test_levels_by_comparing_are_those_by_searching():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32).round(1)  # with ties
    calibration = thresholds.calibrate(x, rng.integers(0, 2, 200))  # and a class without rows
    odd = np.repeat(np.array([np.nan, np.inf, -np.inf], np.float32)[:, None], 3, 1)
    distances = np.concatenate([x, 2 * rng.normal(size=(500, 3)).astype(np.float32), odd])
    found = [np.asarray(thresholds.class_quantiles(calibration, distances, compare)) for compare in (False, True)]
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)
    within = (each[..., None] <= np.asarray(calibration.levels) for each in found)
    np.testing.assert_array_equal(*within)
    slopes = [
        jax.grad(lambda d, compare=compare: thresholds.classwise_quantile(calibration, d, compare).sum())(distances)
        for compare in (False, True)
    ]
    np.testing.assert_array_equal(*slopes)
    assert np.isfinite(slopes[0]).all()


def test_the_nearest_of_many_means_are_the_same_selected_or_scattered():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(70, 4)).astype(np.float32) + 1000
    z = np.concatenate([means[:9] + 1e-3 * rng.normal(size=(9, 4)).astype(np.float32), np.full((1, 4), np.nan)])
    rough = jnp.asarray(rng.random((10, 70)).astype(np.float32)).at[9].set(jnp.nan)
    np.testing.assert_array_equal(_scattered(rough, z, means), _selected(rough, z, means))
    exact = np.square(z[:9].astype(float) - means[:9]).sum(-1)
    np.testing.assert_allclose(np.diagonal(_squares(jnp.asarray(z), jnp.asarray(means)))[:9], exact, rtol=1e-4)
