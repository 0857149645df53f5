"""Fitting in a stream and across devices; sums that keep their digits after hundreds of thousands of merges."""

from __future__ import annotations

import functools
import re
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scorer_cases import CASES
from training import finish, start

from adjax import scorers

N, D, K = 700, 6, 3
RNG = np.random.default_rng(0)
Y = RNG.integers(0, K, N).astype(np.int32)
X = (RNG.normal(size=(N, D)) * np.geomspace(0.5, 4, D) + 3 * Y[:, None]).astype(np.float32)
LENGTHS = 1, 300, 0, 130, 5, 264


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def batches(x=X, y=Y):
    """All of them written into the same memory, one after another, as a reader of files may do."""
    memory, start = np.empty((300, *x.shape[1:]), x.dtype), 0
    for n in LENGTHS:
        memory[:n] = x[start : start + n]
        yield {"features": memory[:n]}, y[start : start + n]
        start += n


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mahalanobis", {}),
        ("knn", {"k": 3, "capacity": 90}),
        pytest.param("padim", {"feature": "features", "grid": (1, 2), "dim": 3}, marks=pytest.mark.slow),
    ],
)
def test_a_stream_gives_the_fit_of_all_at_once(name, options):
    scorer, traced = scorers.make(name, **options), []

    def update(*args):
        traced.append(args)
        return scorer.update(*args)

    state = scorers.fit_stream(scorer._replace(update=update), batches(), D, K, batch_size=64)
    assert len(traced) == 1  # compiled once, whatever the lengths
    whole = jax.jit(lambda x, y: scorers.fit(scorer, {"features": x}, y, K, batch_size=64))(X, Y)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), state, whole)


def test_a_stream_is_in_memory_a_batch_at_a_time():
    alive = []

    def many():
        for i in range(40):
            assert sum(batch() is not None for batch in alive) <= 3, i
            x = RNG.normal(size=(90, D)).astype(np.float32)
            alive.append(weakref.ref(x))
            yield {"features": x}, np.zeros(90, np.int32)
            del x

    scorers.fit_stream(scorers.make("center"), many(), D, K, batch_size=128)
    assert len(alive) == 40


def test_a_stream_of_nothing_or_of_unlike_lengths_is_refused():
    for given in ([], [({"features": X[:0]}, Y[:0])]):
        with pytest.raises(ValueError, match="no image to fit a scorer to"):
            scorers.fit_stream(scorers.make("center"), given, D, K)
    with pytest.raises(ValueError, match="features of 9 images and labels of 8"):
        scorers.fit_stream(scorers.make("center"), [({"features": X[:9]}, Y[:8])], D, K)
    with pytest.raises(ValueError, match="batch_size=0"):
        scorers.fit_stream(scorers.make("center"), batches(), D, K, batch_size=0)


@pytest.mark.parametrize(
    ("name", "batch", "said"),
    [
        ("vim", ({"features": X}, Y), "this scorer takes an output 'logits', and there are 'features': add it"),
        ("center", {"features": X}, "a batch is outputs without labels: must be a pair (outputs, labels)"),
        ("center", {"features": X, "logits": X}, "a batch is outputs without labels"),
        ("center", X, "a batch is ndarray: must be a pair"),
        ("center", ({"features": X}, None), "labels are None: must be int[N]"),
        ("center", ({"features": X}, Y.astype(np.float32)), "labels are float32: must be int[N]"),
        ("center", ({"features": X}, ["cat"] * N), "labels are <U3: must be int[N]"),
        ("center", ({"features": X}, Y[:, None]), "labels [700, 1]: must be [N]"),
    ],
)
def test_what_is_missing_from_a_fit_is_named(name, batch, said):
    scorer = scorers.make(name)
    with pytest.raises(ValueError, match=re.escape(said)):
        scorers.fit_stream(scorer, iter([batch]), D, K)
    if isinstance(batch, tuple):
        for rows in (None, 100):
            with pytest.raises(ValueError, match=re.escape(said)):
                scorers.fit(scorer, *batch, K, batch_size=rows)


