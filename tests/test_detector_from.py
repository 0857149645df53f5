"""Other people's networks: whatever function it is, its detector does what a detector of adjax does."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from sklearn.covariance import EmpiricalCovariance
from tiers import daily

import adjax
from adjax import data, export, scorers, serialization
from adjax import detector as detectors
from adjax.augment import Normalise, normalise_of
from adjax.data.split import DataError
from adjax.manifest import ArtefactError
from adjax.models import _patches
from adjax.predict import loading
from adjax.scorers._logits import unfitted

IMAGES, LABELS = data.load("digits", "train")[:2]
TRAIN, HELD_OUT, NEW = IMAGES[:300], IMAGES[300:400], IMAGES[400:440]
MATRIX = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)


def projected(params, images):
    return images.reshape(len(images), -1) / 255 @ params["matrix"]


@pytest.fixture(scope="module")
def detector():
    return adjax.detector_from(
        projected, {"matrix": MATRIX}, "mahalanobis", TRAIN, held_out=HELD_OUT, scorer_options={"shrinkage": 0}
    )


# It is what one would have computed by hand


def features_of(images):
    return images.reshape(len(images), -1) / 255 @ MATRIX


def test_the_score_is_that_of_the_features(detector):
    fitted = EmpiricalCovariance().fit(features_of(TRAIN))
    distance = np.sqrt(fitted.mahalanobis(features_of(TRAIN)))
    new = np.sqrt(fitted.mahalanobis(features_of(NEW)))
    flagged = new > np.quantile(distance, 0.9)
    np.testing.assert_array_equal(detector.with_quantile(0.9).predict(NEW), flagged)
    assert 0 < flagged.sum() < len(flagged)
    np.testing.assert_allclose(detector.outputs(NEW)["features"], features_of(NEW), rtol=1e-4, atol=1e-5)


def test_it_has_the_methods_of_a_detector(detector, tmp_path):
    assert isinstance(detector, adjax.Detector)
    assert (
        repr(detector)
        == "Detector(projected, mahalanobis; 8×8×1 px, 1 classes; threshold 0.975, calibrated by 100 images)"
    )
    assert np.sum(detector.with_false_positive_rate(0.05).predict(HELD_OUT)) <= 5
    score, p = np.asarray(detector.score(NEW)), np.asarray(detector.p_value(NEW))
    assert np.all(np.diff(p[np.argsort(score)]) <= 0)
    np.testing.assert_allclose(jax.jit(lambda d, x: d.score(x))(detector, NEW), score, rtol=1e-4, atol=1e-6)
    slope = jax.grad(lambda x: detector.score(x).sum())(NEW.astype(np.float32))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0
    detector.export(tmp_path / "d")
    np.testing.assert_allclose(export.load(tmp_path / "d").score(NEW), score, rtol=1e-5, atol=1e-5)


def test_the_same_function_compiles_once(detector):
    jitted = detectors._jitted(detectors._score)
    detector.score(NEW)
    before = jitted._cache_size()
    options = {"scorer_options": {"shrinkage": 0}, "held_out": HELD_OUT}
    adjax.detector_from(projected, {"matrix": 2 * MATRIX}, "mahalanobis", TRAIN, **options).score(NEW)
    assert jitted._cache_size() == before


def test_it_can_not_be_saved_but_exported(detector, tmp_path):
    with pytest.raises(ArtefactError, match=r"your own functions.*detector\.export\(directory\)"):
        detector.save(tmp_path / "d")
    given = dataclasses.replace(detector, normalise=Normalise(np.zeros(1), np.ones(1)))
    with pytest.raises(ArtefactError, match="your own functions"):  # pixels may be brought to a range all the same
        given.save(tmp_path / "d")
    assert not (tmp_path / "d").exists()


# What files can name can be saved


def network(name, **options):
    """Of the registry, with weights that nobody has but the user."""
    made = adjax.models.make(name, (8, 8, 1), 10, **options)
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(made.init, jax.random.key(0))
    return made, jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), shapes)


@pytest.mark.parametrize("scorer", [*daily(["mahalanobis", "patchwise"], "mahalanobis")])
def test_a_registered_network_is_saved_with_the_users_weights(scorer, tmp_path):
    made, params = network("lenet5", patch_layers=["pool1"])
    chosen = Normalise(np.full(1, 0.3, np.float32), np.full(1, 0.4, np.float32))
    known = adjax.detector_from(made.apply, params, scorer, TRAIN, held_out=HELD_OUT, normalise=chosen)
    assert known.spec.names == ("lenet5", scorer)
    known.save(tmp_path / "d")
    again = adjax.load(tmp_path / "d")
    assert repr(again) == repr(known)
    np.testing.assert_array_equal(again.score(NEW), known.score(NEW))
    np.testing.assert_array_equal(again.p_value(NEW), known.p_value(NEW))
    again.save(tmp_path / "e")
    assert {f.name for f in (tmp_path / "d").iterdir()} == {f.name for f in (tmp_path / "e").iterdir()}
    again.export(tmp_path / "x")
    np.testing.assert_allclose(export.load(tmp_path / "x").score(NEW), known.score(NEW), rtol=1e-4, atol=1e-5)


def test_patches_made_by_other_rules_are_refused(tmp_path, monkeypatch):
    """The same network would say other numbers, and the detector flag almost everything."""
    made, params = network("lenet5", patch_layers=["pool1"])
    adjax.detector_from(made.apply, params, "mahalanobis", TRAIN, normalise=True).save(tmp_path / "d")
    adjax.load(tmp_path / "d")
    monkeypatch.setattr(_patches, "VERSION", _patches.VERSION + 1)
    with pytest.raises(ArtefactError, match="averaged by rules 2, and this adjax has rules 3"):
        adjax.load(tmp_path / "d")
    monkeypatch.undo()
    monkeypatch.setattr(serialization, "_has_patches", lambda facts: False)  # as was written before there were rules
    adjax.detector_from(made.apply, params, "mahalanobis", TRAIN, normalise=True).save(tmp_path / "old")
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="averaged by rules 1, and this adjax has rules 2"):
        adjax.load(tmp_path / "old")


def test_features_and_float_images_are_saved_as_they_came(tmp_path):
    rows = features_of(TRAIN)
    adjax.detector_from(None, {}, "knn", rows, scorer_options={"k": 3}).save(tmp_path / "rows")
    again = adjax.load(tmp_path / "rows")
    assert (again.spec.dtype, again.spec.image_shape, again.normalise) == ("float32", (6,), None)
    assert again.predict(rows[:1] + 1000).all()
    made, params = network("lenet5")
    known = adjax.detector_from(made.apply, params, "mahalanobis", TRAIN / np.float32(255))
    known.save(tmp_path / "floats")
    floats = NEW / np.float32(255)
    np.testing.assert_array_equal(adjax.load(tmp_path / "floats").score(floats), known.score(floats))
    with pytest.raises(ValueError, match="must be float"):
        adjax.load(tmp_path / "floats").score(NEW)
    for folder, told in ("rows", r"float32\[N, 6\]"), ("floats", r"float32\[N, 8, 8, 1\]"):
        with pytest.raises(DataError, match=f"{told}, and picture files are uint8.*in Python"):
            loading.load(tmp_path / folder)


def test_what_files_can_not_name_is_not_saved(tmp_path):
    made, params = network("lenet5")
    own = scorers.make("mahalanobis")
    detector = adjax.detector_from(made.apply, params, own, TRAIN, normalise=True)
    with pytest.raises(ArtefactError, match=r"your own functions.* a scorer by name"):
        detector.save(tmp_path / "d")
    with pytest.warns(UserWarning, match=r"0\.\.255 go to lenet5 as they are.* normalise=True"):
        adjax.detector_from(made.apply, params, "mahalanobis", TRAIN)


# Whatever function it is


class Linen(linen.Module):
    @linen.compact
    def __call__(self, images):
        return linen.Dense(5)(images.reshape(len(images), -1).astype(jnp.float32) / 255)


class Module(nnx.Module):
    def __init__(self, rngs):
        self.dense = nnx.Linear(64, 5, rngs=rngs)

    def __call__(self, images):
        return self.dense(images.reshape(len(images), -1).astype(jnp.float32) / 255)


@jax.tree_util.register_pytree_node_class
class OneImage:
    """A pytree that takes one image, as Equinox has them."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, image):
        return image.ravel() / 255 @ self.weights

    def tree_flatten(self):
        return (self.weights,), None

    @classmethod
    def tree_unflatten(cls, _, leaves):
        return cls(*leaves)


