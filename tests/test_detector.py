"""The detector: one pytree that scores, in whatever way it is called, and decides as the paper does."""

import dataclasses
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import adjax
from adjax import detector as detectors
from adjax import features, loop, methods, models, scorers, thresholds, train
from adjax.augment import normalise_of
from adjax.data import protocols
from adjax.detector import Detector, Spec
from adjax.spec import FunctionSpec

STEPS = 300


class Digits(NamedTuple):
    """Digits without the zeros, which are the strangers; a network trained on most, and one not at all."""

    task: protocols.OODPair
    rows: np.ndarray
    held_out: np.ndarray
    spec: Spec
    trained: Detector
    untrained: Detector
    outputs: dict


@pytest.fixture(scope="session")
def digits() -> Digits:
    task = protocols.task("digits", "holdout:0")
    rows, held_out = protocols.validation_split(task.train.labels, 0.2, 0)
    images, labels = task.train.images[rows], task.train.labels[rows]
    spec = Spec("centerloss", "lenet5", "mahalanobis", images.shape[1:], task.classes)
    network = models.make(spec.model, spec.image_shape, len(spec.classes))
    method = methods.make(spec.method, network, spec.image_shape, len(spec.classes), steps=STEPS)
    table = train.members(dict(method.hparams), [0], [rows], [labels])
    normalise = normalise_of(images)
    program = train.compile_program(method, task.train.images, table, normalise, batch_size=64)
    first = jax.device_get(program.init(program.table).members["params"])
    last = jax.device_get(loop.train(program, STEPS).members["params"])

    def fitted(params) -> Detector:
        params = jax.tree.map(lambda x: x[0], params)
        return detectors.fit(spec, params, normalise, images, labels, task.train.images[held_out])

    trained = fitted(last)
    outputs = detectors.extract(spec, trained.params, normalise, images)
    return Digits(task, rows, held_out, spec, trained, fitted(first), outputs)


