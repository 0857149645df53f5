"""Every scorer keeps the contract of `adjax.types.Scorer`; Mahalanobis against float64 and scikit-learn."""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from sklearn.covariance import EmpiricalCovariance, ShrunkCovariance
from tiers import daily

from adjax import scorers
from adjax.scorers import SCORERS
from adjax.types import Scorer

pytestmark = pytest.mark.rounding

N, D, K = 240, 6, 3


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def images(n=N, dim=D, classes=K, seed=0, apart=3.0):
    """Correlated features of unlike scale (0.5 … 4), classes `apart`."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dim, dim)) / np.sqrt(dim) + np.diag(np.geomspace(0.5, 4, dim))
    labels = np.arange(n, dtype=np.int32) % classes
    x = apart * rng.normal(size=(classes, dim))[labels] + rng.normal(size=(n, dim)) @ mix
    return x.astype(np.float32), labels


@functools.cache
def last_layer():
    """W, b of a classifier of `images()`: least squares, and a common part that is strong where images are."""
    x, y = images()
    x, middle = x.astype(np.float64), x.mean(0, dtype=np.float64)
    common = 2 * middle / np.linalg.norm(middle)
    solution = np.linalg.lstsq(np.concatenate([x, np.ones((N, 1))], 1), 10 * np.eye(K)[y])[0]
    kernel, bias = solution[:-1] + common[:, None], solution[-1] + 10 - middle @ common
    return kernel.astype(np.float32), bias.astype(np.float32)


@functools.cache
def undecided():
    """Features of which all logits are −20."""
    kernel, bias = last_layer()
    return np.linalg.lstsq(kernel.T.astype(np.float64), -20 - bias.astype(np.float64))[0].astype(np.float32)


def traced_outputs(x):
    """Features; logits linear in them, overflown where a feature is infinite; and the score of a method that scores by
    itself: the largest feature, finite if none is NaN."""
    kernel, bias = last_layer()
    x = jnp.asarray(x, jnp.float32)
    logits = jnp.matmul(x, kernel, precision="highest") + bias[None]
    logits = jnp.where(jnp.isinf(x).any(-1, keepdims=True), jnp.inf, logits)
    return {"features": x, "logits": logits, "score": jnp.clip(jnp.abs(x).max(-1), 0, 1e15)}


outputs = jax.jit(traced_outputs)


CASES = {name: (name, {}) for name in SCORERS} | {
    "ocsvm": ("ocsvm", {"capacity": 60}),
    "gmm, 3 components": ("gmm", {"components": 3, "covariance": "diag", "iterations": 5, "capacity": 100}),
    "knn": ("knn", {"normalise": False, "capacity": 100}),
    "layers": ("layers", {"capacity": 100}),
    "padim": ("padim", {"feature": "features", "grid": (1, 2), "dim": 3}),
    "patchcore": ("patchcore", {"feature": "features", "coreset": 20, "capacity": 100, "neighbours": 5}),
    "fused": (
        "fused",
        {"names": ("pca", "patchwise"), "options": ({}, {"feature": "features"}), "offsets": (0, 1), "scales": (1, 2)},
    ),
    "patchwise": ("patchwise", {"feature": "features"}),
    "subspace": ("subspace", {"feature": "features"}),
    "react": ("react", {"capacity": 100}),
    "ash": ("ash", {"capacity": 100}),
    "vim": ("vim", {"capacity": 100}),
    "fdbd": ("fdbd", {"capacity": 100}),
    "nnguide": ("nnguide", {"capacity": 100}),
}
"""Every scorer, where it keeps a sample also of fewer images than there are."""
LOGITS = "max_softmax", "max_logit", "energy", "entropy", "gen", "kl_matching"
POSTHOC = *LOGITS, "react", "ash", "vim", "fdbd", "she", "nnguide"
"""Of a classifier's logits; of its features as well."""
SAME_FIT = {"max_logit", "energy", "entropy", "gen", "score"} | {"ash", "vim", "fdbd"}
SAME_FIT |= {"cosine", "pca", "relative_mahalanobis"}
"""Fitted by the code that fits max_softmax; react; center and mahalanobis."""
FITS = [name for name in CASES if name not in SAME_FIT]
THOROUGH = "gmm", "gmm, 3 components", "mahalanobis", "mahalanobis_perclass", "ocsvm"
"""Fitted operation by operation, and in batches of many sizes; others are made of the same parts."""
BATCHES = [(name, n) for name in FITS for n in ([1000, 1, 7, 100, 240] if name in THOROUGH else [1000, 7])]
"""They are compared to batches of 64, of which the last is not full."""
FAMILIES = "gmm", "knn", "mahalanobis", "max_softmax", "padim", "vim"
"""They stand for all where a test compiles once more for each; all with -m slow."""
NO_LENGTH = *POSTHOC, "cosine"
"""An infinite feature or logit says nothing of the image: it scores +inf."""


