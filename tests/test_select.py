"""Which scorer a folder gets: the one that finds made defects, in pictures that no scorer was fitted to."""

import dataclasses

import numpy as np
import pytest

from adjax.auto import plan, select
from adjax.auto.select import Found
from adjax.models import weights
from adjax.models._statistics import statistics
from adjax.spec import Spec

LOCAL, BOTH = "patchcore with overall", "patchcore with overall and knn"


def stripes(n, side=96):
    """Pictures of one thing: stripes, shifted and lit a little differently."""
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(side) / 3)[None, :, None] * np.ones((side, 1, 1))
    light = rng.uniform(0.9, 1.1, (n, 1, 1, 1))
    noise = rng.normal(0, 3, (n, side, side, 1))
    return np.clip(128 * light + 40 * wave + noise, 0, 255).astype(np.uint8)


def planned():
    return plan.TrainingPlan(
        "gmm",
        "squeezenet",
        None,
        (96, 96, 1),
        scorer_options={"shrinkage": 0.1},
        pretrained=weights.resolve("random", "squeezenet"),
        selects=True,
    )


@pytest.mark.slow
def test_all_candidates_are_compared_by_made_defects(monkeypatch):
    images, labels = stripes(40), np.zeros(40, np.int32)
    found, outputs = select.compare(planned(), images, labels, ("normal",), 0)
    names = [one.name for one in found]
    local, all_three = "patchcore with overall", "patchcore with overall and knn"
    assert names == [local, all_three, "knn with patchcore and overall", "knn", "gmm"]
    assert set(select.LEAST) == set(names[:2])
    by = {one.name: one for one in found}
    assert by[local].defects > by["gmm"].defects > 0.5
    assert all(0 <= one.defects <= 1 and one.foreign > 0.9 for one in found)
    assert by["knn with patchcore and overall"].options["names"] == ("knn", "patchcore", "patchcore")
    assert by[local].options["names"] == ("patchcore", "patchcore")
    places, whole = (dict(options) for options in by[local].options["options"])
    assert (places, whole) == ({**plan.PATCHES["patchcore"], "centred": True}, select.OVERALL)
    assert by["knn"].options == {"k": 1, "capacity": 256}
    again, _ = select.compare(planned(), images, labels, ("normal",), 0)
    assert found == again
    normalise = planned().recipe.build((96, 96, 1), ("normal",)).normalise(images)
    np.testing.assert_allclose(outputs["statistics"], statistics(normalise(images)), rtol=1e-3, atol=1e-3)  # in order
    monkeypatch.setattr(select, "FITTED", 25)  # of 30
    assert select.compare(planned(), images, labels, ("normal",), 0)[1] is None


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"patchcore": (0.9, 1.0), "padim with gmm": (0.8, 1.0), "gmm": (0.7, 1.0)}, "patchcore"),
        ({"patchcore": (0.77, 0.99), "padim with gmm": (0.78, 0.98), "gmm": (0.6, 1.0)}, "patchcore"),  # as good
        ({"patchcore": (0.9, 0.9), "padim with gmm": (0.7, 0.99), "gmm": (0.6, 1.0)}, "padim with gmm"),  # sees both
        ({"patchcore": (0.9, 0.9), "padim with gmm": (0.6, 0.99), "gmm": (0.7, 1.0)}, "gmm"),
        ({LOCAL: (0.86, 1.0), BOTH: (0.8, 1.0), "knn": (0.6, 1.0)}, LOCAL),
        ({LOCAL: (0.84, 1.0), BOTH: (0.71, 1.0), "knn": (0.6, 1.0)}, BOTH),  # not enough of them for places alone
        ({LOCAL: (0.69, 1.0), BOTH: (0.69, 1.0), "knn": (0.6, 1.0)}, "knn"),  # nor to lead
        ({LOCAL: (0.6, 1.0), BOTH: (0.6, 0.9), "knn": (0.5, 0.9)}, "knn"),  # whatever those see that can't be chosen
        ({LOCAL: (0.6, 1.0), BOTH: (0.5, 1.0)}, LOCAL),  # nothing else there
    ],
)
def test_of_what_sees_unrelated_pictures_the_plan_takes_what_finds_most_defects_and_says_why(
    monkeypatch, values, chosen
):
    found = [Found(name, name.split()[0], {"at": name}, *each) for name, each in values.items()]
    monkeypatch.setattr(select, "compare", lambda *args: (found, None))
    refined = select.refined(planned(), stripes(2), np.zeros(2, np.int32), ("normal",), 0).plan
    assert refined.scorer_options == {"at": chosen}
    assert not refined.selects
    assert refined.why[-1].startswith(f"{chosen} tells unrelated pictures")
    told = [f"{name} {defects:.3f} and {foreign:.3f}" for name, (defects, foreign) in values.items()]
    assert all(one in refined.why[-1] for one in told)
    short = [name for name, (defects, _) in values.items() if defects < select.LEAST.get(name, 0)]
    assert refined.why[-1].count("would need") == len(short)
    assert all(f"{name} would need {select.LEAST[name]:g}" in refined.why[-1] for name in short)


