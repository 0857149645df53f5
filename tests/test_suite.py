"""Which scorers a network can feed, and that each does work on what it says."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import daily

from adjax import scorers
from adjax.scorers import SCORERS, suite

ROWS, CLASSES = 60, 3


MAPS = {name: SCORERS[name] for name in ("layers", "padim", "patchcore")}


def said(seed=0):
    rng = np.random.default_rng(seed)
    features = rng.random((ROWS, 6)).astype(np.float32)
    return {
        "pool1": rng.random((ROWS, 4, 3, 2)).astype(np.float32),
        "pool2": rng.random((ROWS, 2, 3, 5)).astype(np.float32),
        "pooled": rng.random((ROWS, 1, 1, 9)).astype(np.float32),
        "features": features,
        "logits": features @ rng.normal(size=(6, CLASSES)).astype(np.float32),
    }


@functools.cache
def of_a_classifier():
    return suite(SCORERS, said(), CLASSES)


@pytest.mark.slow
def test_a_classifier_feeds_all_but_the_score():
    found = of_a_classifier()
    assert list(found) == [name for name in SCORERS if name not in ("score", "fused", "rankfeat", "weighted_energy")]
    assert found["padim"] == {"feature": "pool2"}
    assert found["patchcore"] == {"feature": "pool2"}
    assert found["layers"] == {"names": ("features", "logits", "pool1", "pool2", "pooled"), "dims": (6, 3, 2, 5, 9)}
    assert found["knn"] == {}


@pytest.mark.slow
def test_patches_are_for_maps_and_not_one_more_layer():
    """Their mean is `features`, which counts already."""
    outputs = said() | {"patches": jnp.zeros((ROWS, 3, 4, 6))}
    found = suite(MAPS, outputs, CLASSES)
    assert found["padim"] == {"feature": "patches"}
    assert found["patchcore"] == {"feature": "patches"}
    assert found["layers"] == suite(MAPS, said(), CLASSES)["layers"]
    one_place = {"features": said()["features"], "patches": jnp.zeros((ROWS, 1, 1, 6))}
    assert not {"padim", "patchcore"} & set(suite(MAPS, one_place, 1))
    alone = suite(MAPS, {"patches": outputs["patches"]}, 1)
    assert alone["layers"] == {"names": ("patches",), "dims": (6,)}
    named = {"layer1": jnp.zeros((ROWS, 8, 8, 9)), "overall": jnp.zeros((ROWS, 15))}
    assert suite(MAPS, outputs | named, CLASSES) == found  # taken by name alone


@pytest.mark.parametrize("name", [*daily(["layers", "padim", "patchcore", "she"], "padim", "she")])
def test_what_it_finds_fits_and_scores(name):
    """Those whose options come from shapes, and one of those that have none: the contract suite has them all."""
    outputs, labels = said(), jnp.arange(ROWS) % CLASSES
    scorer = scorers.make(name, **suite({name: SCORERS[name]}, outputs, CLASSES)[name])
    state = jax.jit(lambda o, y: scorers.fit(scorer, o, y, CLASSES))(outputs, labels)
    scores = jax.jit(scorer.score)(state, said(1))
    assert scores.shape == (ROWS,)
    assert not np.isnan(np.asarray(scores)).any()
    assert np.isfinite(np.asarray(scores)).sum() > ROWS / 2  # she: +inf for a class that no image was rightly taken for


@pytest.mark.slow
def test_shapes_alone_will_do():
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, said()))
    assert suite(SCORERS, shapes, CLASSES) == of_a_classifier()


def test_without_logits_or_classes_or_places():
    features = {"features": said()["features"]}
    found = suite(SCORERS, features, 1)
    assert {"mahalanobis", "knn", "pca", "gmm", "layers"} <= set(found)
    assert not {"energy", "vim", "react", "padim", "score"} & set(found)
    own = {"score": jnp.zeros(ROWS), "reconstruction": jnp.zeros((ROWS, 8, 8, 1))}
    assert list(suite(SCORERS, own, 1)) == ["score"]