@functools.cache
def aside():
    """Features at right angles to all class means."""
    x, y = images()
    return np.linalg.svd(np.stack([x[y == k].mean(0) for k in range(K)]))[2][-1]


def strangers(name, x):
    """Images like none of `images()`, as the scorer sees it."""
    if name in ("ash", "vim"):  # every logit is low, and the more so if only the last feature is kept
        return np.where(np.arange(D) < D - 1, -200, -100) + x
    if name == "cosine":
        return 1e3 * aside() + x
    return undecided() + 1e-3 * x if name in POSTHOC else x + 100


MAHALANOBIS = "mahalanobis", "mahalanobis_perclass"


def make(name, **options):
    scorer, own = CASES[name]
    return scorers.make(scorer, **own | options)


class Tools(NamedTuple):
    """A scorer, its functions and its fit, each compiled once for all tests that use the same shapes."""

    scorer: Scorer
    update: Callable
    merge: Callable
    finalize: Callable
    stats: Callable
    """x, y -> what `scorers.fit` gives to `finalize`."""
    both: Callable
    """state, outputs -> score and distances."""
    gradient: Callable

    def fit(self, x, y):
        return self.finalize(self.stats(x, y))

    def score(self, state, outputs):
        return self.both(state, outputs)[0]

    def distances(self, state, x):
        return self.both(state, outputs(x))[1]


@functools.cache
def tools(name, **options):
    scorer = make(name, **options)

    def both(state, outputs):
        return scorer.score(state, outputs), scorer.distances(state, outputs)

    def gradient(state, x):
        def one(x):
            return scorer.score(state, outputs(x[None]))[0]

        return jax.vmap(jax.grad(one))(x)

    parts = map(jax.jit, (scorer.update, scorer.merge, scorer.finalize, stats_of(scorer, 64), both, gradient))
    return Tools(scorer, *parts)


def stats_of(scorer, batch_size):
    """A fit in batches up to its last step, which is the same for all."""
    summing = scorer._replace(finalize=lambda stats: stats)
    return lambda x, y: scorers.fit(summing, outputs(x), y, K, batch_size)


each_scorer = pytest.mark.parametrize("name", CASES)
each_fit = pytest.mark.parametrize("name", FITS)
each_family = pytest.mark.parametrize("name", [*daily(list(CASES), *FAMILIES)])
each_mahalanobis = pytest.mark.parametrize("name", MAHALANOBIS)


def assert_same_scores(name, a, b, x, rtol=1e-4):
    score = tools(name).score
    assert_close(name, score(a, outputs(x)), score(b, outputs(x)), rtol)


def assert_close(name, actual, expected, rtol=1e-5):
    """A distance to that share of itself; what may have either sign, to that share of the largest."""
    atol = 0 if name in MAHALANOBIS else rtol * np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


# The contract


@each_scorer
def test_a_factory_computes_nothing(name):
    """First called within a trace, its arrays would belong to that."""

    def nothing():
        make(name)
        return ()

    assert not jax.make_jaxpr(nothing)().eqns


