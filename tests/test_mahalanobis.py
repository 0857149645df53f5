"""Mahalanobis distances against float64 and scikit-learn."""

import jax
import numpy as np
import pytest
from scorer_cases import D, K, N, each_mahalanobis, images, outputs, tools
from sklearn.covariance import EmpiricalCovariance, ShrunkCovariance
from tiers import daily

from adjax import scorers

pytestmark = pytest.mark.rounding


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def fitting(name, **options):
    tool = tools(name, **options)
    return tool.fit, tool.distances


def reference(x, y, name, shrinkage, query):
    """Distances in float64, class by class, by a linear solve: no code in common with ours."""
    x, query = x.astype(np.float64), query.astype(np.float64)
    means = np.stack([x[y == k].mean(0) for k in range(K)])
    rest = [x[y == k] - means[k] for k in range(K)]
    if name == "mahalanobis":
        rest = [np.concatenate(rest)] * K
    every, result = np.concatenate(rest), []
    for mean, r in zip(means, rest, strict=True):
        cov = r.T @ r / len(r)
        if name == "mahalanobis_partial":
            cov = (r.T @ r + D * every.T @ every / len(every)) / (len(r) + D)
        cov = (1 - shrinkage) * cov + shrinkage * np.trace(cov) / D * np.eye(D)
        difference = query - mean
        result.append(np.sqrt(np.sum(difference * np.linalg.solve(cov, difference.T).T, 1)))
    return np.stack(result, 1)


@each_mahalanobis
@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_distances_are_those_of_float64(name, shrinkage, scale):
    x, y = images()
    query = np.concatenate([x, images(seed=1)[0] * 5]) * np.float32(scale)
    x = x * np.float32(scale)
    fit, distances = fitting(name, shrinkage=shrinkage)
    expected = reference(x, y, name, shrinkage, query)
    np.testing.assert_allclose(distances(fit(x, y), query), expected, rtol=1e-4)


@pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
def test_distances_are_those_of_scikit_learn(shrinkage):
    x, y = images()
    means = np.stack([x[y == k].mean(0, dtype=np.float64) for k in range(K)])
    options = {"shrinkage": shrinkage} if shrinkage else {}
    estimator = ShrunkCovariance if shrinkage else EmpiricalCovariance
    tied = estimator(assume_centered=True, **options).fit(x - means[y])
    expected = np.stack([tied.mahalanobis(x - m) for m in means], 1) ** 0.5
    fit, distances = fitting("mahalanobis", shrinkage=shrinkage)
    np.testing.assert_allclose(distances(fit(x, y), x), expected, rtol=1e-4)

    each = [estimator(**options).fit(x[y == k].astype(np.float64)) for k in range(K)]
    expected = np.stack([e.mahalanobis(x) for e in each], 1) ** 0.5
    fit, distances = fitting("mahalanobis_perclass", shrinkage=shrinkage)
    np.testing.assert_allclose(distances(fit(x, y), x), expected, rtol=1e-4)


@each_mahalanobis
@pytest.mark.parametrize("offset", [1e3, 1e4, -1e5])
def test_a_large_common_offset_costs_no_digits(name, offset):
    """Σ f fᵀ − n μ μᵀ would lose all of them. The features' own rounding is in the reference too."""
    x, y = images()
    x = (x + np.float32(offset)).astype(np.float32)
    fit, distances = fitting(name, shrinkage=0.0)
    np.testing.assert_allclose(distances(fit(x, y), x), reference(x, y, name, 0.0, x), rtol=2e-5)


@pytest.mark.parametrize("n", [*daily([8192, 2 * 8192, 8192 + 5], 8192 + 5)])
def test_many_images_have_the_distances_of_few(n):
    """On CPU they go block by block, the last one smaller."""
    x, y = images()
    fit, distances = fitting("mahalanobis")
    state = fit(x, y)
    many = np.resize(x, (n, D))
    got = np.asarray(distances(state, many))
    np.testing.assert_allclose(got, np.asarray(distances(state, x))[np.arange(n) % N], rtol=2e-6)


@each_mahalanobis
def test_digits_stay_when_batches_come_class_by_class(name):
    """The anchor is then the mean of the first class alone, and every merge moves a mean."""
    x, y = images(apart=100)
    order = np.argsort(y, kind="stable")
    x, y = x[order] + np.float32(1e4), y[order]
    scorer = tools(name, shrinkage=0.0).scorer
    fit, distances = fitting(name, shrinkage=0.0)
    update, stats = jax.jit(scorer.update), scorer.init(D, K)
    for part in np.array_split(np.arange(N), 8):
        chosen = np.isin(np.arange(N), part)
        stats = update(stats, outputs(x), y, chosen)
    means = np.stack([x[y == k].mean(0, dtype=np.float64) for k in range(K)])
    scatter = [(x[y == k] - means[k]).T @ (x[y == k] - means[k]) for k in range(K)]
    scatter = np.sum(scatter, 0, keepdims=True) if name == "mahalanobis" else np.stack(scatter)
    got = sum(np.asarray(part, np.float64) for part in (stats.anchor, stats.mean, stats.lost.mean))
    np.testing.assert_allclose(got - 1e4, means - 1e4, rtol=0, atol=2e-5)  # 2e-9 of the offset
    np.testing.assert_allclose(stats.scatter, scatter, rtol=0, atol=2e-6 * np.abs(scatter).max())
    np.testing.assert_allclose(distances(fit(x, y), x), reference(x, y, name, 0.0, x), rtol=4e-5)


