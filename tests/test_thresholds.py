"""Thresholds against NumPy quantiles, the paper's rule, brute force and simulated guarantees."""

import inspect
import math
import re
from fractions import Fraction
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk
from tiers import daily

from adjax import thresholds as t
from experiments import calibration

best_f1 = t.best_f1
class_thresholds, p_value, mean_sigma = (jax.jit(f) for f in (t.class_thresholds, t.p_value, t.mean_sigma))
quantile, conformal = (jax.jit(f, static_argnums=1) for f in (t.quantile, t.conformal))
N, K = 60, 3


@jax.jit
def judged(calibration, distances):
    def one(d):
        return t.classwise_quantile(calibration, d[None])[0]

    score, slope = jax.vmap(jax.value_and_grad(one))(distances)
    return t.classwise_quantile(calibration, distances), t.nearest(calibration, distances), score, slope


def judge(calibration, distances):
    """Score, nearest class, gradient of the score; padded to one of two shapes, so that few compile."""
    distances = np.asarray(distances, np.float32)
    rows = 128 if len(distances) <= 128 else 8192
    padding = np.full((rows - len(distances), distances.shape[1]), np.nan, np.float32)
    out = judged(calibration, np.concatenate([distances, padding]))
    score, near, again, slope = (np.asarray(x)[: len(distances)] for x in out)
    np.testing.assert_array_equal(score, again)
    assert np.all(np.isfinite(slope) & (slope >= 0))
    return score, near, slope


def classwise_quantile(calibration, distances):
    return judge(calibration, distances)[0]


def calibrate(distances, labels, mask=True):
    """`t.calibrate`, padded to one of two shapes with rows that must not count."""
    n = len(labels)
    rows = 128 if n <= 128 else max(n, 2048)
    padding = np.full((rows - n, distances.shape[1]), -1e9, np.float32)
    mask = (np.arange(rows) < n) & np.resize(mask, rows)
    return t.calibrate(np.concatenate([distances, padding]), np.resize(labels, rows), mask)


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def training(n=2000, classes=K, seed=0, shape=3.0):
    rng = np.random.default_rng(seed)
    distances = rng.gamma(shape, size=(n, classes)) * np.arange(1, classes + 1)
    return distances.astype(np.float32), rng.integers(0, classes, n)


def test_the_usual_levels_are_tabulated():
    levels = np.asarray(calibrate(*training()).levels)
    assert {0.0, 0.5, 0.9, 0.95, 0.975, 0.99, 0.999, 1.0} <= set(t.LEVELS)
    assert np.all(np.diff(levels) > 0)
    assert t.LEVELS[t._MEDIAN] == 0.5
    assert np.all(levels == t.LEVELS.astype(np.float32))


@pytest.mark.parametrize("n", [6, 40, 123, 60_000])
def test_knots_are_numpy_quantiles(n):
    distances, labels = training(n)
    knots = np.asarray(calibrate(distances, labels).knots)
    for k in range(K):
        own = distances[labels == k, k]
        np.testing.assert_allclose(knots[k], np.quantile(own.astype(float), t.LEVELS), rtol=1e-6)
    assert np.all(np.diff(knots, axis=1) >= 0)


def test_threshold_on_an_order_statistic_is_that_very_number():
    own = np.random.default_rng(0).gamma(2, size=(41, 1)).astype(np.float32)
    threshold = class_thresholds(calibrate(own, np.zeros(41, int)))[0]
    assert float(threshold) == np.sort(own[:, 0])[39]  # 0.975 * 40


