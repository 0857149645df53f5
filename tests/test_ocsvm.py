"""The one-class SVM against scikit-learn's, and the sample that it is fitted to."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest
from sklearn.svm import OneClassSVM

from adjax import crossfit, scorers, thresholds
from adjax.scorers import _reservoir

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(300, 5)) * [1, 2, 3, 4, 5] + [0, 1, 2, 3, 4]).astype(np.float32)
QUERIES = np.concatenate([X, 1.5 * X + 1]).astype(np.float32)


@functools.cache
def tools(**options):
    scorer = scorers.make("ocsvm", **options)

    def fit(x):
        return scorers.fit(scorer, {"features": x}, jnp.zeros(len(x), jnp.int32), 1, batch_size=128)

    return jax.jit(fit), jax.jit(lambda state, x: scorer.score(state, {"features": x}))


@functools.cache
def machine(nu=0.5, gamma="scale"):
    return OneClassSVM(nu=nu, gamma=gamma, tol=1e-6).fit(X.astype(np.float64))


@pytest.mark.parametrize(("nu", "gamma"), [(0.5, "scale"), (0.05, "scale"), (0.1, 0.3)])
def test_scores_are_minus_the_logarithm_of_the_samples_scores_of_scikit_learn(nu, gamma):
    fit, score = tools(nu=nu, gamma=gamma, capacity=400)
    state = fit(X)
    theirs = machine(nu, gamma)
    samples = theirs.score_samples(QUERIES)
    reached = samples > 1e-9  # below, a difference from ρ has no digits
    assert reached.mean() > 0.9
    expected = -np.log(samples[reached] / theirs.offset_)
    np.testing.assert_allclose(score(state, QUERIES)[reached], expected, atol=1e-4 * np.abs(expected).max())
    assert np.count_nonzero(state.weights) >= nu * len(X)


def test_detectors_of_earlier_files_score_minus_the_decision_function():
    fit, score = tools(capacity=400)
    state, rho = fit(X), machine().offset_
    earlier = state._replace(weights=state.weights * rho, rho=jnp.float32(rho))
    expected = -machine().decision_function(QUERIES)
    np.testing.assert_allclose(score(earlier, QUERIES), expected, atol=1e-4 * np.abs(expected).max())
    nothing = state._replace(weights=jnp.zeros(400), rho=jnp.float32(np.inf))
    assert np.all(np.asarray(score(nothing, X)) == np.inf)


def test_far_away_the_score_goes_on_growing():
    """It had ended at ρ, so that images beyond the kernel's reach were alike."""
    fit, score = tools(capacity=400)
    state = fit(X)
    far = [np.asarray(score(state, X + shift)) for shift in (0, 30, 300, 3e3, 3e4)]
    for near, further in itertools.pairwise(far):
        assert near.max() < further.min() < np.inf


@pytest.mark.parametrize("gamma", [0.5, 5.0, 500.0])
def test_a_cross_fitted_threshold_is_exceeded_however_narrow_the_kernel(gamma):
    """Each fit has a ρ of its own, and scores had ended there: the highest ρ of all lay above every score of one."""
    scorer, rows = scorers.make("ocsvm", nu=0.1, gamma=gamma, capacity=60), X[:60] / X[:60].std(0)
    fitted = crossfit.fit(scorer, {"features": jnp.asarray(rows)}, np.zeros(60, np.int32), 1, np.arange(60))
    limit = thresholds.conformal(fitted.scores, 0.05)

    def flagged(x):
        levels = thresholds.classwise_quantile(fitted.calibration, scorer.distances(fitted.state, {"features": x}))
        return float((levels > limit).mean())

    assert flagged(X[60:] / X[:60].std(0)) < 0.15
    assert flagged(4 * rows[np.linalg.norm(rows - rows.mean(0), axis=1) > 2]) > 0.9


def test_a_common_offset_costs_no_digits():
    fit, score = tools(gamma=0.05, capacity=400)
    x = (X * 64).round() / 64  # so that float32 adds without rounding
    np.testing.assert_allclose(score(fit(x + 4096), x + 4096), score(fit(x), x), atol=2e-3)