def kinds():
    flax, rng = Linen(), np.random.default_rng(0)
    graph, state = nnx.split(nnx.eval_shape(lambda: Module(nnx.Rngs(0))))
    drawn = lambda shapes: jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), shapes)  # noqa: E731
    return {
        "linen": (flax.apply, drawn(jax.eval_shape(flax.init, jax.random.key(0), TRAIN[:1]))),
        "nnx": (lambda state, x: nnx.merge(graph, state)(x), drawn(state)),
        "equinox-like": (lambda model, x: jax.vmap(model)(x), OneImage(MATRIX)),
        "a lambda": (lambda _, x: x.mean((2, 3)), ()),
    }


@pytest.mark.parametrize("kind", [*daily(["linen", "nnx", "equinox-like", "a lambda"], "equinox-like")])
def test_any_function_will_do(kind):
    function, params = kinds()[kind]
    made = adjax.detector_from(function, params, "mahalanobis", TRAIN)
    expected = np.asarray(function(params, jnp.asarray(NEW)), np.float64)
    np.testing.assert_allclose(made.outputs(NEW)["features"], expected, rtol=1e-4, atol=1e-4)
    score = np.asarray(made.score(NEW))
    assert np.isfinite(score).all()
    assert np.median(made.score(255 - NEW)) > np.median(score)


