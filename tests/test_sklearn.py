"""scikit-learn's own checks hold our estimators to its API; and they find what they are for."""

import doctest
import pickle
import re
import subprocess
import sys
from fractions import Fraction

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import validate_data
from tiers import daily

import adjax
import adjax.sklearn
from adjax import export, models, pipeline
from adjax.methods import METHODS, entry
from adjax.models import weights
from adjax.sklearn import ANOMALOUS, ImageOutlierDetector, OutlierDetector

X, Y = load_digits(return_X_y=True)
ZEROS, NEW, TRUTH = X[:900][Y[:900] == 0], X[900:], np.where(Y[900:] == 0, 1, -1)


OPTIONS = {
    "center": {},
    "cosine": {},
    "gmm": {},
    "knn": {"capacity": 200},
    "layers": {},
    "mahalanobis": {},
    "mahalanobis_perclass": {},
    "ocsvm": {"capacity": 200},
    "padim": {"feature": "features", "grid": (1, 1)},
    "patchcore": {"feature": "features", "coreset": 100, "capacity": 200},
    "pca": {},
}
"""Scorers that take features alone, and know how to do with one class (`relative_mahalanobis` compares several)."""
EXPECTED_TO_FAIL: dict[str, dict[str, str]] = {}
"""Scorer -> check -> why."""
DEAR = {
    "check_classifier_data_not_an_array",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_check_is_fitted",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
}
"""Each compiles a fit to rows of a shape of its own: of `mahalanobis` all others are for every day, of other scorers
these, and all of all with -m slow."""
DAILY = {(scorer, "check_no_attributes_set_in_init") for scorer in ("center", "gmm", "knn", "ocsvm", "padim")}


def checks():
    for scorer, options in OPTIONS.items():
        failing = EXPECTED_TO_FAIL.get(scorer, {})
        for made, check in estimator_checks_generator(OutlierDetector(scorer, options=options)):
            name = check.func.__name__
            quick = name not in DEAR if scorer == "mahalanobis" else (scorer, name) in DAILY
            marks = [] if quick else [pytest.mark.slow]
            if name in failing:
                marks.append(pytest.mark.xfail(reason=failing[name], strict=True))
            yield pytest.param(made, check, id=f"{scorer}-{name}", marks=marks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("made", "check"), list(checks()))
def test_scikit_learns_checks(made, check):
    check(made)


class OnCanvas(ImageOutlierDetector):
    """Takes scikit-learn's made-up rows, which are no images, for the strengths of as many patterns of 8×8 pixels.

    All else is `ImageOutlierDetector`. Rows that are repeated to 64 pixels would be stripes without a gradient.
    """

    def _images(self, X, reset):
        rows = np.clip(validate_data(self, X, dtype=np.float32, reset=reset), -1e6, 1e6)
        patterns = np.random.default_rng(0).normal(size=(rows.shape[1], 64)).astype(np.float32)
        pixels = 255 / (1 + np.exp(-np.clip(rows @ patterns / np.sqrt(rows.shape[1]), -20, 20)))
        return np.rint(pixels).astype(np.uint8).reshape(-1, 8, 8, 1)


SMALL_CELLS = {"model_options": {"cell_px": 4}}
SMALL_DENSE = {"model": "deep_autoencoder", "model_options": {"hidden": 8, "latent": 2}}  # compiles in half the time
FROM_NORMAL_IMAGES = {
    "autoencoder": SMALL_DENSE,
    "deep_svdd": SMALL_DENSE,
    "gmm": SMALL_CELLS,
    "hog_ocsvm": SMALL_CELLS,
    "random": {},
}
"""Method -> options. The others need labels, which scikit-learn's checks of outlier detectors never give."""


def method_checks():
    for method, options in FROM_NORMAL_IMAGES.items():
        trained = {"epochs": 1} if entry(method).trains else {}
        for made, check in estimator_checks_generator(OnCanvas(method, held_out=0.0, **trained, **options)):
            yield pytest.param(made, check, id=f"{method}-{check.func.__name__}")


