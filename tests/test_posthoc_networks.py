"""Scores that ask the network again, against float64 NumPy written from the papers: MC dropout and AdaScale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from test_posthoc import BIAS, KERNEL, QUERIES, D, K, N, X, Y, energy, logits_of

from adjax import models, scorers
from adjax.scorers import mc_dropout, perturbed_trivially

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(30, 2, 3, 1)).astype(np.float32)
PARAMS = RNG.normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


# MC dropout


def dropped(params, images, key):
    kept = jax.random.bernoulli(key, 0.7, (len(images), 6)).astype(jnp.float32)
    return {"logits": jnp.matmul(images.reshape(len(images), -1) * kept, params, precision="highest") * 3}


score = functools.partial(jax.jit, static_argnames=("samples", "statistic"))(functools.partial(mc_dropout, dropped))


@pytest.mark.parametrize("statistic", ["variance", "mean"])
def test_mc_dropout_is_that_of_float64(statistic):
    key = jax.random.key(1)
    draws = [np.asarray(dropped(PARAMS, IMAGES, k)["logits"], np.float64) for k in jax.random.split(key, 7)]
    p = softmax(np.stack(draws), axis=-1)
    expected = p.var(0, ddof=1).mean(-1) if statistic == "variance" else 1 - p.mean(0).max(-1)
    np.testing.assert_allclose(score(PARAMS, IMAGES, key, samples=7, statistic=statistic), expected, 1e-4, 1e-11)


@pytest.mark.parametrize("statistic", ["variance", "mean"])
def test_mc_dropout_of_what_is_no_number(statistic):
    images = IMAGES.copy()
    images[2, 0, 0, 0], images[4] = np.nan, 3e38  # whose logits are infinite, in either direction
    got = np.asarray(score(PARAMS, images, jax.random.key(1), samples=3, statistic=statistic))
    clean = np.asarray(score(PARAMS, IMAGES, jax.random.key(1), samples=3, statistic=statistic))
    assert np.isnan(got[2])
    assert np.isposinf(got[4]) or np.isnan(got[4])
    np.testing.assert_array_equal(np.delete(got, [2, 4]), np.delete(clean, [2, 4]))

    def infinite(params, images, key):
        return {"logits": jnp.asarray([[1, jnp.inf, 2.0]]) + 0 * jax.random.uniform(key)}

    assert np.isposinf(mc_dropout(infinite, (), IMAGES[:1], jax.random.key(0), 3, statistic))


def test_mc_dropout_refuses_what_it_can_not_do():
    with pytest.raises(ValueError, match="samples 1"):
        mc_dropout(dropped, PARAMS, IMAGES, jax.random.key(0), samples=1)
    with pytest.raises(ValueError, match="statistic 'sum'"):
        mc_dropout(dropped, PARAMS, IMAGES, jax.random.key(0), statistic="sum")


def test_a_network_is_sampled_with_dropout_and_nothing_else_of_training():
    network = models.make("cnn", (8, 8, 1), 3, width=2, dropout=0.5)
    images, params = np.ones((4, 8, 8, 1), np.float32), network.init(jax.random.key(0))
    one, two = (jax.jit(network.sample)(params, images, jax.random.key(k))["logits"] for k in (0, 1))
    assert np.abs(one - two).max() > 0
    doubt = jax.jit(functools.partial(mc_dropout, network.sample))(params, images, jax.random.key(0))
    assert (np.asarray(doubt) > 0).all()
    plain = models.make("lenet5", (8, 8, 1), 3)
    weights = plain.init(jax.random.key(0))
    said = (plain.sample(weights, images, jax.random.key(0)), plain.apply(weights, images))
    np.testing.assert_array_equal(*(x["logits"] for x in said))


# AdaScale

MOVED = np.maximum(X + 0.3 * RNG.normal(size=X.shape), 0).astype(np.float32)
MOVED_QUERIES = np.maximum(QUERIES + 0.5 * RNG.normal(size=QUERIES.shape), 0).astype(np.float32)


def said(x, moved):
    return {"features": jnp.asarray(x), "logits": jnp.asarray(logits_of(x)), "perturbed": jnp.asarray(moved)}


@functools.cache
def fitted(**options):
    scorer = scorers.adascale(**{"capacity": N, "moved": 0.2, "summed": 0.3} | options)
    state = jax.jit(lambda o, y: scorers.fit(scorer, o, y, K, batch_size=100))(said(X, MOVED), Y)
    return state, jax.jit(scorer.score)


def level(x, moved, k1=3, k2=2, weight=10.0):
    order = np.argsort(-x, 1, kind="stable")
    shift, own = np.abs(moved - x.astype(np.float64)), np.maximum(moved.astype(np.float64), 0)
    return weight * np.take_along_axis(shift, order[:, :k2], 1).sum(1) + np.take_along_axis(own, order[:, :k1], 1).sum(
        1
    )


def adascale(x, moved, scaling, low, high, **options):
    levels, out = level(X, MOVED, **options), []
    for f, q in zip(x.astype(np.float64), level(x, moved, **options), strict=True):
        pruned = low + (1 - np.mean(levels <= q)) * (high - low)
        r = f.sum() / np.sort(f)[::-1][: max(D - round(D * pruned), 1)].sum()
        out.append(np.exp(r) * f @ KERNEL + BIAS if scaling == "A" else r**2 * (f @ KERNEL + BIAS))
    return energy(np.stack(out))


@pytest.mark.parametrize("scaling", ["A", "L"])
@pytest.mark.parametrize(("low", "high"), [(0.75, 0.85), (0.2, 0.9)])
def test_adascale_is_that_of_float64(scaling, low, high):
    state, score = fitted(scaling=scaling, low=low, high=high)
    expected = adascale(QUERIES, MOVED_QUERIES, scaling, low, high)
    got = score(state, said(QUERIES, MOVED_QUERIES))
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5 * np.abs(expected).max())


def test_adascale_takes_weight_and_shares_as_told():
    state, score = fitted(scaling="L", low=0.1, high=0.9, moved=0.5, summed=0.1, weight=2.0)
    expected = adascale(QUERIES, MOVED_QUERIES, "L", 0.1, 0.9, k1=1, k2=6, weight=2.0)
    np.testing.assert_allclose(score(state, said(QUERIES, MOVED_QUERIES)), expected, rtol=2e-5)


def test_adascale_of_a_sample_that_is_not_full():
    """Rows that nothing fills are zeros, below every Q'."""
    state, score = fitted(scaling="L", low=0.2, high=0.9, capacity=3 * N)
    expected = adascale(QUERIES, MOVED_QUERIES, "L", 0.2, 0.9)
    np.testing.assert_allclose(score(state, said(QUERIES, MOVED_QUERIES)), expected, rtol=2e-5)