@each_scorer
def test_strangers_score_higher_than_acquaintances(name):
    x, y = images()
    tool = tools(name)
    state = tool.fit(x, y)
    score, distances = map(np.asarray, tool.both(state, outputs(x)))
    assert score.shape == (N,)
    assert score.dtype == np.float32
    assert distances.shape[0] == N
    far = np.asarray(tool.score(state, outputs(strangers(name, x))))
    assert far.min() > score.max()
    assert np.all(distances.min(1) == score)


@each_scorer
def test_scores_have_the_type_that_their_signature_says(name):
    """Shape and dtype, `Float[Array, " N"]`, checked by beartype; traced, not computed."""
    check = pytest.importorskip("typechecked").check
    tool, (x, y) = tools(name), images()
    assert "Float[Array, ' N']" in str(inspect.signature(tool.scorer.score)).replace('"', "'")
    jax.eval_shape(jaxtyped(tool.scorer.score, typechecker=check), tool.fit(x, y), outputs(x))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
@each_fit
def test_fitting_is_one_pass_in_any_order_chunking_and_tree(name, data):
    """Chunks are masks of one shape here, so masked rows, whatever is in them, don't count."""
    x, y = images()
    tool = tools(name)
    seed = data.draw(st.integers(0, 999))
    chunk = np.random.default_rng(seed).integers(0, data.draw(st.integers(1, 5)), N)
    parts = []
    for c in data.draw(st.permutations(range(chunk.max() + 1))):
        dirt = np.where((chunk == c)[:, None], x, np.random.default_rng(seed).choice([np.nan, np.inf, 1e30, 0]))
        own = tool.update(tool.scorer.init(D, K), outputs(dirt), y, chunk == c)
        if parts and data.draw(st.booleans()):  # a running sum, or parts merged in the end
            parts[-1] = tool.update(parts[-1], outputs(dirt), y, chunk == c)
        else:
            parts.append(own)
    while len(parts) > 1:
        i = data.draw(st.integers(0, len(parts) - 2))
        parts[i : i + 2] = [tool.merge(*parts[i : i + 2])]
    assert_same_scores(name, tool.finalize(parts[0]), tool.fit(x, y), x, rtol=1e-3)


@each_fit
def test_nothing_is_neutral(name):
    """Merging with the statistics of no image changes nothing, from either side, bit for bit."""
    x, y = images()
    tool = tools(name)
    none = tool.scorer.init(D, K)
    some = tool.update(none, outputs(x), y, np.ones(N, bool))
    nobody = tool.update(some, outputs(x), y, np.zeros(N, bool))
    for merged in (tool.merge(none, some), tool.merge(some, none), nobody):
        jax.tree.map(np.testing.assert_array_equal, merged, some)


@pytest.mark.parametrize(
    ("name", "batch_size"), [*daily(BATCHES, *((name, 1000) for name in FAMILIES if name in FITS))]
)
def test_the_batch_size_of_a_fit_does_not_matter(name, batch_size):
    x, y = images()
    tool = tools(name)
    state = tool.finalize(jax.jit(stats_of(tool.scorer, batch_size))(x, y))
    assert_same_scores(name, state, tool.fit(x, y), x)


@each_scorer
def test_a_score_is_a_function_of_its_image_alone(name):
    x, y = images()
    tool = tools(name)
    state, score = tool.fit(x, y), tool.score
    all_at_once = np.asarray(score(state, outputs(x)))
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_array_equal(score(state, outputs(x[order])), all_at_once[order])
    company = x.copy()
    company[1:] = np.nan
    assert score(state, outputs(company))[0] == all_at_once[0]
    padded = np.concatenate([x[:50], np.zeros((N - 50, D), np.float32)])
    np.testing.assert_array_equal(score(state, outputs(padded))[:50], all_at_once[:50])