@each_mahalanobis
@pytest.mark.parametrize("apart", [300.0, 3000.0])
def test_a_small_distance_survives_classes_that_are_far_apart(name, apart):
    """The expanded square ‖z‖² − 2 z·m + ‖m‖² was 3 % off, 300 deviations out."""
    x, y = images(apart=apart)
    fit, distances = fitting(name, shrinkage=0.0)
    got, expected = np.asarray(distances(fit(x, y), x)), reference(x, y, name, 0.0, x)
    np.testing.assert_allclose(got, expected, rtol=4e-7 * apart)
    own = np.arange(N), y
    assert expected[own].min() < 1.5
    assert expected.max() > apart / 10


@each_mahalanobis
def test_the_gradient_at_a_class_mean_is_zero(name):
    x, y = images()
    tool = tools(name)
    fit, distances, gradient = tool.fit, tool.distances, tool.gradient
    x = np.round(x * 8) / 8
    x[y == 0] = np.concatenate([x[y == 0][:40], -x[y == 0][:40]])  # class 0 has its mean at exactly 0
    state = fit(x, y)
    at_mean = np.zeros((N, D), np.float32)
    assert distances(state, at_mean)[0, 0] < 1e-4
    assert np.isfinite(gradient(state, at_mean)).all()
    step = gradient(state, x)
    assert np.isfinite(step).all()
    assert np.all(np.linalg.norm(step, axis=1) > 0)


def test_a_duplicated_feature_changes_no_distance():
    """Both halves of the floor in one: the singular direction is silent where features agree."""
    x, y = images()
    fit, distances = fitting("mahalanobis", shrinkage=0.0)
    double = np.concatenate([x[:, :-1], x[:, :1]], 1)
    expected = distances(
        fit(np.concatenate([x[:, :-1], np.zeros((N, 1), np.float32)], 1), y), x * (np.arange(D) < D - 1)
    )
    np.testing.assert_allclose(distances(fit(double, y), double), expected, rtol=2e-2)


def test_shrinkage_goes_from_mahalanobis_to_euclid():
    x, y = images()
    fit, distances = fitting("mahalanobis", shrinkage=1.0)
    means = np.stack([x[y == k].mean(0) for k in range(K)])
    euclid = np.linalg.norm(x[:, None] - means, axis=-1)
    ratio = np.asarray(distances(fit(x, y), x)) / euclid
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)


def test_another_output_may_be_scored():
    x, y = images()
    scorer = scorers.make("mahalanobis", feature="hidden")
    both = {"features": np.zeros((N, D), np.float32), "hidden": x}
    found = jax.jit(lambda both: scorer.distances(scorers.fit(scorer, both, y, K), both))(both)
    fit, distances = fitting("mahalanobis")
    np.testing.assert_allclose(found, distances(fit(x, y), x), rtol=1e-4)


def test_distances_from_many_classes_are_as_exact_as_from_few():
    """Far apart and far from zero, where ‖x‖² − 2 x·m + ‖m‖² has lost its digits; nearest or not."""
    rng = np.random.default_rng(0)
    classes, labels = 100, np.repeat(np.arange(100, dtype=np.int32), 5)
    centers = 300 * rng.normal(size=(classes, D)) + 1e4
    x = (centers[labels] + rng.normal(size=(len(labels), D))).astype(np.float32)
    scorer = scorers.make("mahalanobis", shrinkage=0.0)
    state = jax.jit(lambda x, y: scorers.fit(scorer, {"features": x}, y, classes))(x, labels)
    found = np.asarray(jax.jit(scorer.distances)(state, {"features": x}))
    exact = x.astype(np.float64)
    means = np.stack([exact[labels == c].mean(0) for c in range(classes)])
    rest = exact - means[labels]
    precision = np.linalg.inv(rest.T @ rest / len(rest))
    away = exact[:, None] - means
    expected = np.sqrt(np.einsum("nkd,de,nke->nk", away, precision, away))
    np.testing.assert_allclose(found, expected, rtol=3e-4)
    np.testing.assert_array_equal(found.argmin(1), labels)
    gradient = jax.jit(jax.grad(lambda v: scorer.score(state, {"features": v}).sum()))(x)
    assert np.isfinite(gradient).all()
