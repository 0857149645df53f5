"""PaDiM and PatchCore on several layers: a model of each, and the mean of their maps."""

import functools

import jax
import numpy as np
import pytest

from adjax import localise, scorers
from adjax._numerics import averaged

RNG = np.random.default_rng(0)
# all patches are remembered, so that the draw of a sample decides nothing
OPTIONS = {"padim": {}, "patchcore": {"coreset": 960, "capacity": 1000}}
Y = np.zeros(40, np.int32)


def drawn(n, seed):
    rng = np.random.default_rng(seed)
    return {
        "fine": rng.normal(5, 3, (n, 4, 6, 3)).astype(np.float32),
        "coarse": rng.normal(-2, 0.1, (n, 2, 3, 5)).astype(np.float32),
    }


TRAIN, OTHERS = drawn(40, 0), drawn(12, 1)


@functools.cache
def fitted(name, feature, **options):
    scorer = scorers.make(name, feature=feature, **OPTIONS[name], **options)
    state = jax.jit(lambda x, y: scorers.fit(scorer, x, y, 1, batch_size=16))(
        {k: np.asarray(averaged(x, zeros=True)) for k, x in TRAIN.items()} if isinstance(feature, str) else TRAIN, Y
    )
    return state, jax.jit(scorer.maps), jax.jit(scorer.score)


def unit(name, state):
    if name == "padim":
        return state.places.origin.shape[-1] ** 0.5
    rows = np.asarray(state.rows)[np.asarray(state.known)]
    return np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean())


@pytest.mark.parametrize("name", OPTIONS)
def test_the_map_is_the_mean_of_each_layers_own(name):
    state, maps, score = fitted(name, ("fine", "coarse"))
    expected = np.zeros((12, 4, 6))
    for layer in ("fine", "coarse"):
        own, alone, _ = fitted(name, layer)
        found = np.asarray(alone(own, {layer: np.asarray(averaged(OTHERS[layer], zeros=True))})) / unit(name, own)
        expected += 0.5 * np.asarray(localise.enlarged(found, (4, 6)))
    np.testing.assert_allclose(maps(state, OTHERS), expected, rtol=1e-3)
    np.testing.assert_allclose(score(state, OTHERS), expected.max((1, 2)), rtol=1e-3)
    _, smoothed, _ = fitted(name, ("fine", "coarse"), smooth=True)
    np.testing.assert_allclose(smoothed(state, OTHERS), averaged(expected.astype(np.float32)), rtol=1e-3)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_layers_scale_is_nothing_to_the_map(name):
    scorer = scorers.make(name, feature=("fine", "coarse"), smooth=True, **OPTIONS[name])
    larger = {"fine": TRAIN["fine"], "coarse": 64 * TRAIN["coarse"]}
    state = scorers.fit(scorer, larger, Y, 1, batch_size=16)
    own, _, score = fitted(name, ("fine", "coarse"), smooth=True)
    seen = score(state, {"fine": OTHERS["fine"], "coarse": 64 * OTHERS["coarse"]})
    np.testing.assert_allclose(seen, score(own, OTHERS), rtol=0.02)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_is_broken_in_one_layer_is_left_out_of_all_and_scores_nan_alone(name):
    scorer = scorers.make(name, feature=("fine", "coarse"), **OPTIONS[name])
    fit = jax.jit(lambda x, y: scorers.fit(scorer, x, y, 1, batch_size=16))
    broken = {k: np.concatenate([x, 9 * x[:1]]) for k, x in TRAIN.items()}
    broken["coarse"][-1, 0, 0, 0] = np.nan
    with_it = fit(broken, np.zeros(41, np.int32))
    state, _, score = fitted(name, ("fine", "coarse"))
    np.testing.assert_allclose(score(with_it, OTHERS), score(state, OTHERS), rtol=1e-3)
    odd = {k: x.copy() for k, x in OTHERS.items()}
    odd["coarse"][3, 1, 1, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(score(state, odd)), np.arange(12) == 3)


@pytest.mark.parametrize("name", OPTIONS)
def test_fitted_to_nothing_everything_is_infinitely_far(name):
    scorer = scorers.make(name, feature=("fine", "coarse"), **OPTIONS[name])
    state = scorers.fit(scorer, TRAIN, Y - 1, 1, batch_size=16)
    assert np.isposinf(scorer.score(state, OTHERS)).all()


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("padim", {"feature": ()}, "name at least one output"),
        ("padim", {"feature": ("a", "a")}, "none twice"),
        ("padim", {"feature": ("a", "b"), "dim": 3}, "dim=3: several features"),
        ("patchcore", {"feature": ("a", "b"), "neighbours": 9}, "neighbours=9"),
        ("patchcore", {"centred": True}, r"centred=True, .*feature='patches': .*; give \('patches',\)"),
        ("padim", {"feature": "a", "centred": True}, "only several have either"),
        ("padim", {"feature": "a", "whole": "a"}, r"whole='a', feature='a': only several"),
        ("patchcore", {"feature": ("a", "b"), "whole": "c"}, r"whole='c'.* must be one of feature \('a', 'b'\)"),
        ("padim", {"feature": ("a",), "whole": "a", "centred": True}, "of maps not centred"),
    ],
)
def test_options_out_of_range_are_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        scorers.make(name, **options)


