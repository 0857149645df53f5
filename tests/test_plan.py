"""What `adjax train` trains, by the pictures and by what was asked for, and how it says so."""

from __future__ import annotations

import re

import numpy as np
import pytest

from adjax import pipeline, surface
from adjax.auto import fit, plan
from adjax.auto.plan import UserChoices
from adjax.data import DataError
from adjax.data.io.upload import Header
from adjax.models import weights
from adjax.models._read_torch import WeightsError

SMALL = [Header(28, 28, 1, "L")] * 1000
LARGE = [Header(300, 400, 3, "RGB")] * 1000


@pytest.fixture
def published(monkeypatch):
    """Weights that need no file, and a switch for a machine that has no way to any."""
    found = weights.resolve("random", "efficientnet_lite0")._replace(source="published")
    have = {"any": True}

    def resolve(spec, model):
        if not have["any"]:
            raise WeightsError("no way to the weights. Choices: a file")
        return found

    monkeypatch.setattr(weights, "resolve", resolve)
    return have


@pytest.mark.parametrize(
    ("headers", "classes", "method", "model", "size"),
    [
        (SMALL[:999], 1, "gmm", "efficientnet_lite0", (28, 28)),
        (SMALL[:999], 3, "gmm", "efficientnet_lite0", (28, 28)),
        (SMALL, 1, "autoencoder", "conv_autoencoder", (28, 28)),
        (SMALL, 3, "centerloss", "lenet5", (28, 28)),
        (LARGE, 1, "gmm", "efficientnet_lite0", (224, 288)),
        (LARGE[:60], 1, "gmm", "efficientnet_lite0", (224, 288)),
    ],
)
def test_the_choice_follows_the_data_and_is_explained(published, headers, classes, method, model, size):
    chosen = plan.choose(headers, classes, UserChoices())
    assert (chosen.method, chosen.model) == (method, model)
    assert chosen.shape == (*size, headers[0].channels)
    assert (chosen.pretrained is not None) == (method == "gmm")
    frozen = "mahalanobis" if classes > 1 else "knn"
    assert chosen.scorer == (frozen if method == "gmm" else None)
    assert "few" in chosen.why[0] if len(headers) < 1000 else "few" not in chosen.why[0]


@pytest.mark.parametrize(
    ("shape", "asked", "seen"),
    [
        ((28, 28), None, (128, 128)),
        ((100, 120), None, (112, 144)),
        ((100, 120), 64, (96, 96)),
        ((100, 120), 112, None),
        ((128, 128), None, None),
        ((192, 192), None, None),
    ],
)
def test_small_pictures_are_enlarged_for_a_trained_network(published, shape, asked, seen):
    chosen = plan.choose([Header(*shape, 3, "RGB")] * 60, 1, UserChoices(side_px=asked))
    assert chosen.model_options.get("side_px") == seen
    array = plan.choose([Header(100, 120, 3, "")] * 60, 1, UserChoices(), (100, 120, 3))
    assert (array.shape, array.model_options["side_px"]) == ((100, 120, 3), (112, 144))


@pytest.mark.parametrize(("n", "k", "capacity"), [(60, 1, 256), (300, 1, 512), (999, 1, 1024), (20_000, 20, 10_000)])
def test_neighbours_belong_to_the_number_of_images(published, n, k, capacity):
    chosen = plan.choose([LARGE[0]] * n, 1, UserChoices())
    assert chosen.scorer_options == {"k": k, "capacity": capacity}


def test_the_score_of_places_is_the_highest_so_that_what_is_not_flagged_has_no_mark(published):
    tiled = plan.choose([Header(600, 600, 3, "RGB")] * 60, 1, UserChoices(scorer="patchcore", frame="tiles"))
    whole = plan.choose([Header(600, 600, 3, "RGB")] * 60, 1, UserChoices(scorer="patchcore"))
    assert tiled.scorer_options == plan.PATCHES["patchcore"]
    assert whole.scorer_options == plan.ALONE["patchcore"]
    assert all(options.get("top", 0) == 0 for options in (*plan.PATCHES.values(), *plan.ALONE.values()))


def test_without_weights_there_is_a_way_and_it_is_said(published):
    published["any"] = False
    few = plan.choose(SMALL[:60], 1, UserChoices())
    assert (few.method, few.model, few.pretrained) == ("hog_ocsvm", "hog", None)
    assert "NO PRE-TRAINED WEIGHTS" in few.why[0]
    many = plan.choose(LARGE, 1, UserChoices())
    assert (many.method, many.shape) == ("autoencoder", (64, 64, 3))
    with pytest.raises(WeightsError):
        plan.choose(SMALL[:60], 1, UserChoices(weights="mine.h5"))