def test_methods_that_need_labels_say_so():
    assert {name for name in METHODS if get_tags(ImageOutlierDetector(name)).target_tags.required} == set(
        METHODS
    ) - set(FROM_NORMAL_IMAGES)
    assert {name for name in METHODS if entry(name).supervision == "normal"} == set(FROM_NORMAL_IMAGES)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("made", "check"), list(method_checks()))
def test_scikit_learns_checks_of_methods(made, check):
    check(made)


def test_a_scorers_sense_is_turned_round():
    made = OutlierDetector("mahalanobis").fit(ZEROS)
    np.testing.assert_array_equal(made.score_samples(NEW), -made.detector_.score(NEW.astype(np.float32)))
    np.testing.assert_array_equal(made.predict(NEW) == -1, made.detector_.predict(NEW.astype(np.float32)))
    assert roc_auc_score(TRUTH, made.score_samples(NEW)) > 0.99


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_contamination_is_the_share_that_is_flagged(share):
    made = OutlierDetector("center", contamination=share)
    flagged = made.fit_predict(ZEROS) == -1
    assert abs(flagged.sum() - share * len(ZEROS)) <= 1
    np.testing.assert_array_equal(made.decision_function(ZEROS) < 0, flagged)
    assert made.offset_ == np.percentile(made.score_samples(ZEROS), 100 * share)
    np.testing.assert_array_equal(
        made.detector_.predict(ZEROS.astype(np.float32)), flagged
    )  # what is saved decides alike


@pytest.mark.parametrize("share", [np.float32(0.1), np.float64(0.1), Fraction(1, 10), 0.1])
def test_any_real_number_is_a_share(share):
    made = OutlierDetector("center", contamination=share).fit(ZEROS)
    assert made.offset_ == np.percentile(made.score_samples(ZEROS), 100 * float(share))
    assert np.isnan(made.false_positive_rate_)


@pytest.mark.parametrize("scorer", [*daily(["mahalanobis", "knn", "patchcore"], "knn")])
def test_auto_flags_as_many_fresh_rows_as_it_says(scorer):
    """Training rows tell nothing of it: one that is its own nearest neighbour is never far."""
    rng = np.random.default_rng(0)
    options = {"knn": {"k": 1, "capacity": 120}, "patchcore": OPTIONS["patchcore"]}.get(scorer)
    rates = []
    for _ in range(8):
        made = OutlierDetector(scorer, options=options).fit(rng.normal(size=(120, 16)))
        rates.append((made.predict(rng.normal(size=(1000, 16))) == -1).mean())
    assert made.false_positive_rate_ == 0.05
    assert 0.02 < np.mean(rates) < 0.08


def test_few_rows_promise_what_they_can():
    with pytest.warns(UserWarning, match=r"10 different rows .* can promise .* of 9\.1%, not 5%: give 19 or more"):
        made = OutlierDetector("center").fit(ZEROS[:10])
    assert made.false_positive_rate_ == 1 / 11
    assert made.detector_.threshold == made.detector_.calibration_scores[-1]
    none = OutlierDetector("center").fit(np.repeat(ZEROS[:1], 5, axis=0))
    assert np.isnan(none.false_positive_rate_)


@pytest.mark.slow
def test_copies_of_an_image_are_not_trained_on_and_held_out(monkeypatch):
    split = {}
    fit = pipeline.detectors.fit

    def seen(spec, params, normalise, images, labels, held_out, **options):
        split.update(seen={x.tobytes() for x in images}, aside={x.tobytes() for x in held_out}, n=len(held_out))
        return fit(spec, params, normalise, images, labels, held_out, **options)

    monkeypatch.setattr(pipeline.detectors, "fit", seen)
    twice = np.concatenate([ZEROS[:60], ZEROS[:60]])
    made = ImageOutlierDetector("gmm", pixel_max=16, **SMALL_CELLS).fit(twice)
    assert not split["seen"] & split["aside"]
    assert split["n"] == 2 * 19  # as many different ones as the rate takes
    assert made.false_positive_rate_ == 0.05


