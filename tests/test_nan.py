"""A NaN among many images is never lost: XLA's reductions on CPU lose those of arrays of 4,096 numbers or more."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tiers import daily

from adjax import _numerics, scorers, thresholds

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
