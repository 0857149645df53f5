"""Detectors of methods that score by themselves, and of scorers with one distance an image."""

import functools
from functools import partial

import jax
import numpy as np
import pytest

from adjax import data, scorers, serialization
from adjax import detector as detectors
from adjax.augment import normalise_for
from adjax.detector import Detector, Spec

IMAGES = data.load("digits", "train").images
RANDOM = Spec("random", "lenet5", "score", (8, 8, 1), ("normal",))


@functools.cache
def fitted(spec=RANDOM, **options) -> Detector:
    method = detectors.resolve(spec).method
    params = method.init(jax.random.key(0), dict(method.hparams))["params"]
    images = IMAGES[300:]
    labels = np.zeros(len(images), np.int32)
    normalise = normalise_for(method.input_range, images)
    return detectors.fit(spec, params, normalise, images, labels, IMAGES[:300], **options)


def test_a_score_alone_makes_a_detector(tmp_path):
    detector = fitted()
    outputs = detectors.extract(RANDOM, detector.params, detector.normalise, IMAGES)
    assert set(outputs) == {"score"}
    order = np.argsort(outputs["score"])
    assert np.all(np.diff(detector.score(IMAGES)[order]) >= 0)
    assert detector.predict(IMAGES[300:]).mean() == pytest.approx(0.025, abs=2e-3)
    assert detector.with_false_positive_rate(0.1).predict(IMAGES[:300]).mean() <= 0.1
    detector.save(tmp_path / "d")
    np.testing.assert_array_equal(serialization.load(tmp_path / "d").score(IMAGES), detector.score(IMAGES))


def test_what_knows_no_classes_tells_none_apart():
    with pytest.raises(ValueError, match="'random' gives no logits"):
        fitted().classify(IMAGES[:2])


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.8])
def test_a_threshold_in_standard_deviations_above_the_mean(sigma):
    """1.8 is beyond all scores, which are uniform and end 1.73 deviations above their mean."""
    detector = fitted(sigma=sigma)
    own = detectors.extract(RANDOM, detector.params, detector.normalise, IMAGES)["score"].astype(np.float64)
    limit = own[300:].mean() + sigma * own[300:].std()
    np.testing.assert_array_equal(detector.predict(IMAGES), own > limit)
    assert detector.predict(IMAGES).any() == (sigma < 1.7)
    assert (detector.threshold > 1) == (sigma > 1.7)


@pytest.mark.slow
def test_log_likelihoods_below_mean_less_three_sigma_are_anomalous():
    """The rule of the published mixture, said in NumPy."""
    spec = Spec("gmm", "hog", "gmm", (8, 8, 1), ("normal",), {"shrinkage": 0.1})
    detector = fitted(spec, sigma=3.0)
    outputs = detectors.extract(spec, detector.params, detector.normalise, IMAGES)
    likelihood = -np.asarray(detectors.resolve(spec).scorer.score(detector.scorer, outputs), np.float64)
    made, rows = detectors.resolve(spec).scorer, {name: x[300:] for name, x in outputs.items()}
    stats = jax.jit(partial(scorers.gather, made, classes=1))(rows, np.zeros(len(IMAGES) - 300, np.int32))
    left_out = jax.jit(made.unseen)(stats, detector.scorer, rows, np.zeros(len(IMAGES) - 300, np.int32))
    trained = -np.asarray(left_out, np.float64)[:, 0]  # each by the fit without it
    flagged = likelihood < trained.mean() - 3 * trained.std()
    np.testing.assert_array_equal(detector.predict(IMAGES), flagged)
    assert 0 < flagged.mean() < 0.05


def test_several_distances_an_image_have_no_common_sigma():
    spec = Spec("gmm", "hog", "mahalanobis", (8, 8, 1), ("a", "b"))
    with pytest.raises(ValueError, match="sigma=3 needs one distance per image, and 'mahalanobis' gives 2"):
        fitted(spec, sigma=3.0)
    with pytest.raises(ValueError, match="sigma nan"):
        fitted(sigma=float("nan"))
