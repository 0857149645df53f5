"""A trained member judged by many scorers: those that nobody asked for by name are passed over if they don't fit."""

import jax
import numpy as np
import pytest

from adjax import augment, data
from adjax.data.protocols import Benchmark, Trial
from adjax.detector import NoDistance
from adjax.scorers import _head
from adjax.spec import Spec, resolve
from experiments import config, evaluate, judging

ROWS = np.arange(300, dtype=np.int32)
PADIM = (("dim", 6), ("feature", "pool1"), ("grid", (4, 4)))
OTHERS = {"max_logit": ("max_logit", ()), "padim": ("padim", PADIM)}
QUANTILE = evaluate.Rule("quantile", 0.975)
CROOKED = {**OTHERS, "vim": ("vim", (("capacity", 300),))}


@pytest.fixture(scope="module")
def judge():
    digits = data.load("digits", "train")
    spec = Spec("centerloss", "lenet5", "max_softmax", (8, 8, 1), "0123456789")
    params = jax.jit(resolve(spec).method.init)(jax.random.key(0), dict(resolve(spec).method.hparams))["params"]
    few, truth = np.arange(300, 400, dtype=np.int32), np.arange(100) % 2
    trial = Trial({"seed": 0}, 0, ROWS, digits.labels[:300], few[:80], few, truth, few, truth)
    benchmark = Benchmark("digits", tuple("0123456789"), digits, digits, (trial,))
    normalise = augment.normalise_of(digits.images)

    def judge(others, optional, rule=QUANTILE):
        return evaluate.judge(spec, params, normalise, benchmark, trial, rule, "", others, optional)

    return judge


@pytest.mark.slow
def test_what_cannot_be_fitted_is_passed_over_with_the_reason(judge, monkeypatch):
    monkeypatch.setattr(_head, "_NONLINEAR", -1.0)  # as if these logits were not linear in the features
    judged = judge(CROOKED, CROOKED)
    assert list(judged.scorers) == ["max_logit", "padim"]
    assert list(judged.passed_over) == ["vim"]
    assert "it needs logits that are linear in the features" in judged.passed_over["vim"]
    with pytest.raises(NoDistance, match="no training image has a finite vim distance"):
        judge(CROOKED, {"padim"})


@pytest.mark.slow
def test_what_would_not_fit_into_memory_is_passed_over_unless_asked_for(judge, monkeypatch):
    """Of 500 images 4 × 4 × 6 floats are 1.8e-4 GiB, 84 less, and their mean over places is less."""
    monkeypatch.setattr(evaluate, "HELD_GIB", 1.7e-4)
    judged = judge(OTHERS, OTHERS)
    assert list(judged.scorers) == ["max_logit"]
    assert judged.passed_over == {
        "padim": "pool1 of 500 images would take 0.0 GiB, more than 0.00017: ask for it by name"
    }
    assert list(judge(OTHERS, ()).scorers) == list(OTHERS)
    pooled = {"layers": ("layers", (("names", ("pool1",)), ("dims", (6,))))}
    assert list(judge(pooled, pooled).scorers) == ["layers"]


@pytest.mark.slow
def test_the_own_scorer_is_never_passed_over(judge, monkeypatch):
    """Though it is among those that nobody asked for by name, and takes too much."""
    monkeypatch.setattr(evaluate, "HELD_GIB", 0)
    own = {"max_softmax": ("max_softmax", ())}
    judged = judge(own, own)
    assert list(judged.passed_over) == ["max_softmax"]
    assert len(judged.scores) == 100


def test_few_images_are_scored_as_they_are_and_many_by_batches(judge, monkeypatch):
    """Outputs of a few large pictures, filled up to thousands, would not fit into memory."""
    sizes, real = [], evaluate.score_outputs

    def score_outputs(detector, outputs):
        sizes.append({len(x) for x in outputs.values()})
        return real(detector, outputs)

    monkeypatch.setattr(evaluate, "score_outputs", score_outputs)
    whole = judge({}, ()).scores
    assert sizes == [{100}, {100}]
    monkeypatch.setattr(evaluate, "BATCH", 30)
    np.testing.assert_allclose(judge({}, ()).scores, whole, atol=1e-5)
    assert sizes[2:] == [{30}] * 8