def shorter(digits: Digits, n: int = 40) -> np.ndarray:
    """Some images of both kinds."""
    return np.concatenate([digits.task.test.images[: n // 2], digits.task.ood.images[: n - n // 2]])


# What it is for


def auroc(detector: Detector, task: protocols.OODPair) -> float:
    scores = np.concatenate([detector.score(task.test.images), detector.score(task.ood.images)])
    return roc_auc_score(np.repeat([0, 1], [len(task.test.images), len(task.ood.images)]), scores)


@pytest.mark.slow
def test_a_trained_network_finds_strangers_and_an_untrained_one_does_not(digits):
    trained, untrained = (auroc(d, digits.task) for d in (digits.trained, digits.untrained))
    assert trained > 0.85
    assert trained > untrained + 0.15  # 0.906 and 0.658 when written


def test_a_trained_network_classifies(digits):
    test = digits.task.test
    classes = digits.trained.classify(test.images)
    assert classes.dtype == np.int32
    assert np.mean(classes == test.labels) > 0.9
    assert np.mean(digits.untrained.classify(test.images) == test.labels) < 0.4


# The rule of the paper


@pytest.mark.parametrize("scorer", ["mahalanobis", pytest.param("mahalanobis_perclass", marks=pytest.mark.slow)])
def test_a_quantile_of_0975_is_the_rule_of_the_paper(digits, scorer):
    """Normal if *any* class has d_i ≤ t_i, t_i the 97.5 % quantile of d_i over class i's own training images, each left
    out of its fit.

    Counted with NumPy from the distances alone.
    """
    spec = dataclasses.replace(digits.spec, scorer=scorer)
    task, old = digits.task, digits.trained
    images, labels = task.train.images[digits.rows], task.train.labels[digits.rows]
    detector = detectors.fit(spec, old.params, old.normalise, images, labels, outputs=digits.outputs)
    detector = detector.with_quantile(0.975)
    made = detectors.resolve(spec).scorer
    distances = jax.jit(made.distances)
    stats = jax.jit(partial(scorers.gather, made, classes=9))(digits.outputs, labels)
    left_out = np.asarray(jax.jit(made.unseen)(stats, detector.scorer, digits.outputs, labels))
    own = left_out[np.arange(len(labels)), labels]
    limits = np.array([np.quantile(own[labels == k].astype(np.float64), 0.975) for k in range(9)])
    queries = np.concatenate([images, task.test.images, task.ood.images])
    outputs = detectors.extract(spec, detector.params, detector.normalise, queries)
    normal = (np.asarray(distances(detector.scorer, outputs), np.float64) <= limits).any(1)
    np.testing.assert_array_equal(detector.predict(queries), ~normal)
    assert 0.02 < (own > limits[labels]).mean() < 0.03  # 3 of 104 in a class
    assert 1 - normal[: len(images)].mean() < 0.03
    assert normal.any()
    assert not normal.all()


def test_thresholds_move_together(digits):
    images = shorter(digits, 100)
    score = digits.trained.score(images)
    flagged = [digits.trained.with_quantile(q).predict(images) for q in (0.5, 0.9, 0.975, 1.0)]
    for level, prediction in zip((0.5, 0.9, 0.975, 1.0), flagged, strict=True):
        np.testing.assert_array_equal(prediction, ~(score <= np.float32(level)))
    assert all(np.all(a >= b) for a, b in pairwise(flagged))
    assert digits.trained.threshold == np.float32(0.975)


@pytest.mark.parametrize("level", [0, -0.5, 1.01, float("nan"), 97.5])
def test_a_quantile_level_lies_between_0_and_1(digits, level):
    with pytest.raises(ValueError, match=str(level)):
        digits.trained.with_quantile(level)


def test_levels_are_the_scores_without_the_network(digits):
    images = digits.task.train.images[digits.rows]
    score = jax.jit(detectors.score_outputs)(digits.trained, digits.outputs)
    np.testing.assert_allclose(score, digits.trained.score(images), rtol=1e-4, atol=1e-5)


# Promises about normal images


def test_a_conformal_threshold_flags_no_more_held_out_images_than_promised(digits):
    normal = digits.task.train.images[digits.held_out]
    detector = digits.trained.with_false_positive_rate(0.1)
    n = len(normal)
    assert detector.predict(normal).sum() == int(0.1 * (n + 1)) - 1  # the next image may be the last one
    assert detector.threshold in digits.trained.score(normal)


def test_a_conformal_threshold_that_would_promise_too_much_is_refused(digits):
    n = len(digits.held_out)
    with pytest.raises(ValueError, match=rf"n={n} normal images can't guarantee alpha=0.0001: 9999 are needed"):
        digits.trained.with_false_positive_rate(1e-4)
    for alpha in (0, 1, -1, float("nan"), "0.1", None):
        with pytest.raises(ValueError, match="alpha"):
            digits.trained.with_false_positive_rate(alpha)
    for level in (None, ".9"):
        with pytest.raises(ValueError, match=f"level={level!r}: the quantile level must be a number"):
            digits.trained.with_quantile(level)


def test_p_values_count_held_out_images_at_least_as_anomalous(digits):
    images = shorter(digits)
    normal = np.asarray(digits.trained.calibration_scores)
    assert np.all(np.diff(normal) >= 0)
    score = digits.trained.score(images)
    expected = (1 + (normal[None] >= score[:, None]).sum(1)) / (len(normal) + 1)
    np.testing.assert_allclose(digits.trained.p_value(images), expected, rtol=1e-6)


def test_without_held_out_images_there_are_no_promises(digits):
    bare = dataclasses.replace(digits.trained, calibration_scores=jnp.zeros(0))
    with pytest.raises(ValueError, match="held-out"):
        bare.p_value(shorter(digits))
    with pytest.raises(ValueError, match="99 are needed"):
        bare.with_false_positive_rate(0.01)


# Called in any way


def test_the_score_of_an_image_is_its_own(digits, monkeypatch):
    images = shorter(digits)
    whole = digits.trained.score(images)
    assert whole.dtype == np.float32
    order = np.random.default_rng(0).permutation(len(images))
    np.testing.assert_array_equal(digits.trained.score(images[order]), whole[order])
    for i in (0, 25):
        np.testing.assert_allclose(digits.trained.score(images[i : i + 1]), whole[i : i + 1], rtol=1e-5)
    run = features.apply
    for batch_size in (3, 40):
        monkeypatch.setattr(features, "apply", lambda *args, b=batch_size: run(*args[:3], b))
        np.testing.assert_allclose(digits.trained.score(images), whole, rtol=1e-4, atol=1e-6)


def test_no_images_no_scores(digits):
    none = shorter(digits)[:0]
    assert digits.trained.score(none).shape == (0,)
    assert digits.trained.predict(none).dtype == np.bool_
    assert digits.trained.outputs(none)["features"].shape == (0, 84)


def test_outputs_can_be_asked_for_by_name(digits):
    images = shorter(digits)
    some, all_ = digits.trained.outputs(images, ["features"]), digits.trained.outputs(images)
    assert set(some) == {"features"} < set(all_)
    np.testing.assert_array_equal(some["features"], all_["features"])
    with pytest.raises(ValueError, match="no output 'patches'; the network gives"):
        digits.trained.outputs(images, ["patches"])


def test_inside_jit_as_argument_and_as_closure(digits):
    images, detector = shorter(digits), digits.trained
    plain = detector.score(images)
    np.testing.assert_allclose(jax.jit(lambda d, x: d.score(x))(detector, images), plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda x: detector.score(x))(images), plain, rtol=1e-4, atol=1e-6)
    flags, classes, p = jax.jit(lambda d: (d.predict(images), d.classify(images), d.p_value(images)))(detector)
    np.testing.assert_array_equal(flags, detector.predict(images))
    np.testing.assert_array_equal(classes, detector.classify(images))
    np.testing.assert_allclose(p, detector.p_value(images), rtol=1e-6)


def test_a_detector_is_made_of_its_leaves_alone(digits):
    """First used inside a trace, a spec leaks nothing into later calls."""
    detectors.resolve.cache_clear()
    leaves, structure = jax.tree.flatten(digits.trained)
    again = jax.jit(lambda *leaves: jax.tree.unflatten(structure, leaves).score(shorter(digits)))(*leaves)
    np.testing.assert_allclose(again, digits.trained.score(shorter(digits)), rtol=1e-4, atol=1e-6)
    assert jax.tree.unflatten(structure, leaves).spec == digits.spec


@pytest.mark.slow
def test_vmap_over_images_and_over_detectors(digits):
    images = shorter(digits)
    groups = images.reshape(4, 10, *images.shape[1:])
    plain = digits.trained.score(images)
    grouped = jax.jit(jax.vmap(digits.trained.score))(groups)
    np.testing.assert_allclose(grouped.ravel(), plain, rtol=1e-4, atol=1e-6)
    pair = jax.tree.map(lambda *x: jnp.stack(x), digits.trained, digits.untrained)
    table = jax.jit(jax.vmap(lambda d: d.score(images)))(pair)
    np.testing.assert_allclose(table[0], plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table[1], digits.untrained.score(images), rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_gradient_by_pixels(digits):
    images = shorter(digits).astype(np.float32)
    slope = jax.jit(jax.grad(lambda x: digits.trained.score(x).sum()))(images)
    assert np.isfinite(slope).all()
    assert np.all(np.abs(slope).max((1, 2, 3)) > 0)
    # along the gradient the score of each image rises, and only its own counts
    step = images + 0.5 * slope / np.abs(slope).max((1, 2, 3), keepdims=True)
    assert np.mean(digits.trained.score(np.asarray(step)) > digits.trained.score(images)) > 0.9


def test_float_and_device_images_score_alike(digits):
    images = shorter(digits)
    plain = digits.trained.score(images)
    np.testing.assert_array_equal(digits.trained.score(jnp.asarray(images)), plain)
    np.testing.assert_allclose(digits.trained.score(images.astype(np.float32)), plain, rtol=1e-5)
    np.testing.assert_allclose(digits.trained.score(images.astype(np.float64)), plain, rtol=1e-5)


def test_the_second_call_compiles_nothing(digits):
    images = shorter(digits)
    functions = [detectors._jitted(f) for f in (detectors._score, detectors._predict)]

    def use(detector):
        detector.score(images)
        detector.predict(images[:7])

    use(digits.trained)
    sizes = [f._cache_size() for f in functions]
    use(digits.trained)
    use(digits.trained.with_quantile(0.9).with_false_positive_rate(0.05))
    use(digits.untrained)
    assert [f._cache_size() for f in functions] == sizes


# What it refuses


def test_a_nan_is_never_normal(digits):
    images = shorter(digits).astype(np.float32)
    whole = digits.trained.score(images)
    images[3, 2, 2, 0], images[5, 7, 7, 0] = np.nan, np.inf
    score, flagged = digits.trained.score(images), digits.trained.with_quantile(1).predict(images)
    assert np.isnan(score[3])
    assert flagged[3]
    assert flagged[5]
    others = np.delete(np.arange(len(images)), [3, 5])
    np.testing.assert_array_equal(score[others], whole[others])
    assert digits.trained.p_value(images)[3] == digits.trained.p_value(images).min()


WRONG = {
    "one image": (np.zeros((8, 8, 1), np.uint8), r"\(8, 8, 1\).*\[N, 8, 8, 1\]"),
    "channels first": (np.zeros((2, 1, 8, 8), np.uint8), r"\(2, 1, 8, 8\).*\[N, 8, 8, 1\]"),
    "another size": (np.zeros((2, 28, 28, 1), np.uint8), r"\(2, 28, 28, 1\).*\[N, 8, 8, 1\]"),
    "int64": (np.zeros((2, 8, 8, 1), np.int64), r"int64.*uint8"),
    "bool": (np.zeros((2, 8, 8, 1), bool), r"bool.*uint8"),
    "a list": ([[[[0]] * 8] * 8], r"None.*uint8"),
}


@pytest.mark.parametrize(("images", "told"), WRONG.values(), ids=WRONG)
def test_images_of_another_shape_or_type_are_refused(digits, images, told):
    for method in ("score", "predict", "classify", "p_value", "outputs"):
        with pytest.raises(ValueError, match=told):
            getattr(digits.trained, method)(images)


def test_images_from_0_to_1_get_a_warning(digits):
    with pytest.warns(UserWarning, match=r"between 0 and 1: adjax takes pixel values 0\.\.255"):
        digits.trained.score(shorter(digits).astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (lambda y: y[1:], r"int\[\d+\], one per image"),
        (lambda y: y.astype(np.float32), "float32"),
        (lambda y: y + 1, r"1 to 9: must lie in 0\.\.8"),
        (lambda y: y - 1, r"-1 to 7: must lie in 0\.\.8"),
    ],
)
def test_labels_that_do_not_fit_are_refused(digits, labels, told):
    task, old = digits.task, digits.trained
    images, y = task.train.images[digits.rows], task.train.labels[digits.rows]
    with pytest.raises(ValueError, match=told):
        detectors.fit(digits.spec, old.params, old.normalise, images, labels(y), outputs=digits.outputs)


def test_images_that_do_not_fit_the_spec_are_refused_with_their_outputs_at_hand(digits):
    labels = digits.task.train.labels[digits.rows]
    wrong = np.zeros((len(labels), 28, 28, 1), np.uint8)
    with pytest.raises(ValueError, match=r"28, 28, 1\).*\[N, 8, 8, 1\]"):
        detectors.fit(
            digits.spec,
            digits.trained.params,
            digits.trained.normalise,
            wrong,
            labels,
            outputs=digits.outputs,
        )


def test_a_fit_to_nothing_is_refused(digits):
    none = digits.task.train.images[:0]
    with pytest.raises(ValueError, match="at least 1"):
        detectors.fit(digits.spec, digits.trained.params, digits.trained.normalise, none, np.zeros(0, np.int32))


def test_a_network_that_has_diverged_is_refused(digits):
    task = digits.task
    images, labels = task.train.images[digits.rows], task.train.labels[digits.rows]
    outputs = {k: np.full_like(v, np.nan) for k, v in digits.outputs.items()}
    with pytest.raises(ValueError, match="diverged"):
        detectors.fit(digits.spec, digits.trained.params, digits.trained.normalise, images, labels, outputs=outputs)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in ("nnguide", "vim") else pytest.mark.slow)
        for n in (*scorers.WITH_HEAD, "nnguide")
    ],
)
def test_without_a_last_layer_it_says_so(name):
    """The network is well: its logits are not linear in its features."""
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    outputs = {"features": x, "patches": np.stack([x, x], 1)[:, None], "logits": 5 * np.sin(3 * x[:, :2])}
    spec, labels = FunctionSpec(None, name, (4,), ("a", "b"), {}, "float32"), np.zeros(60, np.int32)
    if name == "nnguide":  # needs none
        assert np.isfinite(detectors.fit(spec, None, None, x, labels, outputs=outputs).calibration.knots).any()
        return
    with pytest.raises(
        ValueError, match=rf"finite {name} distance: it needs logits that are linear in the features.*knn"
    ):
        detectors.fit(spec, None, None, x, labels, outputs=outputs)
    outputs["logits"][:] = np.nan
    with pytest.raises(ValueError, match="diverged"):
        detectors.fit(spec, None, None, x, labels, outputs=outputs)