def test_shapes_are_known_before_anything_is_fitted():
    fit, _ = tools(capacity=400)
    shapes = jax.eval_shape(fit, X)
    jax.tree.map(lambda s, a: np.testing.assert_equal((s.shape, s.dtype), (a.shape, a.dtype)), shapes, fit(X))


def test_a_table_of_fits_by_vmap():
    fit, score = tools(capacity=400)
    table = jax.jit(jax.vmap(fit))(jnp.stack([X, 2 * X]))
    second = jax.tree.map(lambda leaf: leaf[1], table)
    np.testing.assert_allclose(score(second, 2 * X), score(fit(2 * X), 2 * X), atol=1e-3)


def test_fitted_to_nothing_everything_is_infinitely_far():
    fit, score = tools(capacity=400)
    assert np.all(np.asarray(score(fit(np.full_like(X, np.nan)), X)) == np.inf)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"nu": 0}, r"nu 0 must lie in \(0, 1\]"),
        ({"gamma": "auto"}, "gamma 'auto': must be 'scale' or a positive number"),
        ({"gamma": -1.0}, r"gamma -1\.0"),
        ({"capacity": 0}, "capacity 0"),
    ],
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(ValueError, match=told):
        scorers.make("ocsvm", **options)


# The sample


add = jax.jit(_reservoir.update)


def taken(x, capacity, labels=None):
    labels = np.zeros(len(x), np.int32) if labels is None else labels
    return add(_reservoir.init(capacity, x.shape[1], 2), x, labels, np.ones(len(x), bool))


def test_a_sample_holds_every_row_once_while_there_is_room():
    x = np.concatenate([X, X[:7]])
    found = taken(x, 400)
    kept = np.asarray(_reservoir.kept(found))
    assert kept.sum() == 307
    rows = np.asarray(found.rows)[kept]
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], x[np.lexsort(x.T)])
    assert np.all(np.asarray(found.rows)[~kept] == 0)


def test_a_sample_forgets_order_and_parts():
    whole = taken(X, 50)
    assert _reservoir.kept(whole).all()
    order = RNG.permutation(len(X))
    jax.tree.map(np.testing.assert_array_equal, taken(X[order], 50), whole)
    parts = [taken(X[order[i::3]], 50) for i in range(3)]
    merged = _reservoir.merge(parts[2], _reservoir.merge(parts[0], parts[1]))
    jax.tree.map(np.testing.assert_array_equal, merged, whole)


def test_a_sample_is_a_random_one():
    """Rows that differ in one number by little are kept as if by lot, whatever that number is."""
    x = np.stack([np.arange(5000), np.zeros(5000)], 1).astype(np.float32)
    rows = np.asarray(taken(x, 500).rows)
    assert len(np.unique(rows[:, 0])) == 500
    assert kstest(rows[:, 0] / 5000, "uniform").pvalue > 0.01
    swapped = np.asarray(taken(x[:, ::-1].copy(), 500).rows)
    assert np.isin(swapped[:, 1], rows[:, 0]).mean() < 0.2  # a number elsewhere is another row
    hashes = np.asarray(taken(x, 5000).hashes)
    assert len(np.unique(hashes, axis=0)) == 5000
    bits = np.unpackbits(hashes.view(np.uint8), axis=None).reshape(5000, 64).mean(0)
    np.testing.assert_allclose(bits, 0.5, atol=0.03)


def test_minus_zero_is_zero_and_rows_out_of_range_are_left_out():
    x = np.float32([[0, 1], [-0.0, 1], [np.nan, 0], [np.inf, 0], [2e15, 0], [1, 1], [2, 2]])
    found = taken(x, 9, np.int32([0, 0, 0, 0, 0, 7, 1]))
    assert _reservoir.kept(found).sum() == 3
    np.testing.assert_array_equal(found.counts, [2, 1])
    rows = np.asarray(found.rows)[:3]
    assert np.isin(rows, [0, 1, 2]).all()
    assert not np.signbit(rows).any()
