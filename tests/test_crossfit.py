"""Cross-fitting: what rows get that the fit has not seen, against fits made anew; and the rate that it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import daily

import adjax
from adjax import crossfit, scorers, thresholds
from adjax._other_rows import leave_one_out_quantile
from adjax.data.splitting import copies, folds, validation_split
from experiments import calibration_features

N, D, K = 24, 3, 3


def rows(n=N, d=D, seed=0, classes=1):
    """Heavy-tailed rows about 5, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(n) % classes)
    return (rng.standard_t(4, (n, d)) + 5 + labels[:, None]).astype(np.float32), labels


def without(scorer, x, labels, classes, left):
    """Distances of the rows `left` by a fit made anew to all others."""

    @jax.jit
    def distances(x, labels, queries):
        state = scorers.fit(scorer, {"features": x}, labels, classes)
        return scorer.distances(state, {"features": queries})

    return np.asarray(distances(x[~left], labels[~left], x[left]))


CLOSED = {
    "mahalanobis": ("mahalanobis", {}, 1),
    "of classes": ("mahalanobis", {}, K),
    "unshrunk": ("mahalanobis", {"shrinkage": 0.0}, K),
    "all but a sphere": ("mahalanobis", {"shrinkage": 0.9}, 1),
    "a covariance a class": ("mahalanobis_perclass", {}, K),
    "partially pooled": ("mahalanobis_partial", {}, K),
    "partially pooled, unshrunk": ("mahalanobis_partial", {"shrinkage": 0.0}, K),
    "gmm": ("gmm", {}, 1),
    "gmm, shrunk": ("gmm", {"shrinkage": 0.3}, 1),
    "knn": ("knn", {"k": 2, "capacity": 30}, 1),
    "nearest": ("knn", {"k": 1, "capacity": 30, "normalise": False}, 1),
}


@pytest.mark.parametrize(
    ("name", "options", "classes"),
    [*daily(CLOSED, "of classes", "a covariance a class", "partially pooled", "gmm", "nearest")],
)
def test_the_closed_form_is_that_of_fits_without_the_row(name, options, classes):
    scorer, (x, labels) = scorers.make(name, **options), rows(classes=classes)
    fitted = crossfit.fit(scorer, {"features": x}, labels, classes, np.arange(N))
    assert fitted.fits == 0
    wanted = crossfit.out_of_fold(scorer, {"features": x}, labels, classes, np.arange(N))
    rtol = 5e-3 if options.get("shrinkage", 0.1) else 1e-4
    np.testing.assert_allclose(fitted.distances, wanted, rtol=2e-2 if name == "mahalanobis_partial" else rtol)


def test_the_closed_form_holds_with_fewer_rows_than_features():
    scorer, (x, labels) = scorers.make("mahalanobis_partial"), rows(30, 64, classes=K)
    fitted = crossfit.fit(scorer, {"features": x}, labels, K, np.arange(30))
    left = np.arange(30) == 4
    np.testing.assert_allclose(fitted.distances[left], without(scorer, x, labels, K, left), rtol=2e-2)


@pytest.mark.parametrize(("classes", "n"), [(1, 60), (4, 60), (3, 7)])
def test_levels_among_the_other_rows_are_those_of_calibrations_on_them(classes, n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, classes)).astype(np.float32).round(1)  # with ties
    x[3], x[5] = np.nan, np.inf
    y = rng.integers(-1, classes + 1, n)  # of no class, too
    others = thresholds.calibrate_without(x, y, np.eye(n, dtype=bool))
    wanted = jax.vmap(thresholds.classwise_quantile)(others, x[:, None])[:, 0]
    np.testing.assert_array_equal(leave_one_out_quantile(x, y), wanted)


