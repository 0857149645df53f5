"""Covariances whitened in float32, against float64: features that hardly ever fire count as much as others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax import scorers
from adjax.scorers._whiten import floored, triangular, whitening

N, D = 4000, 8


def rarely_firing():
    """Three features of variance 1e5, correlated, two of a millionth to 1e-10 of it, the rest between."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)) @ (np.eye(D) + np.tril(np.full((D, D), 0.4), -1))
    x[:, :3] *= 300
    x[:, 6] = np.where(np.arange(N) % 50 == 0, 1e-1 * np.abs(x[:, 6]), 0)
    x[:, 7] = np.where(np.arange(N) % 1000 == 7, 1e-2 * np.abs(x[:, 7]), 0)
    return x.astype(np.float32)


def test_whitened_is_inverted():
    cov = np.cov(rarely_firing().astype(np.float64).T, bias=True)
    whiten, log_det = jax.jit(whitening)(jnp.asarray(cov[None], jnp.float32), jnp.zeros((1, D)))
    w = np.asarray(whiten[0], np.float64)
    scale = np.sqrt(np.diag(cov))
    np.testing.assert_allclose(w @ w.T * scale[:, None] * scale, np.linalg.inv(cov) * scale[:, None] * scale, atol=1e-4)
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(cov)[1], rtol=1e-6)


def test_triangular_is_as_good_where_features_are_no_copies_and_finite_where_they_are():
    cov = np.cov(rarely_firing().astype(np.float64).T, bias=True)
    inverted = jax.jit(triangular)
    whiten, log_det = inverted(cov[None].astype(np.float32), np.zeros((1, D), np.float32))
    w, scale = np.asarray(whiten[0], np.float64), np.sqrt(np.diag(cov))
    np.testing.assert_allclose(w @ w.T * scale[:, None] * scale, np.linalg.inv(cov) * scale[:, None] * scale, atol=1e-3)
    np.testing.assert_allclose(log_det[0], np.linalg.slogdet(cov)[1], rtol=1e-5)
    for value in (0, 1, 1e-30):
        degenerate = np.full((1, 300, 300), value, np.float32)
        assert all(np.isfinite(x).all() for x in inverted(degenerate, np.zeros((1, 300), np.float32)))


@pytest.mark.parametrize(("name", "power"), [("mahalanobis", 0.5), ("mahalanobis_perclass", 0.5), ("gmm", 1)])
def test_distances_of_what_hardly_ever_fires_are_those_of_float64(name, power):
    x = rarely_firing()
    wide = x.astype(np.float64)
    queries = np.concatenate([x[:100], x[:100] + 0.05], 0)
    rest, cov = queries.astype(np.float64) - wide.mean(0), np.cov(wide.T, bias=True)
    expected = (rest * np.linalg.solve(cov, rest.T).T).sum(1) ** power
    if name == "gmm":
        expected = 0.5 * (expected + D * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1])
    scorer = scorers.make(name, shrinkage=0.0)
    state = jax.jit(lambda x: scorers.fit(scorer, {"features": x}, jnp.zeros(N, jnp.int32), 1))(x)
    np.testing.assert_allclose(jax.jit(scorer.score)(state, {"features": queries}), expected, rtol=1e-4)


@pytest.mark.slow
def test_what_has_no_variance_counts_as_noise():
    """A dead feature, one that is constant up to rounding, and of two that are equal their difference."""
    means = jnp.float32([[0, 0, 100, 1]])
    variances = floored(jnp.float32([[4, 0, 1e-11, 1e-11]]), means)
    noise = 4 * 4 * 2.0**-23
    np.testing.assert_allclose(variances, [[4, noise, noise, 1e-11]], rtol=1e-6)
    np.testing.assert_array_equal(floored(jnp.zeros((1, 4)), jnp.zeros((1, 4))), np.ones((1, 4)))
    coarse = floored(jnp.zeros((1, 4)), means)
    np.testing.assert_allclose(coarse[0, 2:], np.square([100 * 2.0**-23, 2.0**-23]), rtol=1e-6)
    twice, _ = whitening(jnp.ones((1, 2, 2)), jnp.zeros((1, 2)))
    apart = float(jnp.linalg.norm(jnp.float32([1, -1]) @ twice[0]))
    assert apart == pytest.approx(np.sqrt(2 / (2 * 2 * 2.0**-23)), rel=1e-3)
    dead, log_det = whitening(jnp.zeros((1, 3, 3)), jnp.zeros((1, 3)))
    np.testing.assert_allclose(np.abs(dead[0]).sum(1), 1)
    assert log_det[0] == 0


def test_cholesky_scores_as_eigenvectors_do_where_covariances_are_shrunk():
    x = np.random.default_rng(0).normal(size=(80, 6)).astype(np.float32) * np.arange(1, 7, dtype=np.float32)
    y = np.zeros(80, np.int32)
    each = {}
    for solver in ("eigen", "cholesky"):
        scorer = scorers.make("mahalanobis", solver=solver)
        state = jax.jit(lambda x, s=scorer: scorers.fit(s, {"features": x}, y, 1))(x)
        each[solver] = np.asarray(state.whiten[0]), jax.jit(scorer.score)(state, {"features": x})
    np.testing.assert_allclose(each["cholesky"][1], each["eigen"][1], rtol=1e-5)
    assert not np.tril(each["cholesky"][0], -1).any()  # it is what it is called
    assert np.tril(each["eigen"][0], -1).any()
    with pytest.raises(ValueError, match="solver 'lu': must be 'eigen' or 'cholesky'"):
        scorers.make("mahalanobis", solver="lu")
