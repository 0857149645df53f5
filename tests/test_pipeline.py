"""The one way from images to a detector: recipes, members, and `adjax.train_detector`."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from training import digits

import adjax
from adjax import extraction, methods, models, pipeline, surface
from adjax.auto import plan
from adjax.data import DataError
from adjax.extraction import check_scorer
from adjax.models import weights
from adjax.pipeline import Recipe, member

NAMES = tuple("0123456789")

SIXTY = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), np.uint8)


def zeros() -> np.ndarray:
    images, labels = digits()
    return images[labels == 0]


def test_a_recipe_is_its_entry_where_nothing_is_named():
    built = Recipe("autoencoder").build((8, 8, 1), ("normal",))
    assert built.spec.names == ("autoencoder", "conv_autoencoder", "score")
    other = Recipe("autoencoder", "deep_autoencoder", "knn", scorer_options={"k": 2}).build((8, 8, 1), ("normal",))
    assert other.spec.names == ("autoencoder", "deep_autoencoder", "knn")
    assert other.spec.scorer_options == (("k", 2),)


def test_to_read_a_word_no_network_is_built(monkeypatch):
    def built(*_, **__):
        raise AssertionError

    monkeypatch.setattr(models, "make", built)
    assert Recipe("gan").supervision((8, 8, 1)) == "anomalies"
    assert Recipe("ood_head").supervision((8, 8, 1)) == "classes and anomalies"


def test_a_plain_function_in_the_registry_is_asked(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "mine", methods.entry("deep_svdd").factory)
    assert Recipe("mine", "svdd_lenet").supervision((8, 8, 1)) == "normal"
    with pytest.raises(ValueError, match="method 'mine' has no network of its own: name one"):
        Recipe("mine").build((8, 8, 1), ("normal",))
    with pytest.raises(ValueError, match="no method 'magic'; there are"):
        Recipe("magic").build((8, 8, 1), ("normal",))


@pytest.mark.parametrize(
    ("method", "model", "why", "able"),
    [
        ("autoencoder", "lenet5", "gives features, hidden, logits, pool1, pool2 and no reconstruction", True),
        ("autoencoder", "hog", "gives features and no reconstruction", True),
        ("centerloss", "conv_autoencoder", "gives features, pool1, pool2, reconstruction and no logits", False),
        ("classifier", "hog", "gives features and no logits", False),
        ("gan", "cnn", "gives features, hidden, logits, pool1, pool2 and no reconstruction and latent", False),
        ("deep_svdd", "hog", "has no parameters to train", True),
    ],
)
def test_a_network_that_a_method_can_not_train_is_refused_with_those_that_it_can(method, model, why, able):
    with pytest.raises(ValueError, match=f"method {method!r} can't train model {model!r}, which {why}") as error:
        Recipe(method, model).build((32, 32, 1), ("a", "b"))
    named = str(error.value).rpartition("; these can be: ")[2].split(", ")
    assert methods.entry(method).model in named
    assert model not in named
    assert ("deep_autoencoder" in named) == able


@pytest.mark.parametrize("method", sorted(methods.METHODS))
def test_what_a_method_reads_is_what_its_entry_says(method):
    entry, asked = methods.entry(method), extraction._Names()
    plain = models.make(entry.model, (32, 32, 1), 2)

    def train(*given):
        said, moved = plain.train(*given)
        return extraction._Asked(said, asked), moved

    network = plain._replace(apply=lambda *given: extraction._Asked(plain.apply(*given), asked), train=train)
    made = entry(network, (32, 32, 1), 2, steps=2)

    def run(key):
        state = made.init(key, {name: jax.numpy.float32(value) for name, value in made.hparams.items()})
        batch = {"images": jax.numpy.zeros((4, 32, 32, 1)), "labels": jax.numpy.array([0, 1, 0, 1])}
        stepped = None if made.step is None else made.step(state, batch, key)
        return stepped, dict(made.outputs(state["params"], batch["images"]))

    jax.eval_shape(run, jax.random.key(0))
    assert set(entry.reads) == (asked.asked if entry.trains else set())


@pytest.mark.slow
def test_weights_bring_their_normalisation_and_options():
    found = weights.resolve("random", "efficientnet_lite0")
    found = found._replace(mean=np.float32([0.1, 0.2, 0.3]), options={"epsilon": 0.01})
    built = Recipe("gmm", "efficientnet_lite0", weights=found).build((8, 8, 3), ("normal",))
    np.testing.assert_array_equal(built.normalise(np.zeros((1, 8, 8, 3), np.uint8)).mean, found.mean)
    assert built.spec.model_options == (("epsilon", 0.01),)


def test_all_layers_are_summed_unless_some_are_named():
    def layers(**recipe):
        spec = Recipe("centerloss", **recipe).build((8, 8, 1), NAMES).spec
        return spec.scorer, dict(spec.scorer_options)

    every = {"names": ("features", "hidden", "logits", "pool1", "pool2"), "dims": (84, 120, 10, 6, 16)}
    assert layers() == ("layers_partial", every)
    assert layers(scorer_options={"shrinkage": 0.5}) == ("layers_partial", {**every, "shrinkage": 0.5})
    named = {"names": ("hidden",), "dims": (120,)}
    assert layers(scorer_options=named) == ("layers_partial", named)
    assert layers(scorer="mahalanobis") == ("mahalanobis", {})


def test_members_have_their_hyper_parameters():
    built = Recipe("centerloss").build((8, 8, 1), NAMES)
    rows = np.arange(5)
    table = built.members([rows] * 3, [rows] * 3, [7, 8, 9], {"lam": [0, 1, 2], "learning_rate": 0.5})
    assert table.hparams["lam"].tolist() == [0, 1, 2]
    assert table.hparams["learning_rate"].tolist() == [0.5] * 3
    assert set(table.hparams) == set(built.method.hparams)
    assert table.seed.tolist() == [7, 8, 9]


def test_scorers_of_a_head_that_is_drawn_and_never_trained_are_refused():
    """Scored by random weights, photographs would be normal. Weights that bring a head of these classes know them."""
    shape, fed = (8, 8, 1), []
    for scorer in ("ash", "max_softmax", "energy", "vim"):
        built = Recipe("gmm", "lenet5", scorer).build(shape, NAMES)
        with pytest.raises(ValueError, match=r"can't be fed .* a head that is drawn at random .*; these can: ") as told:
            check_scorer(built.spec, built.head_drawn)
        fed.append(str(told.value).split("these can: ")[1])
        assert not Recipe("centerloss", "lenet5", scorer).build(shape, NAMES).head_drawn  # it will be trained
    assert len(set(fed)) == 1
    others = set(fed[0].split(", "))
    assert {"knn", "layers", "mahalanobis"} <= others
    assert not others & {"ash", "dice", "energy", "max_logit", "max_softmax", "nnguide", "react", "vim"}
    built = Recipe("gmm", "lenet5", "layers").build(shape, NAMES)
    check_scorer(built.spec, built.head_drawn)
    assert "logits" not in dict(built.spec.scorer_options)["names"]
    images, labels = digits()
    with pytest.raises(ValueError, match="drawn at random"):
        pipeline.train_one(
            Recipe("gmm", "lenet5", "energy"), images, labels, NAMES, np.arange(50), np.arange(9), steps=1, batch_size=8
        )
    network = models.make("squeezenet", (32, 32, 3), 4)
    published = weights.resolve("random", "squeezenet")._replace(params=network.init(jax.random.key(0)))
    for classes, known in (("abcd", True), ("abc", False)):
        built = Recipe("gmm", "squeezenet", "energy", weights=published).build((32, 32, 3), classes)
        assert built.head_drawn is not known


@pytest.mark.slow
def test_what_trains_nothing_is_drawn_as_training_would_draw_it():
    built = Recipe("gmm", "lenet5").build((8, 8, 1), NAMES)
    rows = np.arange(4)
    table = built.members([rows] * 2, [rows] * 2, [3, 4])
    trained = pipeline.train_members(built, digits()[0], table, built.normalise(digits()[0]), 5, batch_size=2)
    assert (trained.steps, trained.program) == (0, None)
    ends = [jax.tree.leaves(member(trained.params, m)) for m in range(2)]
    assert any((a != b).any() for a, b in zip(*ends, strict=True))
    drawn = jax.jit(built.method.init)(jax.random.fold_in(jax.random.key(3), 0), {})["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), member(trained.params, 0), drawn)


def test_labelled_anomalies_are_trained_on_and_never_taken_for_normal(monkeypatch):
    images, labels = digits()
    labels = np.where(labels[:200] < 8, 0, 1)
    fitted, trained = {}, pipeline.Trained({"w": np.zeros(1)}, 0, None)
    monkeypatch.setattr(pipeline, "train_members", lambda *_, **__: trained)
    monkeypatch.setattr(pipeline.detectors, "fit", lambda *of, **options: fitted.update(of=of) or "detector")
    rows, held_out = np.arange(150), 150 + np.flatnonzero(labels[150:] == 0)
    pipeline.train_one(Recipe("regressor"), images[:200], labels, ("normal",), rows, held_out, steps=1, batch_size=16)
    _, _, _, seen, classes, aside = fitted["of"]
    np.testing.assert_array_equal(seen, images[rows[labels[rows] == 0]])
    assert not classes.any()
    np.testing.assert_array_equal(aside, images[held_out])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"scorer": "euclid"}, "no scorer 'euclid'; there are: ash"),
        ({"scorer": "mahalanobi"}, "did you mean mahalanobis"),
        ({"model": "lenet"}, "no model 'lenet'; there are: .* did you mean lenet5"),
        (
            {"scorer": "knn", "scorer_options": {"kk": 3}},
            "scorer 'knn' has no option 'kk'; it has k, .* did you mean k",
        ),
    ],
)
def test_a_recipe_of_unknown_names_is_none(names, message):
    with pytest.raises(ValueError, match=message):
        Recipe("autoencoder", **names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer_options": {"k": 3}}, "scorer 'score' has no option 'k'; it has none"),
        ({"method_options": {"warmup": 3}}, "'warmup'; it has warmup_steps, loss, .* did you mean warmup_steps"),
        ({"method_options": {"steps": 3}}, "method 'autoencoder' has no option 'steps'; it has warmup_steps"),
        ({"model_options": {"classes": 3}}, "model 'conv_autoencoder' has no option 'classes'"),
        ({"model_options": {"wdth": 3}}, "model 'conv_autoencoder' has no option 'wdth'; it has .* did you mean width"),
        ({"scorer": "knn", "scorer_options": {"k": "many"}}, "k='many': scorer 'knn' takes a number there, 10 unless"),
        ({"scorer": "layers", "scorer_options": {"shrink": 1}}, "scorer 'mahalanobis' has no option 'shrink'"),
    ],
)
def test_options_that_there_are_not_are_refused_before_any_work(options, message):
    with pytest.raises(ValueError, match=message) as refused:
        Recipe("autoencoder", **options).build((8, 8, 1), ("normal",))
    assert "--" not in str(refused.value)
    with surface.command_line(), pytest.raises(ValueError, match=r"--\w+-options"):
        Recipe("autoencoder", **options).build((8, 8, 1), ("normal",))


def test_images_and_labels_that_a_recipe_is_not_for_are_refused():
    with pytest.raises(ValueError, match=r"image_shape \(8, 8\): must be \(height px, width px, channels\)"):
        Recipe("autoencoder").build((8, 8), ("normal",))
    with pytest.raises(ValueError, match="classes are none"):
        Recipe("autoencoder").build((8, 8, 1), ())
    rows = np.arange(3)
    for method, most in (("centerloss", 1), ("ood_head", 2)):
        built = Recipe(method).build((8, 8, 1), ("a", "b"))
        built.members([rows], [np.array([0, 1, most])])
        for wrong in (np.array([0, 1, most + 1]), np.array([0, 1, -1])):
            with pytest.raises(ValueError, match=rf"labels of member 1 from .* must lie in 0\.\.{most}, for 2 classes"):
                built.members([rows] * 2, [rows * 0, wrong], [0, 1])


# adjax.train_detector


def test_an_array_becomes_a_detector():
    images, labels = digits()
    detector = adjax.train_detector(zeros(), method="hog_ocsvm", held_out=0.3, false_positive_rate=0.1)
    assert len(detector.calibration_scores) == pytest.approx(0.3 * len(zeros()), abs=1)
    scores = detector.score(images[:600])
    assert roc_auc_score(labels[:600] != 0, scores) > 0.95
    held_out_flagged = float((detector.p_value(zeros()) <= 0.1).mean())
    assert 0 < held_out_flagged < 0.3
    same = adjax.train_detector(zeros(), method="hog_ocsvm", held_out=0.3, false_positive_rate=0.1)
    np.testing.assert_array_equal(scores, same.score(images[:600]))


@pytest.mark.parametrize("method", ["gmm", "hog_ocsvm"])
def test_steps_of_what_trains_no_network_are_refused(method):
    """They had been ignored."""
    told = f"steps=100: {method} trains no network, so there are no steps: leave it out, or name another method"
    with pytest.raises(DataError, match=re.escape(f"{told} (centerloss, autoencoder, deep_svdd)")):
        adjax.train_detector(zeros(), method=method, weights="random" if method == "gmm" else None, steps=100)


def test_steps_are_refused_where_such_a_method_is_chosen():
    told = "steps=100: gmm, chosen for these images, trains no network, so there are no steps: leave it out, or name"
    with pytest.raises(DataError, match=told):
        adjax.train_detector(zeros()[:60], weights="random", steps=100)


def test_few_images_have_a_threshold_that_others_exceed():
    """Others are beyond the kernel's reach: they had scored the same, and nothing was flagged."""
    images, labels = digits()
    larger = np.kron(images[:600], np.ones((1, 2, 2, 1), np.uint8))
    normal, others = larger[labels[:600] == 0], larger[labels[:600] != 0]
    detector = adjax.train_detector(normal[:25], method="hog_ocsvm")
    assert detector.predict(others).mean() > 0.9
    assert detector.predict(normal[25:]).mean() < 0.3


