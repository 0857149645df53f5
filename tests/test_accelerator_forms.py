"""What accelerators compute otherwise than a CPU says the same: to rounding, and on the same side of every level."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax import _numerics, nn, scorers, thresholds
from adjax.nn._one_channel import one_channel
from adjax.nn._pool import _pairs, _windows, _windows_of_sums
from adjax.scorers.mahalanobis import _scattered, _selected, _squares
from adjax.scorers.patchcore import _gathered, _multiplied


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


def test_rows_looked_up_by_matmuls_keep_every_digit():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 7)).astype(np.float32) * 10.0 ** rng.integers(-20, 16, (50, 7)).astype(np.float32)
    place = rng.integers(0, 50, 90)
    np.testing.assert_array_equal(jax.jit(_numerics.multiplied_rows)(place, rows), rows[place])
    np.testing.assert_array_equal(_numerics.rows_at(place, rows), rows[place])


@pytest.mark.parametrize("form", [_gathered, _multiplied])
def test_a_patch_is_as_far_from_its_nearest_as_numpy_says(form):
    rng = np.random.default_rng(0)
    rows = (1000 + rng.normal(size=(40, 8))).astype(np.float32)
    rows[7] = rows[3]  # a tie goes to the first
    known = np.arange(40) < 35
    rows[35:] = 0
    x = (1000 + rng.normal(size=(6, 5, 8))).astype(np.float32)
    x[0, 0] = rows[3] + np.float32(1e-3)
    x[5, 2, 1] = np.nan
    away = np.sqrt(np.square(x[:, :, None].astype(float) - rows[:35].astype(float)).sum(-1))
    distance, place = jax.jit(form)(x - 1000, np.where(known[:, None], rows - 1000, 0), known)
    good = np.ones((6, 5), bool)
    good[5, 2] = False
    np.testing.assert_allclose(np.asarray(distance)[good], away.min(-1)[good], rtol=1e-4)
    np.testing.assert_array_equal(np.asarray(place)[good], away.argmin(-1)[good])
    assert np.isnan(distance[5, 2])
    slopes = jax.grad(lambda x: form(x, rows - 1000, known)[0][:5].sum())(x - 1000)
    assert np.isfinite(slopes[:5]).all()


@pytest.mark.parametrize("form", [_gathered, _multiplied])
def test_a_patch_in_memory_is_looked_up_with_every_digit(form):
    rows = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    distance, place = jax.jit(form)(rows[None], rows, np.ones(40, bool))
    np.testing.assert_array_equal(place[0], np.arange(40))
    np.testing.assert_array_equal(distance, 0)


@pytest.mark.parametrize(
    ("name", "options", "shape", "classes"),
    [
        ("knn", {"k": 3, "capacity": 50}, (61, 4), 1),
        ("patchcore", {"coreset": 9, "capacity": 60}, (61, 2, 3, 4), 1),
        ("patchcore", {"coreset": 9, "capacity": 60, "shrinkage": 0.1}, (61, 2, 3, 4), 1),
        ("cosine", {}, (61, 4), 3),
        ("mahalanobis", {}, (300, 4), 70),
    ],
)
def test_a_scorer_says_the_same_in_the_form_for_a_tpu(monkeypatch, name, options, shape, classes):
    rng = np.random.default_rng(0)
    feature, axes = ("features", 1) if len(shape) == 2 else ("patches", (1, 2, 3))
    labels = np.arange(shape[0], dtype=np.int32) % classes
    x = (rng.normal(size=shape) + 5 * rng.normal(size=(classes, *shape[1:]))[labels]).astype(np.float32)
    odd = np.concatenate([x, 3 * rng.normal(size=shape).astype(np.float32)])
    odd.reshape(len(odd), -1)[:5] = 0
    odd.reshape(len(odd), -1)[1:5, 2] = np.nan, np.inf, -np.inf, -1e20
    odd.reshape(len(odd), -1)[5, :2] = np.inf, np.nan
    scorer = scorers.make(name, **options)
    state = scorers.fit(scorer, {feature: x}, labels, classes)
    usual = np.asarray(scorer.distances(state, {feature: odd}))
    monkeypatch.setattr(
        jax.lax, "platform_dependent", lambda *each, tpu=None, cpu=None, default: (tpu or default)(*each)
    )
    found = np.asarray(jax.jit(scorer.distances)(state, {feature: odd}))
    np.testing.assert_array_equal(np.isnan(found).any(1), np.isnan(odd).any(axes))
    np.testing.assert_allclose(found, usual, rtol=1e-5, atol=1e-6)
    slope = np.asarray(jax.grad(lambda x: scorer.score(state, {feature: x}).sum())(odd[6:]))
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("classes", [1, 4])
def test_distances_from_the_own_class_are_those_looked_up(classes):
    rng = np.random.default_rng(0)
    distances = rng.normal(size=(40, classes)).astype(np.float32)
    distances[:6] = np.array([np.nan, np.inf, -np.inf] * 2, np.float32)[:, None]
    labels = rng.integers(0, classes, 40)
    expected = distances[np.arange(40), labels]
    for form in (thresholds._looked_up, thresholds._chosen):
        np.testing.assert_array_equal(form(jnp.asarray(distances), jnp.asarray(labels)), expected)


@pytest.mark.parametrize("pads", [((2, 2), (2, 2)), ((0, 0), (1, 3))])
def test_the_image_slid_over_a_gradient_gives_that_of_the_kernel(pads):
    rng = np.random.default_rng(0)
    x, kernel, back = (
        jnp.asarray(rng.integers(-4, 5, shape), jnp.float32)  # sums without rounding
        for shape in ((3, 12, 9, 1), (5, 3, 1, 6), (3, 8 + sum(pads[0]), 7 + sum(pads[1]), 6))
    )

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    def forms(f):
        y, pull = jax.vjp(f, x, kernel)
        return y, *pull(back), jax.jvp(f, (x, kernel), (x, 2 * kernel))[1]

    for ours, xla in zip(forms(lambda x, k: one_channel(x, k, pads)), forms(plain), strict=True):
        np.testing.assert_array_equal(ours, xla)


def test_pooling_by_windows_is_that_by_pairs():
    """Few distinct values, so with every kind of tie; and a row and a column too many."""
    x = jnp.asarray(np.random.default_rng(0).integers(-1, 2, (4, 7, 5, 3)), jnp.float32)
    for form in (_windows, nn.max_pool_2x2):
        y, pull = jax.vjp(form, x)
        expected, expected_pull = jax.vjp(_pairs, x)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(pull(1 + jnp.exp(y)), expected_pull(1 + jnp.exp(y)))
    assert np.isnan(_windows(x.at[0, 0, 0, 0].set(jnp.nan))[0, 0, 0, 0])


def test_a_bias_added_after_pooling_is_one_added_before():
    """To the bit, though sums are rounded: of numbers that are 0.1 to 10 apart from a bias near 1e6."""
    x = jnp.asarray(np.random.default_rng(0).normal(0, 10, (4, 7, 5, 3)), jnp.float32)
    bias = jnp.asarray([1e6, -3.0, 0.1], jnp.float32)
    expected, expected_pull = jax.vjp(lambda x, b: _pairs(x + b), x, bias)
    for form in (_windows_of_sums, nn.max_pool_2x2):
        y, pull = jax.vjp(form, x, bias)
        np.testing.assert_array_equal(y, expected)
        back = jnp.asarray(np.random.default_rng(1).integers(-4, 5, y.shape), jnp.float32)
        (ours, for_bias), (theirs, expected_bias) = pull(back), expected_pull(back)
        np.testing.assert_array_equal(for_bias, expected_bias)
        np.testing.assert_array_equal(ours[..., 1:], theirs[..., 1:])  # of channel 0, sums are equal where x is not
        np.testing.assert_array_equal(ours.sum((1, 2)), theirs.sum((1, 2)))
