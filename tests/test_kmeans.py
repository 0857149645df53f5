"""k-means against scikit-learn's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score
from tiers import daily

from adjax import _kmeans as module
from adjax._kmeans import kmeans

cluster = jax.jit(kmeans, static_argnames=("k", "iterations"))
DIGITS = load_digits().data[:700].astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@functools.cache
def blobs(offset=0.0):
    """Six of them, 60 rows each, far apart for their spread of 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(360) % 6
    x = 30 * np.eye(6, 5)[labels] + rng.normal(size=(360, 5)) + offset
    return x.astype(np.float32), labels


def inertia(x, centers, labels):
    return np.square(x - np.asarray(centers)[np.asarray(labels)]).sum()


@pytest.mark.parametrize("k", [*daily([1, 10, 40], 10)])
def test_the_inertia_is_that_of_scikit_learn(k):
    ours = [inertia(DIGITS, *cluster(jax.random.key(s), DIGITS, k=k)) for s in range(3)]
    theirs = [KMeans(k, n_init=1, random_state=s).fit(DIGITS).inertia_ for s in range(3)]
    assert np.mean(ours) < 1.02 * np.mean(theirs)  # 1.00, 0.99 and 1.00 when written


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_separated_blobs_are_found_whatever_the_key(offset):
    x, labels = blobs(offset)
    for seed in range(5):
        centers, found = cluster(jax.random.key(seed), x, k=6)
        assert adjusted_rand_score(labels, found) == 1
        means = np.stack([x[labels == labels[np.argmax(found == j)]].mean(0) for j in range(6)])
        np.testing.assert_allclose(centers, means, rtol=1e-5, atol=1e-3)


def test_the_same_key_gives_the_same_centres_and_another_key_others():
    a, b, c = (cluster(jax.random.key(seed), DIGITS, k=10)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_labels_are_those_of_the_nearest_centre_and_centres_means():
    centers, labels = map(np.asarray, cluster(jax.random.key(0), DIGITS, k=10, iterations=200))
    assert labels.dtype == np.int32
    square = np.square(DIGITS[:, None].astype(np.float64) - centers).sum(-1)
    np.testing.assert_array_equal(labels, square.argmin(1))
    for j in range(10):
        np.testing.assert_allclose(centers[j], DIGITS[labels == j].mean(0), atol=1e-4)


def test_masked_and_broken_rows_do_not_count():
    x, labels = blobs()
    dirty = x.copy()
    dirty[5, 2], dirty[6], dirty[7] = np.nan, np.inf, 1e9
    mask = np.arange(len(x)) != 7
    centers, found = cluster(jax.random.key(0), dirty, k=6, mask=mask)
    kept = mask & np.isfinite(dirty).all(1)
    assert adjusted_rand_score(labels[kept], np.asarray(found)[kept]) == 1
    assert np.abs(centers).max() < 40


@pytest.mark.slow
def test_the_chunks_do_not_matter(monkeypatch):
    x, _ = blobs()
    whole = cluster(jax.random.key(0), x, k=6)[0]
    monkeypatch.setattr(module, "_CHUNK", 100)
    parts = jax.jit(lambda key, x: kmeans(key, x, 6))(jax.random.key(0), x)[0]
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_a_centre_that_lost_its_rows_finds_others(monkeypatch):
    """From a start with five of six centres far from every row."""
    x, _ = blobs()
    monkeypatch.setattr(module, "_plus_plus", lambda key, x, weight, k: jnp.zeros((k, 5)).at[1:].set(1e3))
    centers, found = jax.jit(lambda key, x: kmeans(key, x, 6))(jax.random.key(0), x)
    assert len(np.unique(found)) == 6
    assert inertia(x, centers, found) < np.square(x - x.mean(0)).sum()


@pytest.mark.slow
def test_more_centres_than_different_rows():
    for x in (np.full((8, 2), 7.0, np.float32), np.float32([[0, 0], [9, 9]] * 4)):
        centers, labels = cluster(jax.random.key(0), x, k=12)
        assert np.isfinite(centers).all()
        np.testing.assert_allclose(centers[labels], x)
    centers, _ = cluster(jax.random.key(0), np.full((8, 2), np.nan, np.float32), k=12)
    assert np.all(np.asarray(centers) == 0)


@pytest.mark.slow
def test_a_table_of_data_sets_by_vmap():
    x, labels = blobs()
    table = jnp.stack([x, x[::-1]])
    _, found = jax.jit(jax.vmap(lambda x: kmeans(jax.random.key(0), x, 6)))(table)
    assert adjusted_rand_score(labels, found[0]) == 1
    assert adjusted_rand_score(labels[::-1], found[1]) == 1


@pytest.mark.parametrize(("shape", "options"), [((0, 3), {"k": 1}), ((4,), {"k": 1}), ((4, 3), {"k": 0})])
def test_what_cannot_be_clustered_is_refused(shape, options):
    with pytest.raises(ValueError, match="must be"):
        kmeans(jax.random.key(0), jnp.zeros(shape), **options)