def test_an_epoch_is_as_many_whole_batches_as_there_are(monkeypatch):
    asked = {}

    def train_one(*_, **options):
        asked.update(options)
        raise InterruptedError

    monkeypatch.setattr(adjax.sklearn, "train_one", train_one)
    with pytest.raises(InterruptedError):
        ImageOutlierDetector("deep_svdd", pixel_max=16, held_out=0.0, epochs=3, batch_size=32).fit(ZEROS[:70])
    assert (asked["steps"], asked["batch_size"]) == (6, 32)
    assert isinstance(asked["steps"], int)


@pytest.mark.slow
def test_what_is_not_trained_is_cross_fitted_if_nothing_is_held_out():
    made = ImageOutlierDetector("gmm", pixel_max=16, held_out=0.0, **SMALL_CELLS).fit(ZEROS)
    assert len(made.detector_.calibration_scores) == len(ZEROS)
    assert made.false_positive_rate_ == 0.05


@pytest.mark.slow
def test_in_a_pipeline_and_a_grid_search():
    steps = make_pipeline(StandardScaler(), OutlierDetector("mahalanobis"))
    grid = {"outlierdetector__options": [{"shrinkage": 1.0}, {"shrinkage": 0.3}]}
    rows, truth = X[900:1200], np.where(Y[900:1200] == 0, 1, -1)
    halves = [(np.flatnonzero(Y[:300] == 0), np.arange(150, 300)), (np.flatnonzero(Y[:300] == 0), np.arange(150))]
    search = GridSearchCV(steps, grid, scoring="roc_auc", cv=halves, refit=False).fit(rows, truth)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert clone(steps).get_params()["outlierdetector__scorer"] == "mahalanobis"


def test_copies_of_rows_promise_nothing_more():
    few = np.random.default_rng(0).normal(size=(9, 4))
    with pytest.warns(UserWarning, match="9 different rows .* can promise a false-positive rate of 10.0%, not 5%"):
        alone = OutlierDetector("center").fit(few)
    with pytest.warns(UserWarning, match="9 different rows"):
        repeated = OutlierDetector("center").fit(np.repeat(few, 10, axis=0))
    assert alone.false_positive_rate_ == repeated.false_positive_rate_ == pytest.approx(0.1)


@pytest.mark.slow
def test_copies_of_images_promise_nothing_more():
    images = np.repeat(ZEROS[:16], 5, axis=0)
    with pytest.warns(UserWarning, match="8 different rows"):
        made = ImageOutlierDetector("hog_ocsvm", pixel_max=16, **SMALL_CELLS).fit(images)
    assert len(made.detector_.calibration_scores) == 8
    assert made.false_positive_rate_ == pytest.approx(1 / 9)


@pytest.mark.parametrize("options", [{"epochs": 5}, {"batch_size": 32}, {"hparams": {"learning_rate": 0.1}}])
@pytest.mark.parametrize("method", [name for name in METHODS if not entry(name).trains])
def test_options_of_training_are_refused_where_nothing_is_trained(method, options):
    """They had been ignored."""
    ((name, value),) = options.items()
    told = f"{name}={value!r} does nothing with method {method!r}, which trains nothing: leave it out, or take a method"
    with pytest.raises(ValueError, match=re.escape(told)):
        ImageOutlierDetector(method, pixel_max=16, **options).fit(ZEROS)


def test_classes_have_thresholds_of_their_own_if_asked_to():
    rows, names = X[:600][Y[:600] < 2], np.array(["zero", "one"])[Y[:600][Y[:600] < 2]]
    made = OutlierDetector("center", use_labels=True).fit(rows, names)
    assert len(made.detector_.spec.classes) == 2
    ignored = OutlierDetector("center").fit(rows, names)
    assert len(ignored.detector_.spec.classes) == 1
    with pytest.raises(ValueError, match="use_labels=True needs y"):
        OutlierDetector(use_labels=True).fit(rows)