@pytest.mark.parametrize("scaling", ["A", "L"])
def test_adascale_of_what_is_no_number_and_of_no_image(scaling):
    state, score = fitted(scaling=scaling)
    x, moved = QUERIES[:6].copy(), MOVED_QUERIES[:6].copy()
    x[0, 0], moved[1, 3], x[2, 1], moved[3, 2] = np.nan, np.nan, np.inf, np.inf
    outputs = said(x, moved) | {"logits": jnp.asarray(logits_of(QUERIES[:6]))}
    got, clean = (np.asarray(score(state, o)) for o in (outputs, said(QUERIES[:6], MOVED_QUERIES[:6])))
    assert np.isnan(got[:2]).all()
    assert np.isposinf(got[2:4]).all()
    np.testing.assert_array_equal(got[4:], clean[4:])
    scorer = scorers.adascale(scaling=scaling, capacity=N)
    nobody = scorers.fit(scorer, said(X, MOVED), jnp.full(N, K, jnp.int32), K)
    assert np.isposinf(scorer.score(nobody, said(QUERIES, MOVED_QUERIES))).all()


def test_adascale_is_fitted_in_any_order_and_in_parts():
    scorer = scorers.adascale(capacity=N)
    update, order = jax.jit(scorer.update), np.random.default_rng(0).permutation(N)
    parts = [
        update(scorer.init(D, K), said(X[rows], MOVED[rows]), Y[rows], np.ones(N // 2, bool))
        for rows in np.split(order, 2)
    ]
    whole = scorers.fit(scorer, said(X, MOVED), jnp.asarray(Y), K)
    merged = scorer.finalize(scorer.merge(*parts))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), merged, whole)


def network(params, images):
    return {"logits": jnp.matmul(jnp.tanh(images.reshape(len(images), -1)), params, precision="highest")}


def test_the_pixels_that_matter_least_are_moved():
    own = IMAGES.reshape(len(IMAGES), -1).astype(np.float64)
    best = (np.tanh(own) @ PARAMS).argmax(1)
    slope = (1 - np.tanh(own) ** 2) * PARAMS.T[best]
    least = np.argsort(np.abs(slope), 1)[:, :2]
    expected = own.copy()
    for row, places in enumerate(least):
        expected[row, places] += 0.25 * np.sign(slope[row, places])
    moved = jax.jit(functools.partial(perturbed_trivially, network, share=0.4, epsilon=0.25))
    np.testing.assert_allclose(moved(PARAMS, IMAGES).reshape(own.shape), expected, atol=1e-6)
    bad = IMAGES.copy()
    bad[3, 0, 0, 0] = np.nan
    got = np.asarray(moved(PARAMS, bad))
    assert np.isnan(got[3]).all()
    assert not np.isnan(np.delete(got, 3, 0)).any()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scaling": "B"}, "scaling 'B'"),
        ({"low": 0.9, "high": 0.8}, r"low 0\.9 and high 0\.8"),
        ({"moved": 0.0}, r"moved 0\.0"),
        ({"summed": 1.5}, r"summed 1\.5"),
        ({"weight": -1.0}, "weight -1"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        scorers.adascale(**options)
    with pytest.raises(ValueError, match=r"share 0\.0"):
        perturbed_trivially(network, PARAMS, IMAGES, share=0.0)
