"""Scorers of Weibull tails, neuron states, Gram matrices and gradients by a prototype, against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, logsumexp, softmax
from scipy.stats import weibull_min
from test_posthoc import KERNEL, QUERIES, ZQ, D, K, N, X, Y, Z, fitted, outputs, tools

from adjax import scorers
from adjax.scorers import _reservoir
from adjax.scorers.openmax import _fitted

RIGHT = Z.argmax(1) == Y
POWERS = tuple(range(1, 11))


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


# From the papers, in float64


def weibull(distances, tail, shift):
    """Of the largest distances, shifted to begin at `shift`: shape and scale of greatest likelihood, and the shift."""
    top = np.sort(distances)[-tail:]
    t = top - top.min() + shift
    log_t = np.log(t / shift)

    def slope(shape):
        weight = softmax(shape * log_t)
        return (weight * log_t).sum() - 1 / shape - log_t.mean()

    shape = brentq(slope, 1e-6 / log_t.std(), 1e6 / log_t.std(), xtol=1e-12, rtol=1e-14)
    return shape, shift * np.exp((logsumexp(shape * log_t) - np.log(len(t))) / shape), top.min() - shift


def openmax(z, tail=20, alpha=10, right=RIGHT, shift=1e4):
    z, known, alpha = z.astype(np.float64), Z.astype(np.float64), min(alpha, K)
    denied = np.zeros_like(z)
    for k in range(K):
        own = known[right & (k == Y)]
        mean = own.mean(0)
        shape, scale, start = weibull(np.linalg.norm(own - mean, axis=1), tail, shift)
        far = np.linalg.norm(z - mean, axis=1) - start
        rank = (z > z[:, k : k + 1]).sum(1)  # 0 for the largest
        share = np.where(rank < alpha, (alpha - rank) / alpha, 0)
        denied[:, k] = share * weibull_min.cdf(far, shape, scale=scale)
    return (z * denied).sum(1) - logsumexp(z * (1 - denied), axis=1)


def states(x, z, steepness):
    return expit(steepness * x * ((softmax(z.astype(np.float64), axis=1) - 1 / K) @ KERNEL.T))


def nac(x, z, bins=50, steepness=100.0, enough=50):
    place, known = (np.minimum(np.floor(bins * states(*of, steepness)), bins - 1) for of in ((x, z), (X, Z)))
    count = (known[None] == place[:, None]).sum(1)
    return -np.minimum(count / enough, 1).mean(1)


def prototypes():
    means = np.stack([X[k == Y].mean(0, dtype=np.float64) for k in range(K)])
    following = np.argsort(-Z, 1)[:, 1]
    return means, (0.5 * X + 0.5 * means[following])[RIGHT].mean(0)


def grood(x, outlier=None):
    means, mixed = prototypes()
    outlier = mixed if outlier is None else outlier

    def gradient(f):
        """By the outlier prototype, of the cross-entropy towards class 0: central differences."""

        def loss(o):
            s = -np.linalg.norm(f - np.concatenate([means, o[None]]), axis=1)
            return logsumexp(s) - s[0]

        steps = 1e-5 * np.eye(D)
        return np.array([(loss(outlier + e) - loss(outlier - e)) / 2e-5 for e in steps])

    bank, own = (np.stack([gradient(f) for f in rows.astype(np.float64)]) for rows in (X[RIGHT], x))
    return np.linalg.norm(own[:, None] - bank[None], axis=-1).min(1)


def grams(x):
    """Row sums of the whole matrix, the root with its sign."""
    x = x.astype(np.float64).reshape(len(x), -1, x.shape[-1])
    found = []
    for p in POWERS:
        total = np.einsum("nsi,nsj->nij", x**p, x**p).sum(-1)
        found.append(np.sign(total) * np.abs(total) ** (1 / p))
    return np.stack(found, 1)


def deviations(rows, own, known, group):
    least, most = (np.stack([f(known[group == k], axis=0) for k in range(K)])[own] for f in (np.min, np.max))
    below, above = np.maximum(least - rows, 0), np.maximum(rows - most, 0)
    return (below / np.abs(least + 1e-6) + above / np.abs(most + 1e-6)).sum((1, 2))


def gram(x, z, group=None):
    return deviations(grams(x), z.argmax(1), grams(X), Z.argmax(1) if group is None else group)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("openmax", {}, openmax(ZQ)),
        ("openmax", {"tail": 30, "alpha": 2, "by": "label"}, openmax(ZQ, 30, 2, np.full(N, True))),
        ("openmax", {"shift": 1.0}, openmax(ZQ, shift=1)),
        ("grood", {}, grood(QUERIES)),
        ("grood", {"outlier": tuple(range(D))}, grood(QUERIES, np.arange(D))),
        ("gram", {"held_out": 0.0}, gram(QUERIES, ZQ)),
        ("gram", {"held_out": 0.0, "by": "label"}, gram(QUERIES, ZQ, Y)),
    ],
)
def test_scores_are_those_of_the_paper_in_float64(name, options, expected):
    size = np.abs(expected).max()
    np.testing.assert_allclose(fitted(name, **options)(QUERIES), expected, rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("options", [{}, {"bins": 20, "steepness": 3.0, "enough": 10}])
def test_nac_is_that_of_the_paper_in_float64(options):
    """But for a state within rounding of the edge of a bin: one neuron of one image in a hundred."""
    apart = np.abs(fitted("nac", **options)(QUERIES) - nac(QUERIES, ZQ, **options))
    assert np.quantile(apart, 0.9) < 1e-6
    assert apart.max() <= 1 / D + 1e-6


@pytest.mark.parametrize("shift", [1.0, 1e4])
def test_a_tail_s_weibull_is_that_of_greatest_likelihood(shift):
    """And of no less than what scipy finds."""
    for seed in range(5):
        distances = np.random.default_rng(seed).gamma(2, size=25)
        shape, scale, start = weibull(distances, 25, shift)
        y = shift * np.log1p((distances - distances.min()) / shift)
        rate, location = _fitted(jnp.asarray(y, jnp.float32), jnp.full(25, True), jnp.float32(0))
        np.testing.assert_allclose(rate * shift, shape, rtol=1e-4)
        np.testing.assert_allclose(location, shift * np.log(scale / shift), rtol=1e-4)
        found = weibull_min.fit(distances - start, floc=0)
        ours, theirs = (weibull_min.logpdf(distances - start, *of).sum() for of in ((shape, 0, scale), found))
        assert ours > theirs - 1e-6


def test_distances_that_are_all_equal_have_a_tail():
    """Its Weibull is a step, as steep as rounding allows."""
    z = np.zeros((N, K), np.float32)
    z[:, 0] = 5 + np.where(np.arange(N) % 2, 1, -1)
    fit, score = tools("openmax")
    state = fit(outputs(X, z), np.zeros(N, np.int32))
    assert np.isfinite(state.rate).all()  # of classes without images, too
    near, far = (np.float32([[5 + d, 0, 0, 0]]) for d in (0.99, 1.01))
    assert score(state, outputs(X[:1], near)) < -4 < 4 < score(state, outputs(X[:1], far))


@pytest.mark.parametrize("part", [0.1, 0.5])
def test_the_expected_deviation_is_that_of_images_held_out(part):
    rows = np.concatenate([grams(X).reshape(N, -1), Z.argmax(1)[:, None]], 1).astype(np.float32)
    scorer = scorers.make("gram", held_out=part)
    update = jax.jit(scorer.update)
    stats = update(scorer.init(D, K), outputs(X, Z), Y, np.full(N, True))
    kept = np.asarray(stats.held_out.rows)[np.asarray(_reservoir.kept(stats.held_out))]
    assert len(kept) == pytest.approx(part * N, abs=4 * np.sqrt(part * N))
    aside = np.array([np.isclose(kept, row, rtol=1e-4, atol=1e-6).all(1).any() for row in rows])
    assert aside.sum() == len(kept)
    group = Z.argmax(1)
    expected = deviations(grams(X)[aside], group[aside], grams(X)[~aside], group[~aside]).mean()
    state = jax.jit(scorer.finalize)(stats)
    np.testing.assert_allclose(state.expected, [expected], rtol=1e-4)
    found = jax.jit(scorer.score)(state, outputs(QUERIES, ZQ))
    truth = deviations(grams(QUERIES), ZQ.argmax(1), grams(X)[~aside], group[~aside]) / expected
    np.testing.assert_allclose(found, truth, rtol=1e-3, atol=1e-4 * truth.max())


def test_the_same_images_are_held_out_whatever_the_chunks_and_the_compiler():
    """G of an image has other last bits in each program."""
    rng = np.random.default_rng(0)
    x, z = (rng.normal(size=(1000, width)).astype(np.float32) for width in (16, K))
    scorer, labels = scorers.make("gram", capacity=20), np.arange(1000, dtype=np.int32) % K
    whole, parts = (scorers.fit(scorer, {"features": x, "logits": z}, labels, K, size) for size in (None, 250))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), whole, parts)


def test_gram_matrices_of_maps_and_of_several_layers():
    rng = np.random.default_rng(3)
    known, query = (np.maximum(rng.normal(size=(n, 3, 2, 5)), 0).astype(np.float32) for n in (N, 40))
    scorer = scorers.make("gram", names=("map", "features"), dims=(5, D), held_out=0.0)
    state = jax.jit(lambda o, y: scorers.fit(scorer, o, y, K, 64))({**outputs(X, Z), "map": known}, Y)
    state = state._replace(expected=jnp.float32([1, 8]))
    found = jax.jit(scorer.score)(state, {**outputs(QUERIES[:40], ZQ[:40]), "map": query})
    own, group = ZQ[:40].argmax(1), Z.argmax(1)
    truth = deviations(grams(query), own, grams(known), group) + gram(QUERIES[:40], ZQ[:40]) / 8
    np.testing.assert_allclose(found, truth, rtol=1e-4, atol=1e-5 * truth.max())


# What is no number


@pytest.mark.parametrize("name", ["openmax", "grood", "gram", "nac"])
def test_what_is_no_number_is_never_normal(name):
    score = fitted(name)
    x, z = QUERIES[:10].copy(), ZQ[:10].copy()
    z[0, 1], z[1, 2] = np.nan, np.inf
    z[2, (z[2].argmax() + 1) % K] = -np.inf  # a class that is out of the question
    z[3] = -np.inf
    x[4, 0], x[5, 0], x[6, 0] = np.nan, np.inf, -np.inf
    got, clean = score(x, z), score(QUERIES[:10], ZQ[:10])
    assert np.isnan(got[0])
    assert np.isposinf(got[1])
    assert np.isfinite(got[2])
    if name == "openmax":
        assert np.isposinf(got[3])  # no class at all
    else:
        assert np.isnan(got[4])
        assert np.isposinf(got[5:7]).all()
    np.testing.assert_array_equal(got[7:], clean[7:])


@pytest.mark.parametrize("name", ["openmax", "grood", "gram", "nac"])
def test_fitted_to_no_image_all_are_strange(name):
    fit, score = tools(name)
    assert np.isposinf(score(fit(outputs(X, Z), np.full(N, K, np.int32)), outputs(QUERIES, ZQ))).all()


# Options


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("openmax", {"tail": 1}, "tail=1"),
        ("openmax", {"by": "image"}, "by 'image'"),
        ("openmax", {"shift": 0.0}, "shift"),
        ("nac", {"bins": 1}, "bins=1"),
        ("nac", {"steepness": 0.0}, "steepness"),
        ("grood", {"mix": 1.5}, "mix"),
        ("grood", {"capacity": 0}, "capacity 0"),
        ("gram", {"names": ()}, "layers"),
        ("gram", {"powers": (0,)}, "powers"),
        ("gram", {"held_out": 1.0}, "held_out"),
        ("gram", {"by": "image"}, "by 'image'"),
    ],
)
def test_options_out_of_range_are_refused(name, options, match):
    with pytest.raises(ValueError, match=match):
        scorers.make(name, **options)


@pytest.mark.parametrize("name", ["openmax", "grood", "gram"])
def test_other_numbers_of_logits_are_refused(name):
    with pytest.raises(ValueError, match="4 logits for 3 classes"):
        scorers.fit(scorers.make(name), outputs(X, Z), jnp.asarray(Y), 3)
    if name == "grood":
        with pytest.raises(ValueError, match=r"outlier of shape \(3,\): must be \(12,\)"):
            scorers.make(name, outlier=(1, 2, 3)).init(D, K)