@each_family
def test_an_image_alone_has_the_score_that_it_has_among_others(name):
    x, y = images()
    tool = tools(name)
    state = tool.fit(x, y)
    alone, all_at_once = tool.score(state, outputs(x[:1])), tool.score(state, outputs(x))
    np.testing.assert_allclose(alone, all_at_once[:1], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", THOROUGH)
def test_a_plain_fit_is_a_jitted_one(name):
    """Operation by operation, in one program, and in two."""
    x, y = images()
    tool = tools(name)
    plain = scorers.fit(tool.scorer, outputs(x), y, K, batch_size=64)
    whole = jax.jit(lambda x, y: scorers.fit(tool.scorer, outputs(x), y, K, batch_size=64))(x, y)
    assert_same_scores(name, plain, whole, x)
    assert_same_scores(name, plain, tool.fit(x, y), x)


@pytest.mark.parametrize("name", [*daily(FITS, "mahalanobis", "max_softmax")])
def test_a_plain_score_is_a_jitted_one(name):
    x, y = images()
    tool = tools(name)
    state = tool.fit(x, y)
    assert_close(name, tool.scorer.score(state, outputs(x)), tool.score(state, outputs(x)))


@pytest.mark.parametrize("name", [*daily(FITS, *(name for name in FAMILIES if name in FITS), "ocsvm")])
def test_vmapped_and_recalled(name):
    x, y = images()
    tool = tools(name)
    # a table of states is scored by vmap
    states = [tool.fit(x, y), tool.fit(x * 2, y), tool.fit(x, (y + 1) % K)]
    stacked = jax.tree.map(lambda *s: jnp.stack(s), *states)
    table = jax.jit(jax.vmap(tool.scorer.score, (0, None)))(stacked, outputs(x))
    sizes = []
    for row, state in zip(table, states, strict=True):
        assert_close(name, row, tool.score(state, outputs(x)))
        sizes.append(tool.both._cache_size())
    assert len(set(sizes)) == 1
    assert tool.stats._cache_size() == 1


@each_scorer
def test_a_nan_scores_nan_and_no_other_image_notices(name):
    x, y = images()
    tool = tools(name)
    bad = x.copy()
    bad[3, 2], bad[4], bad[5, 0] = np.nan, np.inf, -np.inf
    state = tool.fit(bad, y)
    score = np.asarray(tool.score(state, outputs(bad)))
    assert np.isnan(score[3])
    if name in NO_LENGTH:
        assert np.isposinf(score[4:6]).all()  # an overflow says nothing of the image
    assert np.isfinite(np.delete(score, [3, 4, 5] if name in NO_LENGTH else 3)).all()  # elsewhere it's far away
    others = np.delete(score, [3, 4, 5]).max()
    assert score[4] > (others if name == "ocsvm" else 1e3 * others)  # whose score ends at ρ
    left_out = np.ones(N, bool)
    left_out[3:6] = False
    stats = tool.update(tool.scorer.init(D, K), outputs(x), y, left_out)
    assert_same_scores(name, tool.finalize(stats), state, x)


@each_fit
def test_labels_of_no_class_are_left_out(name):
    x, y = images()
    tool = tools(name)
    odd = y.copy()
    odd[:30], odd[30:60] = -1, K
    stats = tool.update(tool.scorer.init(D, K), outputs(x), y, np.arange(N) >= 60)
    assert_same_scores(name, tool.finalize(stats), tool.fit(x, odd), x)


@each_fit
def test_a_fit_needs_as_many_labels_as_images(name):
    x, y = images()
    with pytest.raises(ValueError, match=r"features of 240 images and labels of 239"):
        scorers.fit(make(name), outputs(x), y[1:], K)
    with pytest.raises(ValueError, match="at least 1"):
        scorers.fit(make(name), jax.tree.map(lambda leaf: leaf[:0], jax.device_get(outputs(x))), y[:0], K)


def degenerate():
    x, y = images()
    rng = np.random.default_rng(1)
    few = np.arange(N) >= N - 2  # the others get a label of no class
    alone = np.where(np.arange(N) < K, y, K)
    return {
        "duplicate feature": (np.concatenate([x[:, :-1], x[:, :1]], 1), y),
        "dead feature": (np.where(np.arange(D) == 2, 0, x), y),
        "constant feature": (np.where(np.arange(D) == 2, 7.3, x), y),
        "feature dead in one class": (np.where((np.arange(D) == 2) & (y == 1)[:, None], 0, x), y),
        "all features dead": (np.zeros_like(x), y),
        "all features constant": (np.full_like(x, 7.3), y),
        "no spread within classes": (np.eye(K, D)[y] * 5, y),
        "fewer images than features": (x, np.where(few, y, K)),
        "one image a class": (x, alone),
        "one image": (x, np.where(np.arange(N) == 0, y, K)),
        "a class without images": (x, np.where(y == 1, 0, y)),
        "one class": (x, np.zeros_like(y)),
        "huge": (x * 1e12, y),
        "tiny": (x * 1e-12, y),
        "vanishing": (x * 1e-30, y),
        "scales far apart": (x * np.geomspace(1e-6, 1e6, D), y),
        "rectified and sparse": (np.maximum(rng.normal(size=(N, D)) - 2.5, 0), y),
        "far away": (x + 1e7, y),
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mahalanobis", {"shrinkage": 0.0}),
        ("mahalanobis_perclass", {"shrinkage": 0.0}),
        *((name, {}) for name in FAMILIES if name not in MAHALANOBIS),
        *(pytest.param(name, {"shrinkage": s}, marks=pytest.mark.slow) for name in MAHALANOBIS for s in (0.1, 1.0)),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in CASES if name not in (*MAHALANOBIS, *FAMILIES)),
    ],
)
def test_degenerate_features_never_give_a_nan(name, options):
    tool = tools(name, **options)
    for case, (x, y) in degenerate().items():
        x = x.astype(np.float32)
        state = tool.fit(x, y)
        known = np.isin(np.arange(K), y)
        strangers = images(seed=1)[0]
        for query in (x, strangers, np.zeros_like(x), x * 3 + 1, strangers * 1e4):
            d = np.asarray(tool.distances(state, query))
            assert np.isfinite(tool.gradient(state, query)).all(), case
            if d.shape == (N, 1):
                assert (np.isfinite(d) | ((name == "she") & np.isposinf(d))).all(), case  # no pattern, nothing alike
                continue
            assert np.isfinite(d[:, known]).all(), case
            assert np.isposinf(d[:, ~known]).all(), case
            assert (d >= 0).all() or name == "relative_mahalanobis", case