@functools.cache
def many():
    """200,000 rows of mean 10,000 and standard deviation about 1; their class means and scatter in float64."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, K, 200_000).astype(np.int32)
    x = rng.normal(size=(len(y), 8)) @ (np.eye(8) + 0.3 * rng.normal(size=(8, 8))) + 1e4 + 0.5 * y[:, None]
    x = x.astype(np.float32)
    means = np.stack([x[y == k].mean(0, dtype=np.float64) for k in range(K)])
    rest = x - means[y]
    return x, y, means, rest.T @ rest


def assert_exact(stats, limit):
    _, y, means, scatter = many()
    np.testing.assert_array_equal(stats.counts, np.bincount(y))
    np.testing.assert_allclose(np.float64(stats.anchor) + np.float64(stats.mean), means, atol=limit, rtol=0)
    np.testing.assert_allclose(stats.scatter[0], scatter, atol=limit * np.abs(scatter).max(), rtol=0)


def test_a_stream_keeps_its_digits():
    x, y, *_ = many()
    scorer = scorers.make("mahalanobis")._replace(finalize=lambda stats: stats)
    parts = (({"features": x[i : i + 3001]}, y[i : i + 3001]) for i in range(0, len(x), 3001))
    assert_exact(scorers.fit_stream(scorer, parts, 8, K), 1e-6)


@pytest.mark.slow
def test_two_hundred_thousand_merges_keep_their_digits():
    """One image at a time. Plain float32 sums are 4e-5 off by then, and it grows with the merges."""
    x, y, *_ = many()
    scorer = scorers.make("mahalanobis")

    @jax.jit
    def fit(x, y):
        def one(stats, row):
            return scorer.update(stats, {"features": row[0][None]}, row[1][None], jnp.ones(1, bool)), None

        return jax.lax.scan(one, scorer.init(8, K), (x, y))[0]

    assert_exact(fit(x, y), 1e-6)


def test_counts_go_on_beyond_what_float32_can_count():
    """2²⁴ + 1 = 2²⁴ in float32: one image at a time, plain sums would stand still there."""
    scorer = scorers.make("mahalanobis")
    many = np.float32(2**24)
    full = scorer.init(2, 1)._replace(counts=jnp.full(1, many), scatter=many * jnp.eye(2)[None])
    rows = np.float32([[3, 0], [-3, 0], [0, 1], [0, -1]])

    @jax.jit
    def fit(stats):
        def one(stats, i):
            row = {"features": jnp.asarray(rows)[i % 4][None]}
            return scorer.update(stats, row, jnp.zeros(1, jnp.int32), jnp.ones(1, bool)), None

        return jax.lax.scan(one, stats, jnp.arange(20_000))[0]

    stats = fit(full)
    np.testing.assert_array_equal(stats.counts, many + 20_000)
    expected = np.diag([2.0**24 + 10_000 * 9, 2.0**24 + 10_000 * 1])
    np.testing.assert_allclose(stats.scatter[0], expected, rtol=2e-7, atol=1)


def fitted_by_eight(*names):
    output = finish(start("child_merge.py", *names, devices=8))
    merges = re.findall(r"^(.+) is alike on eight devices and one$", output, re.MULTILINE)
    same = re.findall(r"^(.+) merges as .+ does$", output, re.MULTILINE)
    assert {*merges, *same} == {*names}, output
    return merges


@pytest.mark.slow
def test_eight_devices_are_one():
    """Sums, samples and places, over eight devices inside of `jax.shard_map`, against one device's fit."""
    names = ["center", "kl_matching", "knn", "layers", "mahalanobis", "padim"]
    assert fitted_by_eight(*names) == names


@pytest.mark.parametrize(
    ("outputs", "labels", "sizes", "said"),
    [
        ({"features": X}, Y, (K, 0), "batch_size=0: must be at least 1"),
        ({"features": X}, Y, (K, -1), "batch_size=-1: must be at least 1"),
        ({"features": X}, Y, (0, 7), "classes=0: must be at least 1"),
        ({"features": X}, Y[:, None], (K, 7), "labels [700, 1]: must be [N]"),
        ({"features": X.tolist()}, Y, (K, None), "outputs['features'] is list: must be an array [N, ...]"),
        (X, Y, (K, None), "outputs are ndarray: must be named arrays"),
        ({}, Y, (K, None), "this scorer takes an output 'features', and there are none"),
    ],
)
def test_what_can_not_be_fitted_is_said(outputs, labels, sizes, said):
    scorer = scorers.make("mahalanobis")
    with pytest.raises(ValueError, match=re.escape(said)):
        scorers.fit(scorer, outputs, labels, *sizes)
    if sizes[1] is not None and isinstance(outputs, dict):
        with pytest.raises(ValueError, match=re.escape(said)):
            scorers.statistics(scorer, [(outputs, labels)], D, *sizes)


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint64])
def test_labels_of_any_integers_that_are_no_class_count_for_nothing(dtype):
    """In int32, 2^32 would be class 0."""
    scorer, odd, kept = scorers.make("mahalanobis"), Y.astype(dtype), np.arange(N) % 5 > 0
    odd[~kept] = min(2**32, np.iinfo(dtype).max)
    whole = scorers.fit(scorer, {"features": X[kept]}, Y[kept], K)
    one, many = (scorers.fit(scorer, {"features": X}, odd, K, size) for size in (None, 100))
    streamed = scorers.fit_stream(scorer, [({"features": X}, odd)], D, K)
    traced = jax.jit(lambda y: scorers.fit(scorer, {"features": X}, y, K))(np.where(kept, Y, 99).astype(np.int8))
    for state in (one, many, streamed, traced):
        both = (scorer.score(x, {"features": X}) for x in (state, whole))
        np.testing.assert_allclose(*both, rtol=1e-3)


@pytest.mark.slow
def test_eight_devices_are_one_for_every_scorer():
    """Each way to merge that a scorer has."""
    first = ["mahalanobis", "mahalanobis_perclass", "center", "layers", "padim"]  # of equal programs the first is run
    assert {*first} <= {*fitted_by_eight(*first, *(name for name in CASES if name not in first))}