def test_the_reason_names_what_is_fitted_and_to_what():
    (why,) = (w for w in plan.choose(SMALL[:60], 1, UserChoices(scorer="knn", weights="random")).why if "few" in w)
    assert "an UNTRAINED network's features and scorer knn" in why


def test_random_weights_that_nobody_asked_for_are_said(published):
    for asked in (UserChoices("gmm", "lenet5"), UserChoices("hog_ocsvm", "lenet5"), UserChoices(model="lenet5")):
        (why,) = (w for w in plan.choose(SMALL[:60], 1, asked).why if plan.NO_WEIGHTS in w)
        assert "for lenet5" in why
        assert "its weights are random" in why
        assert "Others have some, by model: " in why
    for asked in (UserChoices("hog_ocsvm"), UserChoices("gmm"), UserChoices("autoencoder")):
        assert not any(plan.NO_WEIGHTS in w for w in plan.choose(SMALL[:60], 1, asked).why)


def test_pictures_are_taken_whole_in_their_own_proportions(published):
    long = plan.choose([Header(512, 2048, 1, "L")] * 20, 1, UserChoices())
    assert long.shape == (128, 512, 1)
    assert long.recipe.frame == "whole"
    assert plan.choose([Header(100, 20_000, 3, "RGB")] * 20, 1, UserChoices(side_px=64)).shape == (64, 64, 3)
    assert plan.choose([Header(100, 20_000, 3, "RGB")] * 20, 1, UserChoices(side_px=128)).shape == (64, 256, 3)  # 4 : 1


def test_what_was_asked_for_is_taken(published):
    chosen = plan.choose(LARGE, 1, UserChoices("deep_svdd", None, "knn", 32))
    assert (chosen.method, chosen.model, chosen.scorer, chosen.shape) == ("deep_svdd", "svdd_lenet", "knn", (32, 32, 3))
    with pytest.raises(DataError, match="give them as labels, at least 2"):
        plan.choose(SMALL, 1, UserChoices("centerloss"))
    with pytest.raises(DataError, match=r"at least 8 are needed, enlarge them$"):
        plan.choose(SMALL, 1, UserChoices("autoencoder", side_px=4))


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (lambda: plan.choose(SMALL, 1, UserChoices("autoencoder", side_px=4)), "--side-px 8 or more"),
        (lambda: plan.choose(SMALL, 1, UserChoices("centerloss")), "as subfolders or as labels of --labels"),
        (lambda: plan.choose(SMALL, 1, UserChoices("autoencoder", weights="w")), "--weights w: "),
        (lambda: fit.hold_out(np.zeros(100, int), 0.01, 0), "--false-positive-rate 0.015"),
        (lambda: fit.hold_out(np.arange(60) // 59, 0.05, 0), "--one-class"),
        (lambda: weights.resolve("/no", "vgg16"), "--weights FILE, a .safetensors"),
    ],
)
def test_a_refusal_is_in_the_words_of_who_reads_it(refused, said):
    with pytest.raises(ValueError, match=re.escape(said)), surface.command_line():
        refused()
    with pytest.raises(ValueError, match=r"^((?!--[a-z]+-|--weights|--labels).)*$"):
        refused()


def test_one_coloured_picture_makes_the_detector_see_colours(published):
    mixed = [*SMALL[:80], Header(28, 28, 3, "RGB")]
    assert any("80 of 81 pictures are grey, and become RGB" in why for why in plan.choose(mixed, 1, UserChoices()).why)
    assert plan.choose(mixed, 1, UserChoices()).shape == (28, 28, 3)


@pytest.mark.parametrize(
    ("method", "images", "asked", "steps"),
    [
        ("autoencoder", 40_000, None, 12_500),  # 20 epochs
        ("centerloss", 100_000, None, 7810),  # 5, of batches of 64
        ("centerloss", 1000, None, 500),
        ("autoencoder", 1000, None, 2000),
        ("autoencoder", 1_000_000, None, 20_000),
        ("autoencoder", 1000, 7, 7),
        ("gmm", 40_000, None, 0),
    ],
)
def test_the_length_of_a_training_follows_the_number_of_images(method, images, asked, steps):
    assert pipeline.training_steps(method, images, 64, asked) == steps