def test_words_are_classes_in_the_order_of_the_alphabet(monkeypatch):
    """Nothing is trained; the slow test does."""
    images, labels = digits()
    names, seen = np.array(["zero", "one", "two"])[labels[labels < 3]], {}

    def train_members(built, images, table, *_, **__):
        seen.update(spec=built.spec, labels=np.asarray(table.labels[0]), rows=np.asarray(table.rows[0]))
        raise InterruptedError

    monkeypatch.setattr(pipeline, "train_members", train_members)
    with pytest.raises(InterruptedError):
        adjax.train_detector(images[labels < 3], names, method="centerloss", steps=40)
    assert seen["spec"].classes == ("one", "two", "zero")
    np.testing.assert_array_equal(np.array(seen["spec"].classes)[seen["labels"]], names[seen["rows"]])


@pytest.mark.slow
def test_classes_may_be_words():
    images, labels = digits()
    names = np.array(["zero", "one", "two"])[labels[labels < 3]]
    seen = []
    detector = adjax.train_detector(
        images[labels < 3], names, method="centerloss", steps=40, report=lambda step, _: seen.append(step)
    )
    assert detector.spec.classes == ("one", "two", "zero")
    assert seen[-1] == 40
    said = np.array(detector.spec.classes)[detector.classify(images[labels < 3])]
    assert (said == names).mean() > 0.5