def test_rows_that_do_not_count():
    distances, labels = training(N)
    wanted = calibrate(distances, labels)
    junk = np.array([np.nan, np.inf, -np.inf, 1e9, 7.0], np.float32)
    more = np.concatenate([distances, np.tile(junk[:, None], (1, K))])
    number = np.concatenate([labels, [0, 1, 2, -1, K]])  # not finite, or not a class
    jax.tree.map(np.testing.assert_array_equal, calibrate(more, number), wanted)
    masked = calibrate(more, np.concatenate([labels, np.zeros(5, int)]), np.arange(N + 5) < N)
    jax.tree.map(np.testing.assert_array_equal, masked, wanted)
    jax.tree.map(np.testing.assert_array_equal, t.calibrate(distances, labels), wanted)


@pytest.mark.parametrize("classes", [1, 4])
def test_without_some_rows_it_is_as_if_they_were_never_there(classes):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, classes)).astype(np.float32).round(1)  # with ties
    x[3], x[17] = np.nan, np.inf
    y = rng.integers(-1, classes + 1, 60)  # of no class, too
    y[:2] = classes - 1
    left_out = rng.random((5, 60)) < 0.3
    left_out[0], left_out[1] = False, y == classes - 1  # nobody; all of a class
    found = t.calibrate_without(x, y, left_out)
    for k, mask in enumerate(~left_out):
        for a, b in zip(found, t.calibrate(x, y, mask), strict=True):
            np.testing.assert_array_equal(a[k], b)


def test_one_column_means_one_class_whatever_the_labels():
    distances, labels = training(N, 1)
    jax.tree.map(np.testing.assert_array_equal, calibrate(distances, labels + 7), calibrate(distances, labels * 0))


def test_a_class_without_images_accepts_none():
    distances, labels = training()
    calibration = calibrate(distances, np.where(labels == 1, 0, labels))
    images = np.array([[1e3, 0, 1e3], [1e3, -np.inf, 1e3], [0, np.nan, 1e3], [1e3, 5, 0]], np.float32)
    score = np.asarray(classwise_quantile(calibration, images))
    assert np.all(score[:2] > 1)
    assert np.all(np.isfinite(score))
    assert np.all(score[2:] <= 0)
    np.testing.assert_array_equal(judge(calibration, images)[1], [2, 2, 0, 2])
    assert class_thresholds(calibration)[1] == -np.inf
    nobody = calibrate(distances, np.full_like(labels, -1))
    assert np.all(classwise_quantile(nobody, images) == np.inf)
    assert not np.any(jax.tree.reduce(lambda a, b: a | bool(jnp.isnan(b).any()), (calibration, nobody), False))


def assert_papers_rule(calibration, distances):
    """At every tabulated level the common score accepts the images that the paper's thresholds accept."""
    levels, knots = np.asarray(calibration.levels), np.asarray(calibration.knots)
    ours = classwise_quantile(calibration, distances)[:, None] <= levels
    paper = np.any(distances[:, :, None] <= knots, axis=1)
    np.testing.assert_array_equal(ours, paper)


def test_common_quantile_is_the_papers_rule():
    calibration = calibrate(*training())
    distances = 4 * training(5000, seed=1)[0]
    knots = np.asarray(calibration.knots)
    boundary = np.concatenate([knots.T, np.nextafter(knots.T, np.inf), np.nextafter(knots.T, -np.inf)])
    far = np.full_like(boundary, 1e6)
    for k in range(K):  # each boundary alone, the other classes far away
        distances = np.concatenate([distances, np.where(np.arange(K) == k, boundary, far)])
    assert_papers_rule(calibration, distances)
    accepted = ~np.asarray(t.is_anomalous(classwise_quantile(calibration, distances), 0.975))
    np.testing.assert_array_equal(accepted, np.any(distances <= np.asarray(class_thresholds(calibration)), 1))
    assert 0.5 < accepted[:5000].mean() < 1


number = st.integers(-3, 6).map(float) | st.floats(-3, 6, width=32)
table = hnp.arrays(np.float32, (N, K), elements=number)


