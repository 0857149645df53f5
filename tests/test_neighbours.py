"""Neighbours, principal components, class means and layers against float64 NumPy and scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances
from sklearn.neighbors import NearestNeighbors

from adjax import scorers
from adjax.scorers import _vectors
from adjax.scorers.mahalanobis import _squares

N, D, K = 300, 5, 3
RNG = np.random.default_rng(0)
Y = np.arange(N, dtype=np.int32) % K
X = (3 * RNG.normal(size=(K, D))[Y] + RNG.normal(size=(N, D)) * [0.2, 0.5, 1, 2, 4]).astype(np.float32)
QUERIES = np.concatenate([X[:100], 1.5 * X[:100] + 1]).astype(np.float32)
MEANS = np.stack([X[k == Y].mean(0, dtype=np.float64) for k in range(K)])


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@functools.cache
def tools(name, **options):
    scorer = scorers.make(name, **options)
    fit = jax.jit(lambda x, y: scorers.fit(scorer, {"features": x}, y, K, batch_size=128))
    return fit, jax.jit(lambda state, x: scorer.distances(state, {"features": x}))


def distances(name, x=X, query=QUERIES, y=Y, **options):
    fit, distances = tools(name, **options)
    return np.asarray(distances(fit(x, y), query))


def unit(x):
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# Neighbours


@pytest.mark.parametrize(("k", "normalise"), [(1, False), (20, False), (20, True)])
def test_neighbours_are_those_of_scikit_learn(k, normalise):
    to = unit if normalise else np.float64
    expected = NearestNeighbors(n_neighbors=k).fit(to(X)).kneighbors(to(QUERIES))[0][:, -1:]
    found = distances("knn", k=k, normalise=normalise, capacity=400)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert k > 1 or (found[:100] == 0).all()  # an image that is remembered is its own neighbour


def test_a_common_offset_costs_no_digits_of_a_neighbour():
    x, queries = ((v * 64).round() / 64 for v in (X, QUERIES))  # so that float32 adds without rounding
    far, near = (distances("knn", x + o, queries + o, k=20, normalise=False, capacity=400) for o in (4096, 0))
    np.testing.assert_allclose(far, near, rtol=1e-4)


def test_neighbours_are_of_the_sample_that_is_kept():
    found = distances("knn", k=20, normalise=False, capacity=50)
    kept = np.asarray(tools("knn", k=20, normalise=False, capacity=50)[0](X, Y).rows)
    assert kept.shape == (50, D)
    exact = distances("knn", k=20, normalise=False, capacity=400)
    assert (found >= exact - 1e-5).all()
    assert found.mean() > 1.2 * exact.mean()


def test_of_fewer_images_than_k_the_furthest_counts():
    found = distances("knn", y=np.where(np.arange(N) < 4, 0, K), k=20, normalise=False, capacity=400)
    np.testing.assert_allclose(found[:, 0], euclidean_distances(QUERIES, X[:4]).max(1), rtol=1e-5)
    nothing = QUERIES.copy()
    nothing[0] = np.nan
    found = distances("knn", query=nothing, y=np.full(N, K), k=20, normalise=False, capacity=400)[:, 0]
    assert np.isposinf(found[1:]).all()
    assert np.isnan(found[0])


def test_what_has_no_direction_is_infinitely_far():
    """An infinite feature would otherwise drown all others, and look like an image that had only that one."""
    odd = QUERIES.copy()
    odd[0, 1], odd[1, 1], odd[2] = np.inf, np.nan, 0
    odd[3, 0], odd[3, 1] = np.inf, np.nan
    x = X.copy()
    x[:, 1] += 1e6  # so that all training images point where the infinite one seems to
    for name, options in (("knn", {"k": 20, "normalise": True, "capacity": 400}), ("cosine", {})):
        found = distances(name, x, odd, **options).min(1)
        assert found[0] == np.inf, name
        assert np.isnan(found[[1, 3]]).all(), name
        assert np.isfinite(np.delete(found, [0, 1, 3])).all(), name
        np.testing.assert_allclose(found[2], 1, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("scale", [1e-30, 1e13])
def test_a_direction_has_no_length(scale):
    for name, options in (("knn", {"k": 20, "normalise": True, "capacity": 400}), ("cosine", {})):
        found = distances(name, query=QUERIES * np.float32(scale), **options)
        np.testing.assert_allclose(found, distances(name, **options), rtol=1e-4, atol=1e-6)


def test_the_memory_that_neighbours_take_is_flat():
    def bytes_of(n):
        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((n, 16), (10_000, 16))]
        find = jax.jit(lambda x, rows: _vectors.nearest(x, rows, jnp.ones(len(rows), bool), 5))
        return find.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert bytes_of(8192) < 1.5 * bytes_of(1024)
    assert bytes_of(8192) < 8192 * 10_000  # a tenth of all distances, which are 4 bytes each


# Principal components


@pytest.mark.parametrize("components", [0, 2, 0.7, 0.95])
def test_residuals_are_those_of_scikit_learn(components):
    machine = PCA(components or 1, svd_solver="full").fit(X.astype(np.float64))
    back = machine.inverse_transform(machine.transform(QUERIES)) if components else machine.mean_
    expected = np.linalg.norm(QUERIES - back, axis=1)
    np.testing.assert_allclose(distances("pca", components=components)[:, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_share_of_the_variance_leaves_a_residual():
    """However even the variance is, one direction is left to judge by."""
    x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
    assert distances("pca", x, components=0.95).min() > 0


def test_components_of_an_offset_are_as_good():
    far, near = (distances("pca", X + o, QUERIES + o, components=2) for o in (np.float32(1e4), np.float32(0)))
    np.testing.assert_allclose(far, near, rtol=5e-3)


# Class means


def test_centers_and_angles_are_those_of_scikit_learn():
    np.testing.assert_allclose(distances("center"), euclidean_distances(QUERIES, MEANS), rtol=1e-5)
    np.testing.assert_allclose(distances("cosine"), cosine_distances(QUERIES, MEANS), rtol=1e-4, atol=1e-6)


def test_a_small_angle_keeps_its_digits():
    """1 − cos would be 0 or 6e-8 here."""
    mean = MEANS[0].astype(np.float32)
    aside = np.cross(mean[:3], [1.0, 2, 3])
    queries = np.stack([mean.astype(np.float64) + e * np.r_[aside, 0, 0] for e in (3e-4, 1e-3, 3e-3)])
    found = distances("cosine", query=queries.astype(np.float32), x=np.tile(mean, (N, 1)))[:, 0]
    np.testing.assert_allclose(found, 1 - (unit(queries) * unit(mean)).sum(1), rtol=2e-2)
    assert 0 < found[0] < 1e-6


@pytest.mark.parametrize("name", ["center", "cosine", "relative_mahalanobis"])
def test_no_image_is_near_a_class_without_images(name):
    found = distances(name, y=np.where(Y == 1, 0, Y))
    assert np.isposinf(found[:, 1]).all()
    assert np.isfinite(found[:, [0, 2]]).all()


# Relative Mahalanobis


def test_relative_distances_are_those_of_float64():
    def square(query, x, means):
        cov = x.T @ x / len(x)
        cov = 0.9 * cov + 0.1 * np.trace(cov) / D * np.eye(D)
        rest = query[:, None] - means
        return np.einsum("nkd,de,nke->nk", rest, np.linalg.inv(cov), rest)

    x, query = X.astype(np.float64), QUERIES.astype(np.float64)
    mean = x.mean(0, keepdims=True)
    expected = square(query, x - MEANS[Y], MEANS) - square(query, x - mean, mean)
    found = distances("relative_mahalanobis")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert found.min() < 0 < found.max()


def test_a_difference_of_squares_that_overflow_is_no_nan():
    odd = QUERIES.copy()
    odd[0, 1], odd[1], odd[2] = np.inf, 1e8, np.nan
    found = distances("relative_mahalanobis", X * np.float32(1e-12), odd).min(1)
    assert np.isposinf(found[:2]).all()
    assert np.isnan(found[2])
    assert np.isfinite(found[3:]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_mean_that_is_no_number_takes_no_place_among_the_near_ones(sign):
    """Of many classes only the near ones are told by differences; `top_k` places a NaN by its sign."""
    rng = np.random.default_rng(0)
    means = np.float32(30 + 3 * rng.normal(size=(80, 5)))
    z = means[:7] + np.float32(1e-3)
    exact = np.square(z[:, None].astype(np.float64) - means[None]).sum(-1)
    means[-5:] = np.copysign(np.float32(np.nan), np.float32(sign))
    found = np.asarray(jax.jit(_squares)(z, means))
    np.testing.assert_allclose(found[np.arange(7), np.arange(7)], exact[np.arange(7), np.arange(7)], rtol=1e-5)
    assert np.isnan(found[:, -5:]).all()


# Layers


def test_layers_are_added_in_standard_deviations():
    hidden = np.random.default_rng(2).normal(size=(N, 2, 3, 4)).astype(np.float32) * 50
    both = {"features": X, "hidden": hidden}
    scorer = scorers.make("layers", names=["features", "hidden"], weights=[1, 0.25], dims=[D, 4], shrinkage=0.2)
    fit, score = jax.jit(lambda both, y: scorers.fit(scorer, both, y, K, batch_size=128)), jax.jit(scorer.score)
    state = fit(both, Y)
    expected = 0
    for weight, layer in ((1, X), (0.25, hidden.mean((1, 2)))):
        one = distances("mahalanobis", layer, layer, shrinkage=0.2).min(1)
        expected = expected + weight * (one - one.mean()) / one.std()
    found = score(state, both)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert abs(np.mean(found)) < 1e-4
    broken = {**both, "hidden": np.where(np.arange(N)[:, None, None, None] == 7, np.nan, hidden)}
    assert np.flatnonzero(np.isnan(score(state, broken))).tolist() == [7]
    # what is broken in one layer is left out of the fit of all
    without = fit(both, np.where(np.arange(N) == 7, K, Y))
    np.testing.assert_allclose(score(fit(broken, Y), both), score(without, both), rtol=1e-4, atol=1e-4)


def test_layers_of_any_scorer():
    found = distances("layers", scorer="knn", k=20, normalise=True, capacity=400)
    alone = distances("knn", k=20, normalise=True, capacity=400)
    np.testing.assert_allclose(np.corrcoef(found[:, 0], alone[:, 0])[0, 1], 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("knn", {"k": 0}, "k=0 nearest"),
        ("knn", {"k": 11, "capacity": 10}, "k=11 nearest of at most capacity=10"),
        ("pca", {"components": -1}, "components -1"),
        ("pca", {"components": 1.5}, r"components 1\.5"),
        ("pca", {"components": 5}, "5 components of 5 features leave no residual"),
        ("relative_mahalanobis", {"shrinkage": 2}, "shrinkage 2"),
        ("layers", {"names": []}, r"layers \(\)"),
        ("layers", {"names": ["a", "b"], "weights": [1]}, r"weights \[1\]"),
    ],
)
def test_options_out_of_range_are_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        scorers.make(name, **options).init(D, K)


def test_a_relative_distance_needs_two_classes():
    with pytest.raises(ValueError, match="at least 2 classes"):
        scorers.make("relative_mahalanobis").init(D, 1)