def test_what_does_not_fit_is_refused():
    for share in (0, -0.1, 0.51, "much", 1.5, np.float32(0.6), True, float("nan"), None):
        with pytest.raises(ValueError, match=r"contamination .*: must be 'auto' or a share in \(0, 0\.5\]"):
            OutlierDetector(contamination=share).fit(ZEROS)
    with pytest.raises(ValueError, match="the scorer reads 'logits', and the network gives features"):
        OutlierDetector("energy").fit(ZEROS)
    with pytest.raises(ValueError, match="no scorer 'euclid'"):
        OutlierDetector("euclid").fit(ZEROS)


# Images


@pytest.fixture(scope="module")
def svdd():
    """The five lines of README."""
    return ImageOutlierDetector("deep_svdd", image_shape=(8, 8, 1), pixel_max=16, epochs=30).fit(ZEROS)


@pytest.mark.slow
def test_a_deep_one_class_method_in_five_lines(svdd, tmp_path):
    auroc = roc_auc_score(TRUTH, svdd.score_samples(NEW))
    assert auroc > 0.98
    said = svdd.predict(NEW)
    assert set(said) == {1, -1}
    assert (said[TRUTH == -1] == -1).mean() > 0.9
    assert (said[TRUTH == 1] == -1).mean() < 0.3
    images = np.rint(NEW * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    np.testing.assert_array_equal(svdd.detector_.predict(images), said == -1)
    svdd.detector_.export(tmp_path)
    np.testing.assert_allclose(-export.load(tmp_path).score(images), svdd.score_samples(NEW), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "epochs", "steps"),
    [("centerloss", None, 500), ("autoencoder", None, 2000), ("autoencoder", 3, 3 * 12), ("random", None, 0)],
)
def test_how_long_it_trains_unless_told(monkeypatch, method, epochs, steps):
    """As the commands do: long enough for few images, and fewer steps of center loss."""
    asked = []

    def train_one(*_, steps, **__):
        asked.append(steps)
        raise InterruptedError

    monkeypatch.setattr(adjax.sklearn, "train_one", train_one)
    with pytest.raises(InterruptedError):
        ImageOutlierDetector(method, pixel_max=16, epochs=epochs, held_out=0.0, batch_size=None).fit(X[:400], Y[:400])
    assert asked == [steps]


@pytest.mark.slow
def test_training_is_what_does_it(svdd):
    """One step is as good as none."""
    blank = clone(svdd).set_params(epochs=1, batch_size=len(ZEROS)).fit(ZEROS)
    assert roc_auc_score(TRUTH, blank.score_samples(NEW)) < roc_auc_score(TRUTH, svdd.score_samples(NEW))


@pytest.mark.slow
def test_images_and_rows_are_the_same(svdd):
    images = NEW.reshape(-1, 8, 8, 1)
    np.testing.assert_array_equal(svdd.score_samples(images), svdd.score_samples(NEW))
    again = pickle.loads(pickle.dumps(svdd))
    np.testing.assert_array_equal(again.score_samples(NEW[:5]), svdd.score_samples(NEW[:5]))


@pytest.mark.parametrize(
    ("supervision", "labels", "classes"),
    [
        ("normal", [0, 0, 0, 0, 0], ("normal",)),
        ("classes", [1, -1, 0, 1, -1], ("ant", "bee")),
        ("anomalies", [0, 1, 0, 0, 1], ("normal",)),
        ("classes and anomalies", [1, 2, 0, 1, 2], ("ant", "bee")),
    ],
)
def test_labels_as_each_kind_of_method_takes_them(supervision, labels, classes):
    """Anomalies are −1 in `y`; to a method they are what comes after the classes, or no image of its."""
    y = np.array(["bee", ANOMALOUS, "ant", "bee", ANOMALOUS], object)
    found, names = ImageOutlierDetector()._labels(y, 5, supervision)
    assert (found.tolist(), names) == (labels, classes)


@pytest.mark.slow
def test_a_method_that_learns_classes():
    few = np.flatnonzero(Y[:400] < 3)
    made = ImageOutlierDetector("centerloss", pixel_max=16, epochs=2).fit(X[few], Y[few])
    assert made.detector_.spec.image_shape == (8, 8, 1)
    assert made.classes_.tolist() == [0, 1, 2]
    assert made.detector_.spec.classes == ("0", "1", "2")