@settings(max_examples=20)
@given(table, table, hnp.arrays(int, N, elements=st.integers(-1, K - 1)), st.sampled_from([1e-20, 1.0, 1e20]))
def test_the_papers_rule_with_ties_and_few_images(fit, new, labels, scale):
    fit, new = (np.where(np.abs(x) < 1e-9, 0, x * np.float32(scale)) for x in (fit, new))  # no subnormals
    calibration = calibrate(fit, labels)
    assert_papers_rule(calibration, np.concatenate([fit, new]))
    assert not np.any(np.isnan(classwise_quantile(calibration, new)))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, -50.0])  # a negative log-likelihood is a distance too
def test_increasing_also_outside_of_the_training_range(shift):
    distances, labels = training(classes=1)
    calibration = calibrate(distances + np.float32(shift), labels)
    low, high = (float(calibration.knots[0, i]) for i in (0, -1))
    spread = high - low
    x = np.linspace(low - 3 * spread, high + 30 * spread, 8001, dtype=np.float32)[:, None]
    score = np.asarray(classwise_quantile(calibration, x))
    assert np.all(np.diff(score) > 0)
    assert score[0] < 0
    assert score[-1] > 10
    edge = np.array([[high], [high + 1e-4 * spread]], np.float32)
    at, after = np.asarray(classwise_quantile(calibration, edge))
    assert at == 1
    assert 1 < after < 1.001
    for level in (1.0, 1.5, 7.0):  # the thresholds go on with the score
        np.testing.assert_allclose(
            classwise_quantile(calibration, class_thresholds(calibration, level)[:, None]), level, rtol=1e-5
        )


def test_one_class_ranks_as_the_distance_does():
    calibration = calibrate(*training(classes=1))
    rng = np.random.default_rng(3)
    new = np.concatenate([rng.gamma(3, size=4000), rng.gamma(9, size=4000)]).astype(np.float32)
    labels = np.repeat([0, 1], 4000)
    ours = sk.roc_auc_score(labels, classwise_quantile(calibration, new[:, None]))
    np.testing.assert_allclose(ours, sk.roc_auc_score(labels, new), atol=1e-6)


def test_unit_and_origin_do_not_matter():
    (fit, labels), (new, _) = training(), training(seed=1)
    a = classwise_quantile(calibrate(fit, labels), new * 2)
    b = classwise_quantile(calibrate(8 * fit + 64, labels), 16 * new + 64)
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 5.0, -5.0])
def test_a_class_of_equal_distances(value):
    calibration = calibrate(np.full((9, 1), value, np.float32), np.zeros(9, int))
    step = max(abs(value), 1.0)
    new = np.array([[value - step], [value], [value + step], [value + 2 * step]], np.float32)
    score = classwise_quantile(calibration, new)
    assert np.all(np.diff(score) > 0)
    assert score[1] <= 0
    assert score[2] > 1
    assert np.all(np.isfinite(score))
    if value:  # in units of its size
        np.testing.assert_allclose(score[2:], [1 + 1e6, 1 + 2e6], rtol=1e-3)


def test_knots_too_close_for_their_difference():
    tiny = np.finfo(np.float32).tiny  # the difference is subnormal, and 0 on the device
    fit = np.array([[tiny], [np.nextafter(tiny, np.float32(1))]], np.float32)
    assert np.all(np.isfinite(classwise_quantile(calibrate(fit, np.zeros(2, int)), fit)))


def test_gradient_is_the_slope():
    calibration = calibrate(*training())
    new = np.array([[3.0, 90, 90], [90, 3.0, 90], [30, 80, 120], [0, 90, 90]], np.float32)
    grad = judge(calibration, new)[2]
    h = 1e-3
    for k in range(K):
        up, down = (classwise_quantile(calibration, new + s * h * np.eye(K)[k]) for s in (1, -1))
        np.testing.assert_allclose(grad[:, k], (up - down) / (2 * h), atol=2e-3)
    assert np.all(np.abs(grad).max(1) > 1e-3)


