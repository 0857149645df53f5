"""A NaN among many images is never lost: XLA's reductions on CPU lose those of arrays of 4,096 numbers or more."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scorer_cases import CASES, K, images, outputs
from tiers import daily

from adjax import _numerics, data, detector_from, scorers, thresholds, train_detector

N, BAD = 2100, 3
SHAPES = {"patches": (4, 4, 6), "features": (12,)}
READS = {
    "center": "features",
    "cosine": "features",
    "fused": "features",
    "knn": "features",
    "mahalanobis": "features",
    "padim": "patches",
    "patchcore": "patches",
    "patchwise": "patches",
    "pca": "features",
    "relative_mahalanobis": "features",
    "subspace": "patches",
}
OPTIONS = {
    "fused": {"names": ("center", "cosine"), "offsets": (0.0, 0.0), "scales": (1.0, 1.0)},
    "knn": {"capacity": 100},
    "patchcore": {"coreset": 20, "capacity": 100},
}


@pytest.mark.parametrize("shape", [(N, 9), (N, 3, 4)])
def test_extremes_keep_a_nan(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    axis = tuple(range(1, len(shape)))
    x[BAD, -1] = np.nan
    for ours, plain in (_numerics.highest, x.max(axis)), (_numerics.lowest, x.min(axis)):
        np.testing.assert_array_equal(jax.jit(lambda x, ours=ours: ours(x, axis))(x), plain)


@pytest.mark.parametrize("name", [*daily(list(READS), "mahalanobis", "padim", "patchcore")])
def test_an_image_with_a_nan_scores_nan_among_many(name):
    feature, classes = READS[name], 3
    x = np.random.default_rng(0).normal(size=(N, *SHAPES[feature])).astype(np.float32)
    labels = np.arange(60) % classes
    scorer = scorers.make(name, **OPTIONS.get(name, {}))
    state = jax.jit(lambda x, y: scorers.fit(scorer, {feature: x}, y, classes))(x[:60], labels)
    broken = x.copy()  # the fit may still be reading x
    broken.reshape(N, -1)[BAD, -1] = np.nan
    outputs = {feature: broken}
    found = np.asarray(jax.jit(scorer.score)(state, outputs))
    assert np.flatnonzero(np.isnan(found)).tolist() == [BAD]
    far = jax.jit(scorer.distances)(state, outputs)
    calibration = thresholds.calibrate(far, np.arange(N) % classes)
    level = np.asarray(thresholds.classwise_quantile(calibration, far))
    assert np.flatnonzero(np.isnan(level)).tolist() == [BAD]


def test_bounds_keep_a_nan():
    x = np.array([-3, np.nan, 3], np.float32)
    bounds = (_numerics.at_least, -1), (_numerics.at_most, 1), (_numerics.clipped, 2)
    for (bound, limit), wanted in zip(bounds, ([-1, np.nan, 3], [-3, np.nan, 1], [-2, np.nan, 2]), strict=True):
        np.testing.assert_array_equal(jax.jit(bound, static_argnums=1)(x, limit), wanted)


@pytest.mark.rounding
@pytest.mark.parametrize("name", [*daily(list(CASES), "ocsvm", "max_logit", "gmm")])
def test_no_scorer_loses_a_nan_compiled_as_users_do(name):
    """A one-class SVM had lost it in 1,000 rows and not in 100, a mixture in 20,000, the largest of logits in 2,000."""
    x, y = images()
    scorer = scorers.make(CASES[name][0], **CASES[name][1])
    state = scorers.fit(scorer, dict(outputs(x)), y, K)
    for n in (100, 2000, 20_000):
        broken = {key: np.array(value) for key, value in outputs(np.resize(x, (n, x.shape[1]))).items()}
        for value in broken.values():
            value.reshape(n, -1)[BAD, -1] = np.nan
        assert np.flatnonzero(np.isnan(jax.jit(scorer.score)(state, broken))).tolist() == [BAD], n


@pytest.mark.parametrize("method", [*daily(["hog_ocsvm", "deep_svdd", "autoencoder"], "deep_svdd")])
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_an_image_with_a_broken_pixel_never_passes(method, odd):
    """Whatever the network makes of it: a root of a pixel ≤ 0 is 0, and a NaN is not above it."""
    digits = data.load("digits", "train")
    zeros = digits.images[digits.labels == 0]
    steps = {} if method == "hog_ocsvm" else {"steps": 2}
    detector = train_detector(zeros, method=method, **steps)
    some = np.repeat(zeros[:2], [1, 599], 0).astype(np.float32)
    some[0, 4, 4, 0] = odd
    assert np.flatnonzero(np.isnan(detector.score(some))).tolist() == [0]
    assert np.asarray(detector.predict(some))[0]
    assert detector.p_value(some)[0] == detector.p_value(some).min() < 0.05
    assert detector.score(zeros[:2]).tolist() == pytest.approx(detector.score(zeros[:2].astype(np.float32)).tolist())


def test_a_network_that_loses_a_nan_does_not_let_it_pass():
    rng = np.random.default_rng(0)
    normal = rng.uniform(0, 255, (60, 4, 4, 1)).astype(np.float32)

    def apply(params, x):
        return {"features": jnp.nan_to_num(x.reshape(len(x), -1))}

    detector = detector_from(apply, {}, "mahalanobis", normal[:40], held_out=normal[40:])
    broken = normal[:4].copy()
    broken[2, 1, 1, 0] = np.nan
    assert np.flatnonzero(np.isnan(detector.score(broken))).tolist() == [2]
    assert np.asarray(detector.predict(broken))[2]