def test_only_normal_images_calibrate(judge):
    """Those that were held out are the first to be validated on; anomalies may follow."""
    judged = judge({}, ())
    images = data.load("digits", "train").images[300:380]
    np.testing.assert_allclose(judged.detector.calibration_scores, np.sort(judged.detector.score(images)), atol=1e-4)


@pytest.mark.parametrize("method", ["ood_head", "centerloss"])
def test_both_methods_of_the_center_loss_paper_read_the_same_features(method):
    found = judging.others(config.of_method(method), None).scorers
    assert found[evaluate.PAPER] == ("mahalanobis_perclass", (("shrinkage", 0.0),))
    assert not judging.others(config.of_method("classifier"), None).scorers


def test_a_threshold_of_logits_is_none_of_distances(monkeypatch, judge):
    """A supervised head is asked by its logit, and each class's Mahalanobis distance by its quantile."""
    asked = []
    real = evaluate.with_threshold
    monkeypatch.setattr(evaluate, "with_threshold", lambda one, *given: asked.append(one) or real(one, *given))
    others = {evaluate.PAPER: evaluate.OF_FEATURES[evaluate.PAPER]}
    judged = judge(others, (), evaluate.Rule("half", 0.975))
    assert len(asked) == 1
    assert judged.further[evaluate.PAPER].shape == judged.scores.shape
    assert judge(others, ()).scorers == judged.scorers
    assert len(asked) == 3


@pytest.mark.slow
def test_a_regressor_is_asked_how_much_of_the_labels_it_explains():
    digits = data.load("digits", "train")
    spec = Spec("regressor", "cnn", "score", (8, 8, 1), ("0",), model_options={"width": 2})
    params = jax.jit(resolve(spec).method.init)(jax.random.key(0), dict(resolve(spec).method.hparams))["params"]
    few, truth = np.arange(300, 400, dtype=np.int32), (digits.labels[300:400] != 0).astype(np.int32)
    trial = Trial({"seed": 0}, 0, ROWS, (digits.labels[:300] != 0).astype(np.int32), few, few, truth, few, truth)
    benchmark = Benchmark("digits", ("0",), digits, digits, (trial,))
    judged = evaluate.judge(
        spec, params, augment.normalise_of(digits.images), benchmark, trial, evaluate.Rule("best_f1", 0.95)
    )
    said = np.asarray(judged.outputs["score"], np.float64)
    wanted = 1 - np.square(truth - said).sum() / np.square(truth - truth.mean()).sum()
    assert judged.metrics["r2"] == pytest.approx(wanted, rel=1e-5)


def test_logits_that_are_no_numbers_are_no_answer():
    """`argmax` would take the class whose logit is NaN, and be right by accident."""
    outputs = {"logits": np.array([[np.nan, 0], [1, 0], [0, 1], [np.nan, np.nan]], np.float32)}
    got = evaluate.classification(outputs, np.array([0, 0, 1, 0]), np.zeros(4, int), 2)
    assert got["accuracy"] == 0.5


def test_the_deviation_is_the_threshold_of_scorers_with_one_distance(monkeypatch, judge):
    """Of several distances there is none: those scorers, which are reported beside, keep the quantile."""
    sigmas, real = {}, evaluate.detectors.fit

    def fit(spec, *given, sigma, **named):
        sigmas[spec.scorer] = sigma
        return real(spec, *given, sigma=sigma, **named)

    monkeypatch.setattr(evaluate.detectors, "fit", fit)
    judge({"tied": ("mahalanobis", ()), "energy": ("energy", ())}, (), evaluate.Rule("mean_sigma", 0.975))
    assert sigmas == {"max_softmax": 3.0, "mahalanobis": None, "energy": 3.0}