def test_nan_is_never_normal():
    calibration = calibrate(*training())
    new = np.array([[np.nan, 0, 0], [0, 0, 0], [np.inf, np.inf, np.inf]], np.float32)
    score = classwise_quantile(calibration, new)
    assert np.isnan(score[0])
    assert score[2] == np.inf
    np.testing.assert_array_equal(t.is_anomalous(score, 0.975), [True, False, True])
    np.testing.assert_array_equal(t.is_anomalous(np.array([0.0, np.nan], np.float32), np.nan), [True, True])
    np.testing.assert_array_equal(t.is_anomalous(np.array([1.0, np.nan]), np.inf), [False, True])


def test_nearest():
    calibration = calibrate(*training())
    new = np.array([[1, 90, 90], [90, 1, 90], [90, 90, 1], [np.nan, 90, 1]], np.float32)
    np.testing.assert_array_equal(judge(calibration, new)[1], [0, 1, 2, 2])


@pytest.mark.slow
def test_jit_changes_nothing():
    (fit, labels), (new, _) = training(N), training(N, seed=1)
    scores = t.classwise_quantile(t.calibrate(fit, labels), new)
    with jax.disable_jit():
        eager = t.classwise_quantile(t.calibrate(fit, labels), new)
    np.testing.assert_allclose(scores, eager, rtol=1e-5, atol=1e-6)


def test_members_by_vmap():
    fits, labels = (np.stack(x) for x in zip(*(training(N, seed=s) for s in range(4)), strict=True))
    new = np.stack([training(N, seed=9 + s)[0] for s in range(4)])
    many = jax.jit(jax.vmap(t.calibrate))(fits, labels)
    scores = jax.jit(jax.vmap(t.classwise_quantile))(many, new)
    for i in range(4):
        one = calibrate(fits[i], labels[i])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-6), many, one)  # noqa: B023
        np.testing.assert_allclose(scores[i], classwise_quantile(one, new[i]), rtol=1e-5, atol=1e-6)


def test_memory_does_not_grow_with_the_table():
    calibration = jax.eval_shape(t.calibrate, *training(N, 10))
    new = jax.ShapeDtypeStruct((100_000, 10), jnp.float32)
    memory = t.classwise_quantile.lower(calibration, new).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 16 * 4 * 100_000 * 10  # N x K x L would be 281


