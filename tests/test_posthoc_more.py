"""Scorers of gradients, regret, concepts and densities, against float64 NumPy written from the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from test_posthoc import BIAS, KERNEL, QUERIES, ZQ, D, K, N, X, Y, Z, fitted, logits_of, outputs, tools

from adjax import scorers
from adjax.scorers.pnml import _regret

GRADIENTS = "gradnorm", "gradient_uncertainty"
SOME = QUERIES[::20]


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


# From the papers, in float64


def weight_gradients(loss):
    """Of a loss of log-probabilities, by the last layer's weights and biases, for some queries: central differences."""
    rows = []
    for f in SOME.astype(np.float64):
        f = np.append(f, 1.0)
        layer = np.concatenate([KERNEL, BIAS[None]])

        def at(change, f=f, layer=layer):
            return loss(log_softmax(f @ (layer + change)))

        slope = np.zeros_like(layer)
        for i in np.ndindex(*layer.shape):
            step = np.zeros_like(layer)
            step[i] = 1e-5
            slope[i] = (at(step) - at(-step)) / 2e-5
        rows.append(slope)
    return np.stack(rows)


def unit(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def pnml(x):
    rows, query = unit(X), unit(x)
    q = np.einsum("nd,de,ne->n", query, np.linalg.inv(rows.T @ rows), query)
    p = softmax(query @ KERNEL + BIAS, axis=1)
    return np.log((p / (p + (1 - p) * p ** (q / (1 + q))[:, None])).sum(1)) / np.log(K)


def class_means():
    return np.stack([X[k == Y].mean(0, dtype=np.float64) for k in range(K)])


def mcm(x, t=1.0, concepts=None):
    concepts = class_means() if concepts is None else concepts
    return 1 - softmax(unit(x) @ unit(concepts).T / t, axis=1).max(1)


def moments(covariance, s):
    """π, μ, Σ of each class."""
    rest = X - class_means()[Y]
    for k in range(K):
        own = X[k == Y].astype(np.float64)
        cov = rest.T @ rest / N if covariance == "tied" else np.cov(own.T, bias=True)
        mean = np.trace(cov) / D
        cov = np.diag(np.diag(cov)) if covariance == "diag" else cov
        yield len(own) / N, own.mean(0), (1 - s) * cov + s * mean * np.eye(D)


def perclass(x, covariance="full", s=0.1):
    each = [np.log(p) + multivariate_normal(m, c).logpdf(x.astype(np.float64)) for p, m, c in moments(covariance, s)]
    return -logsumexp(each, axis=0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_gradnorm_is_the_length_of_the_gradient(temperature):
    slopes = weight_gradients(lambda log_p: -log_softmax(log_p / temperature).mean())[:, :-1]
    found = fitted("gradnorm", temperature=temperature)(SOME)
    np.testing.assert_allclose(found, -np.abs(slopes).sum((1, 2)), rtol=1e-4, atol=1e-4)


def test_gradient_uncertainty_is_the_squared_length_of_the_gradient():
    slopes = weight_gradients(lambda log_p: -log_p.sum())
    np.testing.assert_allclose(fitted("gradient_uncertainty")(SOME), -np.square(slopes).sum((1, 2)), rtol=1e-4)


TEXT = np.random.default_rng(7).normal(size=(K, D))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("pnml", {}, pnml(QUERIES)),
        ("mcm", {}, mcm(QUERIES)),
        ("mcm", {"temperature": 0.05}, mcm(QUERIES, 0.05)),
        ("mcm", {"concepts": TEXT}, mcm(QUERIES, 1, TEXT)),
        ("gmm_perclass", {}, perclass(QUERIES)),
        ("gmm_perclass", {"shrinkage": 0.0}, perclass(QUERIES, s=0)),
        ("gmm_perclass", {"covariance": "tied"}, perclass(QUERIES, "tied")),
        ("gmm_perclass", {"covariance": "diag"}, perclass(QUERIES, "diag")),
    ],
)
def test_scores_are_those_of_the_paper_in_float64(name, options, expected):
    np.testing.assert_allclose(fitted_to(name, options)(QUERIES), expected, rtol=1e-4)


def fitted_to(name, options):
    """As `fitted`, of options that a cache can't hold."""
    if all(isinstance(value, str | float) for value in options.values()):
        return fitted(name, **options)
    scorer = scorers.make(name, **options)
    state = jax.jit(lambda o, y: scorers.fit(scorer, o, y, K))(outputs(X, Z), Y)
    return lambda x: np.asarray(jax.jit(scorer.score)(state, outputs(x)))


# What is no number