@pytest.mark.slow
def test_it_chooses_as_the_command_does(monkeypatch):
    asked = []
    real = plan.choose

    def choose(*of):
        asked.append(of)
        return dataclasses.replace(
            real(of[0], 1, plan.UserChoices("hog_ocsvm"), of[3]), why=(f"few, {plan.NO_WEIGHTS}",)
        )

    monkeypatch.setattr(plan, "choose", choose)
    with pytest.warns(UserWarning, match="NO PRE-TRAINED WEIGHTS"):
        adjax.train_detector(np.tile(zeros()[:60], (1, 1, 2, 1)), weights="w.pth")
    ((headers, classes, choice, shape),) = asked
    assert (len(headers), headers[0][:3], classes) == (60, (8, 16, 1), 1)
    assert choice == plan.UserChoices(None, None, None, None, "w.pth")
    assert shape == (8, 16, 1)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((60, 8, 8, 1), np.float32), {}, r"images float32\[60, 8, 8, 1\]: must be uint8\[N, H, W, C\]"),
        (np.zeros((60, 8, 8), np.uint8), {}, r"images uint8\[60, 8, 8\]: must be"),
        (np.zeros((60, 8, 8, 4), np.uint8), {}, "with 1 or 3 channels"),
        (np.zeros((9, 8, 8, 1), np.uint8), {}, "9 normal images .* at least 10 are needed, .* take 1 more"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"held_out": 1}, r"held_out=1: must be a share in \(0, 1\)"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"false_positive_rate": 0}, "false_positive_rate=0: must be"),
        (
            SIXTY,
            {"false_positive_rate": 0.001, "method": "autoencoder"},
            "takes 999 held-out images",
        ),
        (np.zeros((60, 8, 8, 1), np.uint8), {"steps": 0}, "steps=0: must be a whole number, at least 1"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"seed": 2**31}, "seed=2147483648: must be a whole number from 0 to"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"labels": [0]}, r"labels of shape \(1,\): must be \[60\]"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"seed": 3.0}, "seed=3.0: must be a whole number"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"steps": 5.5}, "steps=5.5: must be a whole number"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"held_out": "0.2"}, "held_out='0.2': must be a share"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"labels": [True] * 60}, "labels of dtype bool: must be"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"labels": ["ok", "NG"] * 30}, "labels say 'NG': all images are normal"),
        (
            np.zeros((60, 8, 8, 1), np.uint8),
            {"method": "hog_ocsvm", "weights": "/no"},
            "weights='/no': hog_ocsvm",
        ),
        (SIXTY, {"method": "hog_ocsvm", "held_out": 0.8}, "give held_out=0.5 at most"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"labels": [-1] * 60}, "labels down to -1: all images are normal here"),
        (SIXTY, {"labels": [0.5, 0.0] * 30}, "labels hold 0.5: a label is the class of a normal image"),
        (np.zeros((60, 8, 8, 1), np.uint8), {"method": "gan"}, "method 'gan': choose one of"),
    ],
)
def test_what_makes_no_sense_is_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        adjax.train_detector(images, **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"scorer": "knn"}, {"model": "lenet5"}])
def test_another_scorer_or_network_of_hog_ocsvm_is_taken(options):
    with pytest.warns(match="for lenet5") if "model" in options else contextlib.nullcontext():
        detector = adjax.train_detector(zeros()[:60], method="hog_ocsvm", **options)
    assert set(options.values()) <= set(detector.spec.names)


def test_a_thread_may_train():
    found = []
    one = threading.Thread(target=lambda: found.append(adjax.train_detector(zeros()[:60], method="hog_ocsvm")))
    one.start()
    one.join()
    assert found


def test_the_rate_that_a_refusal_names_is_taken(monkeypatch):
    with pytest.raises(ValueError, match=r"there are 60\. .* or false_positive_rate=0\.017") as refused:
        adjax.train_detector(zeros()[:60], method="hog_ocsvm", false_positive_rate=0.01)
    rate = float(str(refused.value).rpartition("=")[2])

    def train_members(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(pipeline, "train_members", train_members)
    with pytest.raises(InterruptedError):  # as far as training
        adjax.train_detector(zeros()[:60], method="hog_ocsvm", false_positive_rate=rate)