@pytest.mark.parametrize("alpha", ["0.01", "0.03", "0.05", "0.1", "0.3", "1/3", "0.5", "0.9"])
def test_conformal_is_the_smallest_that_may_be(alpha):
    def rank(n):
        return math.ceil((n + 1) * (1 - Fraction(alpha)))

    needed = next(n for n in range(1, 1000) if rank(n) <= n)
    value = float(Fraction(alpha))
    for n in {1, needed // 2, needed - 1} - {0, needed}:
        with pytest.raises(ValueError, match=rf"n={n} .*alpha={value}: {needed} are needed"):
            t.conformal(np.zeros(n, np.float32), value)
    for n in {needed, 19, 99, 199}:
        if n >= needed:
            scores = np.random.default_rng(n).permutation(n).astype(np.float32)
            assert float(t.conformal(scores, value)) == rank(n) - 1


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_conformal_refuses_a_rate_that_is_none(alpha):
    with pytest.raises(ValueError, match="alpha"):
        conformal(np.zeros(100, np.float32), alpha)


@pytest.mark.parametrize("alpha", ["0.05", None])
def test_a_rate_that_is_no_number_is_refused_where_no_beartype_does(alpha):
    for function in map(inspect.unwrap, (conformal, t.threshold_interval)):
        with pytest.raises(ValueError, match=f"alpha={alpha!r}: the false positive rate must be a number"):
            function(np.zeros(100, np.float32), alpha)


@pytest.mark.parametrize("shape", [(100, 1), (1, 100), ()])
def test_calibration_scores_of_another_shape_are_refused_where_no_beartype_does(shape):
    """While it is traced, too: scores [n, 1] would not be sorted."""
    limit, interval, p = map(inspect.unwrap, (t.conformal, t.threshold_interval, t.p_value))
    for function in (lambda s: limit(s, 0.05), lambda s: interval(s, 0.05), lambda s: p(s, jnp.ones(3))):
        with pytest.raises(ValueError, match=re.escape(f"calibration scores {list(shape)}: must be [n]")):
            jax.eval_shape(function, jnp.zeros(shape))


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_new_image_is_flagged_as_rarely_as_promised_or_as_nan_are_found(share):
    """Each of 100 images is the new one in turn: at most 10 of them are flagged, or all NaN where these are more."""
    scores = np.random.default_rng(0).random(100).astype(np.float32)
    scores[: round(100 * share)] = np.nan
    known = np.stack([np.delete(scores, i) for i in range(100)])
    limits = jax.jit(jax.vmap(lambda s: t.conformal(s, 0.1)))(known)
    p = jax.jit(jax.vmap(lambda s, x: t.p_value(jnp.sort(s), x[None])[0]))(known, scores)
    flagged = np.asarray(t.is_anomalous(scores, limits))
    assert flagged.sum() == round(100 * max(0.1, share))
    np.testing.assert_array_equal(flagged, p <= 0.1)


def test_conformal_keeps_its_promise_where_a_quantile_does_not():
    scores = np.random.default_rng(0).exponential(size=(8_000, 101)).astype(np.float32)
    past, new = scores[:, :100], scores[:, 100]
    ours = jax.jit(jax.vmap(lambda s: t.conformal(s, 0.01)))(past)
    plain = jax.jit(jax.vmap(lambda s: t.quantile(s, 0.99)))(past)
    assert np.mean(t.is_anomalous(new, ours)) < 0.01 + 3 * np.sqrt(0.01 / 8_000)
    assert np.mean(t.is_anomalous(new, plain)) > 0.015


numbers = st.lists(st.integers(-5, 5) | st.just(float("nan")), min_size=30, max_size=30)


@pytest.mark.parametrize("held_out", [200, 5000])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1])
def test_the_realised_rate_follows_its_law(alpha, held_out):
    """99 % band, 20 seeds: at most one outside (two or more have a chance of 1.7 %, fixed by the seeds)."""
    low, high = calibration.law(alpha, held_out)
    scores = np.random.default_rng(5).gamma(2.0, size=20_000).astype(np.float32)
    rates = [calibration.realised(scores, alpha, held_out, seed)["rate"] for seed in range(20)]
    assert sum(not low <= rate <= high for rate in rates) <= 1
    assert low < alpha < high


def test_who_is_judged_has_set_no_threshold(monkeypatch):
    """Everybody is in one part or the other: the rate is that of those whom `conformal` has not seen."""
    seen, conformal = [], t.conformal
    monkeypatch.setattr(t, "conformal", lambda scores, alpha: seen.append(scores) or conformal(scores, alpha))
    scores = np.random.default_rng(0).random(calibration.JUDGED + 500).astype(np.float32)
    rate = calibration.realised(scores, 0.05, 500, seed=3)["rate"]
    (mine,) = seen
    assert len(mine) == 500
    others = scores[~np.isin(scores, mine)]
    assert rate == pytest.approx(float((others > conformal(mine, 0.05)).sum()) / calibration.JUDGED)


@pytest.mark.parametrize(
    ("n", "alpha"), [*daily([(40, 0.05), (300, 0.05), (40, 0.3), (300, 0.3)], (40, 0.05), (300, 0.3))]
)
def test_the_band_holds_the_true_quantile_as_often_as_it_says(n, alpha):
    draws = np.random.default_rng(0).random((150, n)).astype(np.float32)
    bands = [t.threshold_interval(x, alpha, 0.9) for x in draws]
    held = np.mean([low <= 1 - alpha <= high for low, high in bands])
    assert 0.9 - 3 * np.sqrt(0.09 / 150) <= held
    assert all(low <= conformal(x, alpha) <= high for x, (low, high) in zip(draws, bands, strict=True))
    if n == 300:  # and is no wider than it must be
        assert held <= 0.9 + 0.03 + 2 * np.sqrt(0.09 / 150)