@pytest.mark.slow
def test_a_method_that_learns_from_labelled_anomalies():
    y = np.where(Y[:300] == 0, 0, -1)
    with pytest.warns(UserWarning, match=r"15 different rows .* can promise .* of 6\.2%"):  # half of the normal ones
        made = ImageOutlierDetector("classifier", pixel_max=16, epochs=4).fit(X[:300], y)
    assert made.false_positive_rate_ == 1 / 16
    assert made.detector_.spec.classes == ("normal",)
    assert roc_auc_score(TRUTH, made.score_samples(NEW)) > 0.9


def test_a_method_that_is_not_trained():
    made = ImageOutlierDetector("gmm", pixel_max=16, model_options={"cell_px": 4}).fit(ZEROS)
    assert roc_auc_score(TRUTH, made.score_samples(NEW)) > 0.9


def test_hog_of_large_images_has_few_features():
    """64 px had 8,100 by cells of 4 px, and a Gaussian of so many took minutes to fit."""
    large, small = (64, 64, 3), (28, 28, 1)
    assert ImageOutlierDetector("gmm")._model_options(small) == {}
    assert ImageOutlierDetector("deep_svdd")._model_options(large) == {}
    assert ImageOutlierDetector("gmm", model_options={"cell_px": 4})._model_options(large) == {"cell_px": 4}
    options = ImageOutlierDetector("gmm")._model_options(large)
    network = models.make("hog", large, 1, **options)
    said = jax.eval_shape(network.apply, network.init(jax.random.key(0)), jax.ShapeDtypeStruct((1, *large), "float32"))
    assert said["features"].shape == (1, 784)


def test_a_pre_trained_network_has_its_weights_or_is_refused(monkeypatch):
    """It was drawn at random once, without a word."""
    options = {"method": "gmm", "model": "efficientnet_lite0", "image_shape": (8, 8, 1), "pixel_max": 16}
    with pytest.raises(weights.WeightsError, match=r"no file of weights at .*nowhere\.pth"):
        ImageOutlierDetector(**options, weights="nowhere.pth").fit(ZEROS[:40])

    def unreachable(spec, model):
        raise weights.WeightsError(f"{spec} for {model}")

    monkeypatch.setattr(weights, "resolve", unreachable)
    with pytest.raises(weights.WeightsError, match="None for efficientnet_lite0"):
        ImageOutlierDetector(**options).fit(ZEROS[:40])


WRONG = {
    "no such method": ({"method": "magic"}, ZEROS, None, "no method 'magic'; there are"),
    "no labels": (
        {"method": "classifier"},
        ZEROS,
        None,
        "'classifier' learns from anomalies: it requires y to be passed, .* give y, with -1 for anomalies",
    ),
    "no anomaly": ({"method": "classifier"}, ZEROS, np.zeros(len(ZEROS)), "and no y is -1: label some"),
    "nothing but anomalies": ({"method": "classifier"}, ZEROS, -np.ones(len(ZEROS)), "there is no normal image"),
    "labels too few": ({"method": "classifier"}, ZEROS, np.zeros(3), r"y of shape \(3,\): must be \[\d+\]"),
    "pixels too bright": ({"pixel_max": 1}, ZEROS, None, r"pixels from 0 to 16: must lie in 0\.\.1"),
    "floats whose white is 1": ({"pixel_max": 255}, ZEROS / 16, None, "float pixels from 0 to 1, .* give pixel_max=1"),
    "another size": ({"image_shape": (9, 9, 1)}, ZEROS, None, r"must be \[N, 9, 9, 1\]"),
    "rows that are no square": ({}, ZEROS[:, :60], None, r"X of shape \(\d+, 60\)"),
    "all held out": ({"held_out": 1.0}, ZEROS, None, r"held_out=1\.0: must be a share in \[0, 1\)"),
    "a share in words": ({"held_out": "0.2"}, ZEROS, None, "held_out='0.2': must be a share"),
    "no epochs": ({"epochs": 0}, ZEROS, None, "epochs=0: must be a whole number, at least 1"),
    "half an epoch": ({"epochs": 1.5}, ZEROS, None, "epochs=1.5: must be a whole number"),
    "no images a step": ({"batch_size": 0}, ZEROS, None, "batch_size=0: must be a whole number, at least 1"),
    "no seed": ({"seed": None}, ZEROS, None, "seed=None: must be a whole number"),
    "a seed below zero": ({"seed": -1}, ZEROS, None, "seed=-1: must be a whole number in"),
    "a rate below zero": (
        {"hparams": {"learning_rate": -1}},
        ZEROS,
        None,
        "learning_rate=-1: must be finite and above 0",
    ),
    "labels that are missing": (
        {"method": "centerloss"},
        ZEROS,
        np.where(np.arange(len(ZEROS)) < 3, np.nan, np.arange(len(ZEROS)) % 2),
        "y has no label for 3 of",
    ),
    "another hyper-parameter": ({"hparams": {"speed": 1}}, ZEROS, None, "the method takes"),
}


