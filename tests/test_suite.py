"""Which scorers a network can feed, and that each does work on what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax import scorers
from adjax.scorers import SCORERS, suite

ROWS, CLASSES = 60, 3


def said(seed=0):
    rng = np.random.default_rng(seed)
    features = jnp.asarray(rng.random((ROWS, 6)), jnp.float32)
    return {
        "pool1": jnp.asarray(rng.random((ROWS, 4, 3, 2)), jnp.float32),
        "pool2": jnp.asarray(rng.random((ROWS, 2, 3, 5)), jnp.float32),
        "pooled": jnp.asarray(rng.random((ROWS, 1, 1, 9)), jnp.float32),
        "features": features,
        "logits": features @ jnp.asarray(rng.normal(size=(6, CLASSES)), jnp.float32),
    }


def test_a_classifier_feeds_all_but_the_score():
    found = suite(SCORERS, said(), CLASSES)
    assert list(found) == [name for name in SCORERS if name != "score"]
    assert found["padim"] == {"feature": "pool2", "dim": 5, "grid": (2, 3)}
    assert found["patchcore"] == {"feature": "pool2", "dim": 5}
    assert found["layers"] == {"names": ("features", "pool1", "pool2", "pooled"), "dims": (6, 2, 5, 9)}
    assert found["knn"] == {}


def test_patches_are_for_maps_and_not_one_more_layer():
    """Their mean is `features`, which counts already."""
    outputs = said() | {"patches": jnp.zeros((ROWS, 3, 4, 6))}
    found = suite(SCORERS, outputs, CLASSES)
    assert found["padim"] == {"feature": "patches", "dim": 6, "grid": (3, 4)}
    assert found["patchcore"] == {"feature": "patches", "dim": 6}
    assert found["layers"] == suite(SCORERS, said(), CLASSES)["layers"]
    one_place = {"features": said()["features"], "patches": jnp.zeros((ROWS, 1, 1, 6))}
    assert not {"padim", "patchcore"} & set(suite(SCORERS, one_place, 1))
    alone = suite(SCORERS, {"patches": outputs["patches"]}, 1)
    assert alone["layers"] == {"names": ("patches",), "dims": (6,)}


@pytest.mark.parametrize("name", ["layers", "padim", "patchcore", "she"])
def test_what_it_finds_fits_and_scores(name):
    """Those whose options come from shapes, and one of those that have none: the contract suite has them all."""
    outputs, labels = said(), jnp.arange(ROWS) % CLASSES
    scorer = scorers.make(name, **suite(SCORERS, outputs, CLASSES)[name])
    state = jax.jit(lambda o, y: scorers.fit(scorer, o, y, CLASSES))(outputs, labels)
    scores = scorer.score(state, said(1))
    assert scores.shape == (ROWS,)
    assert not np.isnan(np.asarray(scores)).any()
    assert np.isfinite(np.asarray(scores)).sum() > ROWS / 2  # she: +inf for a class that no image was rightly taken for


def test_shapes_alone_will_do():
    shapes = jax.eval_shape(said)
    assert suite(SCORERS, shapes, CLASSES) == suite(SCORERS, said(), CLASSES)


def test_without_logits_or_classes_or_places():
    features = {"features": said()["features"]}
    found = suite(SCORERS, features, 1)
    assert {"mahalanobis", "knn", "pca", "gmm", "layers"} <= set(found)
    assert not {"energy", "vim", "react", "padim", "score"} & set(found)
    own = {"score": jnp.zeros(ROWS), "reconstruction": jnp.zeros((ROWS, 8, 8, 1))}
    assert list(suite(SCORERS, own, 1)) == ["score"]
