"""The Gaussian mixture against scikit-learn's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from adjax import scorers

pytestmark = pytest.mark.rounding

COVARIANCES = "full", "tied", "diag"
MIX = np.eye(4) + np.tril(np.full((4, 4), 0.5), -1)  # of condition 4: float32 has digits to spare


@functools.cache
def images(components=1, n=600):
    """Correlated features of unlike spread, components of unlike size, far apart: and strangers."""
    rng = np.random.default_rng(0)
    own = np.minimum(np.arange(n) % (components + 1), components - 1)
    x = 9 * np.eye(4)[own] + rng.normal(size=(n, 4)) @ MIX * (1 + own[:, None] / 2) + 3
    return x.astype(np.float32), np.concatenate([x, 2 * x]).astype(np.float32)


@functools.cache
def tools(**options):
    scorer = scorers.make("gmm", **options)

    def fit(x):
        return scorers.fit(scorer, {"features": x}, jnp.zeros(len(x), jnp.int32), 1, batch_size=250)

    return jax.jit(fit), jax.jit(lambda state, x: scorer.score(state, {"features": x}))


def theirs(x, components, covariance, regularisation=0.0):
    mixture = GaussianMixture(
        components, covariance_type=covariance, reg_covar=regularisation, tol=1e-9, max_iter=500, random_state=0
    )
    return mixture.fit(x.astype(np.float64))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_component_is_that_of_scikit_learn(covariance):
    x, queries = images()
    fit, score = tools(covariance=covariance)
    expected = -theirs(x, 1, covariance).score_samples(queries)
    np.testing.assert_allclose(score(fit(x), queries), expected, rtol=1e-4)


@pytest.mark.slow
def test_one_within_the_other_is_found_by_iterating():
    """Of the same mean; k-means can't tell them apart, and one step of expectation maximisation hardly does."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(600, 4)) * np.where(np.arange(600)[:, None] % 3, 1, 6)).astype(np.float32)
    likelihoods = []
    for iterations in (1, 3, 60):
        fit, score = tools(components=2, iterations=iterations, capacity=600)
        likelihoods.append(-np.asarray(score(fit(x), x)).mean())
    assert likelihoods[0] + 0.05 < likelihoods[1] < likelihoods[2] - 0.05
    assert likelihoods[2] == pytest.approx(theirs(x, 2, "full").score(x), abs=1e-3)


@pytest.mark.parametrize(
    "covariance", [pytest.param(c, marks=() if c == "full" else pytest.mark.slow) for c in COVARIANCES]
)
def test_three_components_are_those_of_scikit_learn(covariance):
    x, queries = images(3)
    fit, score = tools(components=3, covariance=covariance, iterations=60, capacity=700)
    state, mixture = fit(x), theirs(x, 3, covariance)
    np.testing.assert_allclose(score(state, queries), -mixture.score_samples(queries), rtol=1e-3)
    means = np.asarray(state.means + state.origin[None])
    nearest = np.linalg.norm(means[:, None] - mixture.means_[None], axis=-1).argmin(1)
    assert sorted(nearest) == [0, 1, 2]
    np.testing.assert_allclose(means, mixture.means_[nearest], atol=1e-2)


def test_one_component_needs_no_sample_and_two_keep_one():
    """A sum over all images in one case, a hundred rows in the other."""
    x, _ = images()
    stats = scorers.make("gmm").init(4, 1)
    sums = 1 + 4 + 4 * 4  # count, mean, scatter; each with what rounding has left of it
    assert sum(leaf.size for leaf in jax.tree.leaves(stats)) == 1 + 4 + 2 * sums  # of the classes, the anchor
    sampled = scorers.make("gmm", components=2, capacity=100).init(4, 1)
    assert sampled.rows.shape == (100, 4)
    fit, score = tools(components=2, covariance="diag", capacity=100)
    assert score(fit(x), x).mean() < score(fit(x), 2 * x).mean()


@pytest.mark.slow
def test_shrinkage_keeps_a_component_from_closing_in_on_one_image():
    x = np.concatenate([images()[0][:-1], np.full((1, 4), 99, np.float32)])
    scores = [
        np.asarray(score(fit(x), x))[-1]
        for fit, score in (tools(components=2, iterations=3, capacity=600, **s) for s in ({}, {"shrinkage": 0.1}))
    ]
    assert scores[0] < -5  # density at the lone image all but infinite
    assert scores[1] > 0


def test_shrinkage_goes_from_mahalanobis_to_euclid():
    x, queries = images()
    fit, score = tools(shrinkage=1.0)
    square = np.square(queries - x.mean(0)).sum(1)
    variance = x.var(0).mean()
    expected = 0.5 * (square / variance + 4 * np.log(2 * np.pi * variance))
    np.testing.assert_allclose(score(fit(x), queries), expected, rtol=1e-4)


def test_a_component_without_images_weighs_nothing():
    x = np.full((600, 4), 3, np.float32)
    fit, score = tools(components=3, covariance="full", iterations=60, capacity=700)
    state = fit(x)
    assert np.exp(-np.asarray(score(state, x))).min() > 0
    assert np.isfinite(score(state, x + 1)).all()


def test_fitted_to_nothing_everything_is_infinitely_unlikely():
    for options in ({}, {"components": 2, "covariance": "diag", "capacity": 100}):
        fit, score = tools(**options)
        state = fit(np.full((600, 4), np.nan, np.float32))
        assert np.all(np.asarray(score(state, images()[0])) == np.inf)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"components": 0}, "components=0"),
        ({"iterations": 0}, "iterations=0"),
        ({"covariance": "spherical"}, "covariance 'spherical'"),
        ({"shrinkage": -0.1}, r"shrinkage -0\.1"),
        ({"components": 9, "capacity": 8}, "capacity 8: 9 components"),
    ],
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        scorers.make("gmm", **options)