@pytest.mark.parametrize(("options", "rows", "y", "told"), WRONG.values(), ids=WRONG)
def test_images_and_labels_that_do_not_fit_are_refused(options, rows, y, told):
    with pytest.raises(ValueError, match=told):
        ImageOutlierDetector(**{"pixel_max": 16, **options}).fit(rows, y)


def test_floats_up_to_1_are_refused_in_scoring_and_black_is_not():
    """A detector of 0 … 255 that is given 0 … 1 would see grey levels 0 and 1."""
    made = ImageOutlierDetector("gmm", model_options={"cell_px": 4}).fit(np.rint(ZEROS * 15.9))
    with pytest.raises(ValueError, match="give pixel_max=1"):
        made.score_samples(ZEROS / 16)
    assert made.score_samples(np.zeros((2, 64))).shape == (2,)
    assert made.score_samples(np.eye(64)[:2]).shape == (2,)  # whole levels, if dark


def test_a_score_that_is_no_number_does_not_decide_the_threshold():
    """A share of the rows is flagged, those among them: with a NaN for a threshold all would be."""
    made = OutlierDetector("mahalanobis", contamination=0.1).fit(X[:100])
    scores = np.linspace(0, 1, 100)
    scores[7] = np.nan
    made.score_samples = lambda rows: scores
    made._decide(made.detector_, X[:100])
    assert (made.predict(X[:100]) == ANOMALOUS).sum() == 10
    assert made.predict(X[:100])[7] == ANOMALOUS


# How it is there


@pytest.mark.slow
def test_adjax_does_not_need_it():
    """`import adjax` and even all of its names know nothing of scikit-learn; this module does."""
    code = "import sys, adjax; adjax.detector_from; adjax.export; print('sklearn' in sys.modules)"
    code += "; import adjax.sklearn; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_the_example_runs():
    result = doctest.testmod(adjax.sklearn)
    assert result.attempted > 3
    assert result.failed == 0


@pytest.mark.slow
def test_rows_further_out_are_further_away():
    rows = np.random.default_rng(0).normal(size=(200, 3))
    assert (OutlierDetector("knn").fit(rows).predict(10 * rows) == -1).mean() > 0.9
    directed = OutlierDetector("knn", options={"normalise": True}).fit(rows)
    np.testing.assert_allclose(directed.score_samples(10 * rows), directed.score_samples(rows), atol=1e-5)


def test_more_components_than_different_rows_are_refused():
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for given, components, why in [
        (rows, 21, "21 components take at least as many different images, and there are 20"),
        (np.repeat(rows[:4], 5, 0), 5, "5 components take at least as many different images, and there are 4"),
    ]:
        with pytest.raises(ValueError, match=why):
            adjax.detector_from(None, {}, "gmm", given, scorer_options={"components": components})
    with pytest.raises(ValueError, match="there are 20, 19 in each fit of 20 folds"):
        OutlierDetector("gmm", options={"components": 20}).fit(rows)