@pytest.mark.parametrize(("planned_scorer", "fitted"), [("knn", "fused"), ("gmm", "gmm")])
def test_of_too_few_to_compare_places_are_fused_with_the_nearest(planned_scorer, fitted):
    few = dataclasses.replace(planned(), scorer=planned_scorer, scorer_options={})
    refined = select.refined(few, stripes(10), np.zeros(10, np.int32), ("normal",), 0).plan
    assert refined.scorer == fitted
    assert fitted != "fused" or refined.scorer_options["names"] == ("patchcore", "patchcore", "knn")
    assert refined.why[-1].startswith("10 pictures don't tell which scorer is best")


def test_outputs_that_were_extracted_serve_the_fit_where_the_scorer_reads_them(monkeypatch):
    outputs = {
        "features": np.arange(6.0).reshape(3, 2),
        "patches": np.zeros((3, 2, 2, 4)),
        "statistics": np.ones((3, 2)),
    }
    for name, kept in (("gmm", {"features"}), ("patchcore", {"features", "patches"})):
        monkeypatch.setattr(select, "compare", lambda *args, name=name: ([Found(name, name, {}, 1, 1)], outputs))
        found = select.refined(planned(), stripes(3), np.zeros(3, np.int32), ("normal",), 0).outputs
        assert set(found) == kept
        np.testing.assert_array_equal(found["features"], outputs["features"])


def test_only_a_network_with_maps_and_no_named_scorer_selects(monkeypatch):
    monkeypatch.setattr(plan.weights, "resolve", lambda given, model: weights.Weights(None, 0, 1, {}, "a test", "", ""))
    header = plan.Header(300, 400, 3, "RGB")
    assert plan.choose([header] * 60, 1, plan.UserChoices()).selects
    assert plan.choose([header] * 60, 1, plan.UserChoices()).shape == (224, 288, 3)
    for asked in (plan.UserChoices(scorer="gmm"), plan.UserChoices(side_px=16), plan.UserChoices("hog_ocsvm")):
        assert not plan.choose([header] * 60, 1, asked).selects
    small = plan.Header(64, 64, 3, "RGB")
    assert [plan.choose([small] * 60, classes, plan.UserChoices()).selects for classes in (1, 2)] == [True, True]
    assert not plan.choose([plan.Header(23, 64, 3, "RGB")] * 60, 1, plan.UserChoices()).selects
    named = plan.choose([header] * 60, 1, plan.UserChoices(scorer="padim"))
    assert named.model_options["patch_layers"] == plan.LAYERS
    assert named.scorer_options == plan.ALONE["padim"]


def test_in_a_fusion_the_pooled_feature_weighs_more_than_places_and_the_picture_as_a_whole_less():
    parts = "padim", "overall", "knn"
    values = {name: {"normal": np.arange(4.0), "defects": np.ones(2), "foreign": np.ones(2)} for name in parts}
    fused = select.fused([Found(name, name, {}, 1, 1) for name in parts], values)
    places, whole, pooled = fused.options["scales"]
    assert places == pytest.approx(np.arange(4.0).std())
    assert (whole, pooled) == pytest.approx((places / select.WEIGHTS["overall"], places / select.WEIGHTS["knn"]))
    assert whole > places > pooled
    assert fused.options["offsets"] == (1.5, 1.5, 1.5)
    assert fused.name == "padim with overall and knn"
    led = select.fused([Found(name, name, {}, 1, 1) for name in ("knn", "padim")], values)
    pooled, places = led.options["scales"]
    assert places / pooled == pytest.approx(select.LEADING)
    assert select.WEIGHTS["knn"] < select.LEADING


def test_a_detector_is_named_by_what_it_was_fitted_as():
    parts = {name: select._part(name, planned(), 60) for name in ("patchcore", "overall", "knn")}
    values = {name: {"normal": np.arange(4.0), "defects": np.ones(2), "foreign": np.ones(2)} for name in parts}
    found = select.fused([Found(name, *part, 1, 1) for name, part in parts.items()], values)
    spec = Spec("gmm", "squeezenet", found.scorer, (96, 96, 1), ("normal",), scorer_options=found.options)
    assert select.name_of(spec) == found.name == "patchcore with overall and knn"
    assert select.name_of(dataclasses.replace(spec, scorer="knn", scorer_options=())) == "knn"
    bare = {"names": ("gmm", "pca"), "offsets": (0, 0), "scales": (1, 1)}
    assert select.name_of(dataclasses.replace(spec, scorer_options=bare)) == "gmm with pca"


@pytest.mark.parametrize("frame", ["whole", "tiles"])
def test_maps_are_centred_where_a_map_is_of_a_whole_picture(frame):
    of = dataclasses.replace(planned(), frame=frame)
    scorer, options = select._part("patchcore", of, 60)
    assert (scorer, options.get("centred", False)) == ("patchcore", frame == "whole")
    assert "centred" not in select._part("padim", of, 60)[1]


@pytest.mark.parametrize("px", [95, 96])
def test_of_small_pictures_places_are_never_alone(px):
    of = dataclasses.replace(planned(), shape=(px, 128, 3))
    assert (select.LOCAL in select.candidates(of, 60)) == (px == 96)
    assert (*select.LOCAL, "knn") in select.candidates(of, 60)


@pytest.mark.parametrize(("n", "several"), [(24, True), (23, False)])
def test_by_few_pictures_nothing_is_compared(n, several):
    of = dataclasses.replace(planned(), scorer="knn")
    assert (select.candidates(of, n) == (("patchcore", "overall", "knn"),)) != several
    classes = dataclasses.replace(of, scorer="mahalanobis")
    assert (select.candidates(classes, n) == (("mahalanobis",),)) != several