@each_scorer
def test_every_leaf_of_a_state_is_an_array_with_its_dtype(name):
    """What saving, donation and shard_map ask for. Its shapes are known without running."""
    tool = tools(name)
    for leaf in jax.tree.leaves(jax.eval_shape(tool.finalize, jax.eval_shape(tool.stats, *images()))):
        assert leaf.dtype in (np.float32, np.bool_)
        assert not leaf.weak_type


@each_family
def test_lower_precision_features_are_scored_in_float32(name):
    x, y = images()
    tool = tools(name)
    half = x.astype(jnp.bfloat16)
    state = tool.fit(half.astype(np.float32), y)
    logits = np.asarray(outputs(half.astype(np.float32))["logits"]).astype(jnp.bfloat16)
    coarse = {"features": half, "logits": logits, "score": half[:, 0]}
    score = tool.score(state, coarse)
    assert score.dtype == np.float32
    exact = {k: v.astype(np.float32) for k, v in coarse.items()}
    np.testing.assert_array_equal(score, tool.score(state, exact))


def test_unknown_names_and_options_are_refused():
    with pytest.raises(ValueError, match="no scorer 'euclid'; there are: ash, center,"):
        scorers.make("euclid")
    with pytest.raises(ValueError, match=r"shrinkage 1\.5 must lie in \[0, 1\]"):
        scorers.make("mahalanobis", shrinkage=1.5)
    with pytest.raises(ValueError, match="shrinkage nan"):
        scorers.make("mahalanobis", shrinkage=float("nan"))
    with pytest.raises(ValueError, match="covariance 'full'"):
        scorers.mahalanobis("full")


# Mahalanobis


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
    result = []
    for mean, r in zip(means, rest, strict=True):
        cov = r.T @ r / len(r)
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