@pytest.mark.parametrize("name", [*GRADIENTS, "mcm"])
def test_what_is_no_number_is_never_normal(name):
    score = fitted(name)
    x, z = QUERIES[:9].copy(), ZQ[:9].copy()
    x[0, 0], x[1, 0], x[2, 0] = np.nan, np.inf, -np.inf
    z[3, 1], z[4, 2], z[5, (z[5].argmax() + 1) % K] = np.nan, np.inf, -np.inf
    got, clean = score(x, z), score(QUERIES[:9], ZQ[:9])
    assert np.isnan(got[0])
    assert np.isposinf(got[1:3]).all()
    if name in GRADIENTS:
        assert np.isnan(got[3])
        assert np.isposinf(got[4])
        assert np.isfinite(got[5])
    np.testing.assert_array_equal(got[6:], clean[6:])


@pytest.mark.parametrize("name", ["mcm", "gmm_perclass"])
def test_fitted_to_no_image_all_are_strange(name):
    fit, score = tools(name)
    assert np.isposinf(score(fit(outputs(X, Z), np.full(N, K, np.int32)), outputs(QUERIES, ZQ))).all()


# pNML


def test_pnml_of_a_sure_prediction_keeps_its_digits():
    """Of p = 1 − 1e−9, which is 1 in float32, the regret is some 1e−9 times that of a random guess."""
    p = np.array([[1 - 3e-9, 1e-9, 1.5e-9, 0.5e-9]])
    g = np.array([0.3])
    expected = np.log1p((p[:, 1:] / (p[:, 1:] + (1 - p[:, 1:]) * p[:, 1:] ** g)).sum(1) - 3e-9 / (1 + 3e-9))
    found = _regret(jnp.asarray(np.log(p), jnp.float32), jnp.asarray(g, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_what_no_training_image_has_is_as_strange_as_can_be():
    """A direction that all training features leave out: g = 1, and every class could have been made certain."""
    x = X.copy()
    x[:, 0] = 0
    fit, score = tools("pnml")
    state = fit(outputs(x, logits_of(x)), Y)
    away = np.zeros((1, D), np.float32)
    away[0, 0] = 1
    p = softmax(BIAS[None], axis=1)  # the weight of a feature that is always 0 is unknown, and taken for 0
    np.testing.assert_allclose(
        score(state, outputs(away)), np.log((p / (p + (1 - p) * p)).sum(1)) / np.log(K), rtol=1e-3
    )


def test_the_root_of_many_chunks_is_that_of_one():
    """A condition of 1e4 that a sum of products, 1e8, would lose."""
    x = X.copy()
    x[:, 1] = x[:, 0] + 2e-4 * x[:, 1]
    scorer = scorers.make("pnml", capacity=N)
    fit = jax.jit(lambda o, y: scorers.fit(scorer, o, y, K, batch_size=7))
    found = np.asarray(fit(outputs(x, logits_of(x)), Y).whiten, np.float64)
    inverse = np.linalg.inv(unit(x).T @ unit(x))
    assert np.abs(found @ found.T - inverse).max() < 2e-2 * np.abs(inverse).max()


# Mixtures


def test_components_of_each_class_are_those_of_scikit_learn():
    """Two clusters in each class, far apart."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    corner = rng.integers(0, 2, 400)
    x = 12 * np.stack([y, corner, np.zeros(400)], 1) + rng.normal(size=(400, 3)) * (1 + corner[:, None] + y[:, None])
    x = x.astype(np.float32)
    scorer = scorers.make("gmm_perclass", components=2, shrinkage=0.0, capacity=500)
    state = jax.jit(lambda x, y: scorers.fit(scorer, {"features": x}, y, 2))(x, y.astype(np.int32))
    parts = [GaussianMixture(2, reg_covar=0, tol=1e-9, max_iter=500, random_state=0).fit(x[y == k]) for k in (0, 1)]
    queries = np.concatenate([x, 2 * x])
    expected = -logsumexp([np.log(0.5) + part.score_samples(queries) for part in parts], axis=0)
    np.testing.assert_allclose(scorer.score(state, {"features": queries}), expected, rtol=1e-3)


# Options


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("gradnorm", {"temperature": 0.0}, "temperature"),
        ("mcm", {"temperature": -1.0}, "temperature"),
        ("gmm_perclass", {"components": 0}, "components=0"),
        ("gmm_perclass", {"components": 9, "capacity": 8}, "capacity 8: 9 components"),
    ],
)
def test_options_out_of_range_are_refused(name, options, match):
    with pytest.raises(ValueError, match=match):
        scorers.make(name, **options)


def test_shapes_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="1 class can't be compared"):
        scorers.make("mcm").init(D, 1)
    with pytest.raises(ValueError, match=r"concepts of shape \(4, 12\): must be \(4, 6\)"):
        scorers.make("mcm", concepts=TEXT).init(6, 4)
    with pytest.raises(ValueError, match="at least 2 classes"):
        scorers.fit(scorers.make("gradnorm"), {"features": X, "logits": Z[:, :1]}, jnp.asarray(Y), 1)