@pytest.mark.slow
def test_features_alone():
    rows = features_of(IMAGES)
    made = adjax.detector_from(None, {}, "knn", rows[:300], scorer_options={"k": 3, "capacity": 300})
    scorer, labels = scorers.make("knn", k=3, capacity=300), np.zeros(300, np.int32)
    state = jax.jit(lambda x: scorers.fit(scorer, {"features": x}, labels, 1))(rows[:300])
    distance = jax.jit(scorer.score)(state, {"features": rows[300:]})
    ranks = np.argsort(np.argsort(distance))
    np.testing.assert_array_equal(np.argsort(np.argsort(made.score(rows[300:]))), ranks)
    assert repr(made).startswith("Detector(features, knn; 6 px")
    np.testing.assert_array_equal(made.score(rows[300:].astype(np.float64)), made.score(rows[300:]))


def test_a_function_of_rows_is_asked_for_their_features():
    rows, matrix = features_of(IMAGES[:100]), MATRIX[:6, :3]
    made = adjax.detector_from(lambda matrix, x: x @ matrix, matrix, "center", rows)
    by_hand = adjax.detector_from(None, {}, "center", rows @ matrix)
    np.testing.assert_allclose(made.score(rows), by_hand.score(rows @ matrix), rtol=1e-4, atol=1e-4)


def test_classes_outputs_and_logits():
    def network(params, images):
        x = images.reshape(len(images), -1) / 255
        return {"features": x @ MATRIX, "logits": x[:, :10], "places": images / 255}

    made = adjax.detector_from(network, {}, "mahalanobis", TRAIN, LABELS[:300])
    assert made.spec.classes == tuple("0123456789")
    np.testing.assert_array_equal(made.classify(NEW), NEW.reshape(40, -1)[:, :10].argmax(1))
    options = {"feature": "places", "dim": 1, "coreset": 9, "capacity": 90}
    places = adjax.detector_from(network, {}, "patchcore", TRAIN, scorer_options=options)
    assert np.isfinite(places.score(NEW)).all()
    kept = detectors.extract(places.spec, {}, None, NEW)
    assert set(kept) == {"features", "logits", "places"}
    assert set(detectors.extract(made.spec, {}, None, NEW)) == {"features", "logits"}