@pytest.mark.parametrize(
    ("law", "n", "alpha"),
    [
        *daily(
            [("exponential", 20, 0.05), ("exponential", 40, 0.01), ("half-normal", 20, 0.05), ("uniform", 40, 0.05)],
            ("exponential", 20, 0.05),
        )
    ],
)
def test_a_band_of_few_is_extrapolated_and_holds_the_quantile(law, n, alpha):
    """Where the quantile may lie beyond the largest: of tails that are no heavier than an exponential."""
    rng = np.random.default_rng(n)
    draw, quantile = {
        "exponential": (rng.exponential, -math.log(alpha)),
        "half-normal": (lambda size: abs(rng.normal(size=size)), NormalDist().inv_cdf(1 - alpha / 2)),
        "uniform": (rng.random, 1 - alpha),
    }[law]
    draws = draw(size=(150, n)).astype(np.float32)
    bands = [t.threshold_interval(x, alpha, 0.9) for x in draws]
    held = np.mean([low <= quantile <= high for low, high in bands])
    assert 0.9 - 3 * np.sqrt(0.09 / 150) <= held
    assert all(x.max() <= high < np.inf for x, (_, high) in zip(draws, bands, strict=True))


def test_a_quantile_exceeds_an_extrapolated_band_as_rarely_as_promised():
    """In 2.5 % of all draws at most, where the tail is the exponential that it is extrapolated by."""
    draws = np.random.default_rng(0).exponential(size=(2_000, 10)).astype(np.float32)
    high = jax.jit(jax.vmap(lambda s: t.threshold_interval(s, 0.05)))(draws).high
    assert 0.005 < np.mean(-math.log(0.05) > high) <= 0.025


def test_a_band_is_extrapolated_from_the_upper_half_alone():
    scores = np.sort(np.random.default_rng(0).exponential(size=20)).astype(np.float32)
    high = t.threshold_interval(scores, 0.05).high
    assert t.threshold_interval(np.where(np.arange(20) < 9, -100, scores).astype(np.float32), 0.05).high == high
    assert t.threshold_interval(np.where(np.arange(20) < 10, -100, scores).astype(np.float32), 0.05).high > high


def test_a_score_far_beyond_all_normals_is_certain():
    """Of 20 held-out pictures, as `adjax train` holds out: not every flagged picture is uncertain."""
    scores = np.random.default_rng(0).random(20).astype(np.float32)
    threshold, (low, high) = conformal(scores, 0.05), t.threshold_interval(scores, 0.05)
    assert low < threshold < high < 5 * threshold
    np.testing.assert_allclose(t.threshold_interval(8 * scores + 64, 0.05), [8 * low + 64, 8 * high + 64], rtol=1e-4)
    assert t.threshold_interval(np.where(scores > 0.3, np.inf, scores), 0.05).high == np.inf
    assert t.threshold_interval(np.where(scores > 0.6, np.nan, scores), 0.05).high == np.inf


def test_a_band_of_too_few_is_open():
    low, high = t.threshold_interval(jnp.arange(9.0), 0.01)
    assert low == 7
    assert high == np.inf
    assert t.threshold_interval(jnp.arange(9.0), 0.5).high == 7, "nine tell where a median lies"
    low, high = t.threshold_interval(jnp.zeros(0), 0.01)
    assert (low, high) == (-np.inf, np.inf)
    assert t.threshold_interval(jnp.array([jnp.nan] * 50), 0.5).low == np.inf
    for options in ({"alpha": 0.0}, {"alpha": 0.1, "confidence": 1.0}):
        with pytest.raises(ValueError, match=r"must lie between 0 and 1"):
            t.threshold_interval(jnp.arange(10.0), **options)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers, st.sampled_from([0.05, 0.1, 0.25, 0.5]))