@pytest.mark.parametrize(
    ("name", "options"), [*daily([("center", {}), ("knn", {"k": 2, "capacity": 30})], ("center", {}))]
)
def test_each_fold_is_judged_by_a_fit_to_the_others(name, options):
    scorer, (x, labels) = scorers.make(name, **options), rows(classes=K)
    fold = np.random.default_rng(1).permutation(np.arange(N) % 5)  # of unlike sizes
    found = np.asarray(crossfit.out_of_fold(scorer, {"features": x}, labels, K, fold))
    for f in (0, 4):
        np.testing.assert_allclose(found[fold == f], without(scorer, x, labels, K, fold == f), rtol=1e-5)


def test_copies_of_a_row_are_left_out_with_it():
    """A row is its own nearest neighbour, and so is its copy."""
    x = np.repeat(rows()[0], 2, axis=0)
    assert copies(x).tolist() == np.repeat(2 * np.arange(N), 2).tolist()
    one = {"k": 1, "capacity": 2 * N, "normalise": False}
    scorer = scorers.make("knn", **one)
    fitted = crossfit.fit(scorer, {"features": x}, np.zeros(2 * N, int), 1, copies(x))
    assert fitted.fits == crossfit.FOLDS
    assert np.asarray(fitted.distances).min() > 0
    detector = adjax.detector_from(None, {}, "knn", x, folds=20, scorer_options=one)
    assert float(detector.calibration_scores[N]) > 0  # distances of 0 would all have the lowest level
    assert not np.asarray(detector.with_false_positive_rate(0.05).predict(x)).any()


def test_what_float32_can_not_tell_is_fitted_anew():
    """Fewer rows than features, and nothing shrunk: without its row, a direction has no variance at all."""
    x, labels = rows(10, 16)
    with pytest.warns(UserWarning, match="10 rows of 16 features are too few .* shrinkage=0.1"):
        fitted = crossfit.fit(scorers.make("mahalanobis", shrinkage=0.0), {"features": x}, labels, 1, np.arange(10))
    assert fitted.fits == 10  # as many folds as rows
    assert np.isfinite(np.asarray(fitted.distances)).all()


@pytest.mark.filterwarnings("error")
def test_as_many_rows_as_features_are_too_few_and_two_more_enough():
    outputs = {"features": np.zeros((1, 16), np.float32)}
    for least in (2, 16, 17):
        with pytest.warns(UserWarning, match=f"20 rows of 16 features .* more than {20 * 16 // (least - 1) + 2} rows"):
            crossfit._warn_of_few(least, 20, outputs)
    crossfit._warn_of_few(18, 20, outputs)
    crossfit._warn_of_few(2, 20, {"score": np.zeros(1, np.float32)})


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mahalanobis", {}),
        ("mahalanobis_partial", {}),
        ("layers", {"names": ("features",), "capacity": 200}),
        ("layers_partial", {"names": ("features",), "capacity": 200, "shrinkage": 0.0}),
    ],
)
def test_class_thresholds_are_of_rows_left_out(name, options):
    """Thresholds of a fit's own 120 rows would flag 26 to 61 % of fresh ones of 24 features, and 10 % are asked for."""
    x, labels = rows(120, 24, classes=K)
    detector = adjax.detector_from(None, {}, name, x, labels, scorer_options=options).with_quantile(0.9)
    fresh, _ = rows(4000, 24, seed=1, classes=K)
    assert 0.05 < np.asarray(detector.predict(fresh)).mean() < 0.13


def test_a_class_of_one_image_has_a_threshold():
    x, labels = rows(40, 3, classes=2)
    labels[labels == 1] = 0
    labels[7] = 1
    detector = adjax.detector_from(None, {}, "mahalanobis", x, labels)
    assert np.isfinite(detector.calibration.knots).all()


def test_a_row_is_ranked_among_others():
    """With classes, whose levels are compared, by tables without it; with one, by the table that fresh rows have."""
    x, labels = rows(60, classes=K)
    apart = (x + 100 * labels[:, None]).astype(np.float32)
    fitted = crossfit.fit(scorers.make("center"), {"features": apart}, labels, K, np.arange(60), 20)
    assert (np.asarray(fitted.scores) > 1).sum() >= K  # the furthest of each class is beyond the table of the others
    single = crossfit.fit(scorers.make("center"), {"features": x}, labels, 1, np.arange(60), 20)
    assert np.asarray(single.scores).max() == 1