def test_a_scorer_of_ones_own_and_a_function_that_scores():
    brightest = unfitted(lambda outputs: outputs["features"].max(-1))
    made = adjax.detector_from(projected, {"matrix": MATRIX}, brightest, TRAIN)
    order = np.argsort(features_of(NEW).max(1))
    assert np.all(np.diff(np.asarray(made.score(NEW))[order]) >= 0)
    alone = adjax.detector_from(lambda _, x: x.mean((1, 2, 3)), (), "score", TRAIN)
    order = np.argsort(NEW.mean((1, 2, 3)), kind="stable")
    assert np.all(np.diff(np.asarray(alone.score(NEW))[order]) >= -1e-6)


def test_normalising():
    def flat(_, images):
        return images.reshape(len(images), -1)

    for choice, expected in ((True, normalise_of(TRAIN)), (Normalise(np.zeros(1), np.full(1, 0.5)),) * 2):
        made = adjax.detector_from(flat, {}, "center", TRAIN, normalise=choice)
        wanted = np.asarray(expected(NEW)).reshape(len(NEW), -1)
        np.testing.assert_allclose(made.outputs(NEW)["features"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_floats_stay_in_their_range(tmp_path):
    scaled = (IMAGES / 255 - 0.5).astype(np.float32)
    made = adjax.detector_from(lambda _, x: x.mean((1, 3)), {}, "mahalanobis", scaled[:300])
    with pytest.raises(ValueError, match="dtype uint8: must be float, in the range of those that it was fitted to"):
        made.score(NEW)
    made.export(tmp_path)
    loaded = export.load(tmp_path)
    assert loaded.dtype == "float32"
    np.testing.assert_allclose(loaded.score(scaled[400:]), made.score(scaled[400:]), rtol=1e-5, atol=1e-5)


# What it refuses

WRONG = {
    "no function": ({"apply_fn": 3}, "apply_fn is int: must be a function"),
    "what can't be hashed": ({"apply_fn": type("F", (), {"__call__": id, "__hash__": None})()}, "wrap it, lambda"),
    "maps": ({"apply_fn": lambda p, x: x / 255}, r"shape \(\d+, 8, 8, 1\): must be features \[N, D\]"),
    "one number": ({"apply_fn": lambda p, x: x.mean()}, r"must be features \[N, D\]"),
    "another number of rows": ({"apply_fn": lambda p, x: x[1:, :, 0, 0]}, r"'features' of \d+ images has shape"),
    "a loss among the outputs": ({"apply_fn": lambda p, x: {"loss": x.mean()}}, r"'loss' of .* must be \[N, ...\]"),
    "no logits": ({"scorer": "energy"}, "the scorer reads 'logits', and the network gives features: choose another"),
    "no such scorer": ({"scorer": "euclid"}, "no scorer 'euclid'; there are"),
    "a scorer that is none": ({"scorer": scorers.make}, "must be a name or an adjax.types.Scorer"),
    "an option out of range": ({"scorer_options": {"shrinkage": 2}}, r"shrinkage 2 must lie in \[0, 1\]"),
    "options of a made scorer": (
        {"scorer": scorers.make("mahalanobis"), "scorer_options": {"shrinkage": 0}},
        "made already takes none",
    ),
    "code among the params": ({"params": {"act": jax.nn.relu}}, r"params\['act'\] is .*: must be an array"),
    "no images": ({"train_images": TRAIN[:0]}, "at least 1"),
    "integers": ({"train_images": TRAIN.astype(int)}, "dtype int64: must be uint8 or float"),
    "a vector": ({"train_images": np.zeros(9)}, r"shape \(9,\): must be \[N, ...\]"),
    "labels too few": ({"labels": LABELS[:7]}, r"must be int\[300\]"),
    "labels beyond the classes": ({"labels": LABELS[:300], "classes": "ab"}, r"must lie in 0\.\.1"),
    "held-out images of another size": ({"held_out": np.zeros((5, 9, 9, 1), np.uint8)}, r"takes \[N, 8, 8, 1\]"),
    "NaN": ({"params": {"matrix": MATRIX * np.nan}}, "no training image has a finite mahalanobis distance"),
}


@pytest.mark.parametrize(("changed", "told"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused(changed, told):
    given = {"apply_fn": projected, "params": {"matrix": MATRIX}, "scorer": "mahalanobis", "train_images": TRAIN}
    with pytest.raises(ValueError, match=told):
        adjax.detector_from(**{**given, **changed})