def test_a_scorer_that_calls_all_infinite_is_named():
    x, wrong = np.eye(2, dtype=np.float32), np.array([1, 0], np.int32)
    spec = FunctionSpec(None, "she", (2,), ("a", "b"), {}, "float32")  # no image was taken for what it is
    with pytest.raises(
        ValueError, match="finite she distance, though all that the network says of 2 of them is finite"
    ):
        detectors.fit(spec, None, None, x, wrong, outputs={"features": x, "logits": x})


# How it reads


def test_specs_are_canonical():
    one = Spec("centerloss", "lenet5", "mahalanobis", [8, np.int64(8), 1], ["a", "b"], {"z": 1, "a": 2})
    two = Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), ("a", "b"), (("a", 2), ("z", 1)))
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(ValueError, match="values to unpack"):
        Spec("centerloss", "lenet5", "mahalanobis", (8, 8), ("a", "b"))


def test_a_detector_tells_what_it_is(digits):
    n = len(digits.held_out)
    told = "Detector(centerloss, lenet5, mahalanobis; 8×8×1 px, 9 classes; threshold 0.975, "
    assert repr(digits.trained) == told + f"calibrated by {n} images)"
    seen = []
    jax.jit(lambda d: seen.append(repr(d)) or d.threshold)(digits.trained)
    assert "threshold ?" in seen[0]


def test_the_top_level_names(digits):
    assert adjax.Detector is Detector
    assert adjax.fit is detectors.fit
    assert adjax.thresholds is thresholds


def test_only_scores_near_the_threshold_are_uncertain(digits):
    detector, task = digits.trained, digits.task
    scores = np.asarray(detector.score(task.test.images))
    low, high = thresholds.threshold_interval(detector.calibration_scores, 0.05, 0.8)
    uncertain = detector.uncertain(task.test.images, 0.05, 0.8)
    np.testing.assert_array_equal(uncertain, (scores > low) & (scores <= high))
    assert 0 < uncertain.mean() < 0.5
    none = dataclasses.replace(detector, calibration_scores=jnp.zeros(0))
    with pytest.raises(ValueError, match="without held-out normal images"):
        none.uncertain(task.test.images, 0.05)