@pytest.mark.parametrize("name", [*daily(["mahalanobis", "knn, k = 1", "gmm"], "mahalanobis")])
def test_fresh_rows_are_flagged_as_often_as_asked(name):
    """100 rows of 16 features; by their training distances far more are."""
    row = calibration_features.cell(name, "gaussian", 100, 16, 20)
    assert 0.03 <= row["rate"]["mean"] <= 0.065  # 5/101, and three times what 20 seeds leave open
    assert row["training"]["mean"] > 0.1


def test_folds_are_even_and_keep_groups_together():
    labels, groups = np.repeat([0, 1, 2], [40, 20, 7]), np.arange(67)
    groups[1::2] = groups[:-1:2]
    fold = folds(labels, 5, 0, groups)
    np.testing.assert_array_equal(fold, folds(labels, 5, 0, groups))
    assert (fold != folds(labels, 5, 1, groups)).any()
    assert all(len(set(fold[groups == g])) == 1 for g in groups)
    each = np.array([np.bincount(labels[fold == f], minlength=3) for f in range(5)])
    assert np.ptp(each[:, :2], axis=0).max() <= 2  # a pair more or less
    with pytest.raises(ValueError, match="3 folds of 2 different rows"):
        folds(np.zeros(4), 3, 0, np.array([0, 0, 1, 1]))


def test_a_validation_split_keeps_groups_together():
    labels = np.arange(40) % 2
    groups = np.arange(40) // 4 * 4
    train, aside = validation_split(labels, 0.3, 0, groups)
    assert sorted([*train, *aside]) == list(range(40))
    assert not set(groups[train]) & set(groups[aside])
    assert len(aside) == 12
    alone = validation_split(labels, 0.3, 0, np.arange(40))  # without copies, the very split
    jax.tree.map(np.testing.assert_array_equal, alone, validation_split(labels, 0.3, 0))


def test_a_cross_fitted_detector_has_p_values_and_promises():
    x, _ = rows(60, 8)
    paper = adjax.detector_from(None, {}, "mahalanobis", x)
    crossed = adjax.detector_from(None, {}, "mahalanobis", x, folds=5)
    for mine, its in zip(crossed.scorer, paper.scorer, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-6)  # the fit is to all rows
    assert len(crossed.calibration_scores) == 60
    assert np.all(np.diff(crossed.calibration_scores) >= 0)
    np.testing.assert_array_equal(crossed.calibration.knots, paper.calibration.knots)  # both of rows left out
    flagged = crossed.with_false_positive_rate(0.05).predict(x)
    np.testing.assert_array_equal(flagged, np.asarray(crossed.p_value(x)) <= 0.05)
    with pytest.raises(ValueError, match="each calibrates, give one of them"):
        adjax.detector_from(None, {}, "mahalanobis", x, folds=5, held_out=x)
    with pytest.raises(ValueError, match="folds=1: must be at least 2"):
        adjax.detector_from(None, {}, "mahalanobis", x, folds=1)
    with pytest.raises(ValueError, match="at least 2 different rows"):
        adjax.detector_from(None, {}, "mahalanobis", np.ones((9, 2), np.float32), folds=5)


def test_rows_with_a_nan_count_as_far():
    x, _ = rows()
    x[3] = np.nan
    detector = adjax.detector_from(None, {}, "center", x, folds=5)
    assert np.isnan(np.asarray(detector.calibration_scores)).sum() == 1
    assert float(detector.with_false_positive_rate(1 / (N + 1)).threshold) == np.inf
    assert float(jnp.min(detector.p_value(np.full((1, D), 1e6, np.float32)))) == pytest.approx(2 / (N + 1))