def test_a_layer_without_places_is_refused():
    with pytest.raises(ValueError, match="feature 'flat' of shape 3 has no places"):
        scorers.fit(scorers.make("padim", feature=("flat",)), {"flat": TRAIN["fine"][:, 0, 0]}, Y, 1)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("feature", ["fine", ("fine", "coarse")])
def test_the_score_is_the_mean_of_the_highest_share_of_places(name, feature):
    state, maps, _ = fitted(name, feature)
    found = np.asarray(maps(state, OTHERS))
    places = found[0].size
    scorer = scorers.make(name, feature=feature, top=4 / places, **OPTIONS[name])
    expected = np.sort(found.reshape(len(found), -1), 1)[:, -4:].mean(1)
    np.testing.assert_allclose(scorer.score(state, OTHERS), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="top=-1: must be a share"):
        scorers.make(name, feature=feature, top=-1)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_centred_map_knows_what_is_odd_in_an_image_and_not_what_is_odd_of_it(name):
    feature = ("fine",)  # of so small a map as the coarse one, the mean around its middle is that of all of it
    lighter = {k: x + RNG.normal(size=(len(x), 1, 1, x.shape[3])).astype(np.float32) for k, x in OTHERS.items()}
    state, maps, _ = fitted(name, feature)
    assert np.abs(np.asarray(maps(state, lighter)) - maps(state, OTHERS)).max() > 0.3
    state, maps, score = fitted(name, feature, centred=True)
    found = np.asarray(maps(state, OTHERS))
    np.testing.assert_allclose(maps(state, lighter), found, rtol=1e-3)
    odd = {**OTHERS, "fine": OTHERS["fine"].copy()}
    odd["fine"][:, 2, 4] += 60
    places = np.unravel_index(np.asarray(maps(state, odd)).reshape(12, -1).argmax(1), (4, 6))
    assert np.abs(np.stack(places, 1) - (2, 4)).max() <= 1  # patches are averages over 3 × 3
    assert (np.asarray(score(state, odd)) > 2 * found.max((1, 2))).all()
    plain = scorers.make(name, feature=feature, **OPTIONS[name])
    less = lambda outputs: {k: x - x.mean((1, 2), keepdims=True) for k, x in outputs.items()}  # noqa: E731
    own = scorers.fit(plain, less(TRAIN), Y, 1, batch_size=16)
    np.testing.assert_allclose(found, plain.maps(own, less(OTHERS)), rtol=1e-3)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_deep_layer_alone_tells_what_is_odd_of_an_image(name):
    feature = "fine", "coarse"
    state, maps, score = fitted(name, feature, whole="coarse")
    own, plain, _ = fitted(name, feature)
    deep, alone, _ = fitted(name, ("coarse",))
    mean, level = np.asarray(plain(own, OTHERS)), np.asarray(alone(deep, OTHERS)).mean((1, 2), keepdims=True) / 2
    expected = mean - mean.mean((1, 2), keepdims=True) + level
    np.testing.assert_allclose(maps(state, OTHERS), expected, rtol=1e-3, atol=1e-4)
    assert np.ptp(level) > 0.01  # so that the mean of another layer would show
    empty = scorers.fit(scorers.make(name, feature=feature, whole="coarse", **OPTIONS[name]), TRAIN, Y - 1, 1)
    assert np.isposinf(score(empty, OTHERS)).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_maps_have_the_places_of_the_finest_layer_wherever_it_stands(name):
    state, maps, _ = fitted(name, ("fine", "coarse"))
    swapped, others, _ = fitted(name, ("coarse", "fine"))
    np.testing.assert_allclose(others(swapped, OTHERS), maps(state, OTHERS), rtol=1e-4)


def test_a_fusion_of_layered_scorers_takes_them_all():
    feature = "fine", "coarse"
    scorer = scorers.make(
        "fused",
        names=("padim", "patchwise"),
        options=({"feature": feature}, {"feature": "fine"}),
        offsets=(0, 0),
        scales=(1, 1e6),
    )
    state = scorers.fit(scorer, TRAIN, Y, 1, batch_size=16)
    own, _, score = fitted("padim", feature)
    np.testing.assert_allclose(scorer.score(state, OTHERS), score(own, OTHERS), rtol=1e-4)