def test_p_values_and_conformal_threshold_agree(normal, new, alpha):
    normal, new = np.array(normal, np.float32), np.array(new, np.float32)
    p = np.asarray(p_value(jnp.sort(jnp.asarray(normal)), new))
    ranked = np.where(np.isnan(normal), np.inf, normal)
    wanted = [(1 + (0 if np.isnan(s) else np.sum(ranked >= s))) / 31 for s in new]
    np.testing.assert_allclose(p, wanted, rtol=1e-6)
    np.testing.assert_array_equal(p <= alpha + 1e-6, t.is_anomalous(new, conformal(normal, alpha)))


def test_quantile_and_mean_sigma():
    scores = np.random.default_rng(0).gamma(2, size=777).astype(np.float32)
    dirty = np.concatenate([scores, [np.nan, np.inf, -np.inf]]).astype(np.float32)
    for level in (0.0, 0.31, 0.9999, 1.0):
        np.testing.assert_allclose(quantile(dirty, level), np.quantile(scores.astype(float), level), rtol=1e-6)
    for k in (3.0, -1.0):
        wanted = scores.mean(dtype=float) + k * scores.std(dtype=float)
        np.testing.assert_allclose(mean_sigma(dirty, k), wanted, rtol=1e-6)
    nothing = np.full(3, np.nan, np.float32)
    assert float(quantile(nothing)) == -np.inf
    assert np.all(t.is_anomalous(scores, mean_sigma(nothing)))
    with pytest.raises(ValueError, match=r"97\.5"):
        quantile(scores, 97.5)


labelled = st.lists(
    st.tuples(st.integers(-4, 4) | st.just(float("nan")), st.booleans(), st.booleans()),
    min_size=25,
    max_size=25,
)


@settings(max_examples=25)
@given(labelled)
def test_best_f1_is_the_best_of_all_thresholds(rows):
    scores, labels, mask = (np.array(x) for x in zip(*rows, strict=True))
    scores = scores.astype(np.float32)
    threshold = float(best_f1(scores, labels, mask))
    s, y = scores[mask], labels[mask]

    def f1(at):
        return sk.f1_score(y, ~(s <= at), zero_division=0.0) if y.size else 0.0

    everywhere = [-np.inf, *np.unique(s[np.isfinite(s)])]
    best = max(f1(at) for at in everywhere)
    np.testing.assert_allclose(f1(threshold), best, atol=1e-6)
    assert not np.isnan(threshold)
    if not y.any() and np.isfinite(s).any():  # no anomaly to learn from: no finite score is flagged
        assert threshold == np.nanmax(s)


def test_best_f1_without_anomalies_or_without_normals():
    scores = np.array([3, 1, 2, np.nan], np.float32)
    assert float(best_f1(scores, np.zeros(4, int))) == 3
    assert float(best_f1(scores, np.ones(4, int))) == -np.inf


def test_best_f1_leaves_a_margin():
    scores, labels = np.array([0, 1, 2, 6, 7], np.float32), np.array([0, 0, 0, 1, 1])
    assert float(best_f1(scores, labels)) == 4
    close = np.array([1, np.nextafter(np.float32(1), 2)], np.float32)  # nothing lies between
    np.testing.assert_array_equal(t.is_anomalous(close, best_f1(close, np.array([0, 1]))), [False, True])
    members = jnp.stack([scores, -scores, scores * 2])
    np.testing.assert_array_equal(
        jax.jit(jax.vmap(t.best_f1, in_axes=(0, None)))(members, labels),
        [float(best_f1(m, labels)) for m in members],
    )
