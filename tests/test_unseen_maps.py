"""What training images get from scorers of places that have not seen them: against fits made anew."""

import functools

import jax
import numpy as np
import pytest
from safetensors import safe_open

import adjax
from adjax import crossfit, scorers
from adjax.scorers import _reservoir

N, H, W = 20, 4, 6
MIX = np.random.default_rng(9).normal(size=(5, 5))
PADIM = {"feature": ("fine", "coarse"), "smooth": True, "top": 0.1}
ALL = 2 * N * H * W
"""As many patches as there are, so that memory holds each of them."""
PATCHCORE = {**PADIM, "coreset": ALL, "capacity": ALL}
KNN = {"k": 1, "capacity": N}
CASES = {
    "padim": ("padim", PADIM),
    "padim, one map": ("padim", {"feature": "fine", "smooth": True, "top": 0.1, "shrinkage": 0.3}),
    "padim, a grid": ("padim", {"feature": "flat", "grid": (H, W), "dim": 3}),
    "patchcore": ("patchcore", PATCHCORE),
    "patchcore, one map": ("patchcore", {**PATCHCORE, "feature": "fine"}),
    "patchcore, a patch per image": ("patchcore", {"feature": "features", "coreset": N, "capacity": N}),
    "padim, a deep layer": ("padim", {**PADIM, "whole": "coarse"}),
    "padim, centred": ("padim", {**PADIM, "centred": True}),
    "fused": (
        "fused",
        {"names": ("patchcore", "knn"), "offsets": (0.5, 0.5), "scales": (1.0, 0.01), "options": (PATCHCORE, KNN)},
    ),
}


@functools.cache
def outputs(n=N, seed=0):
    rng = np.random.default_rng(seed)
    fine, coarse = rng.normal(size=(n, H, W, 3)), rng.normal(size=(n, H // 2, W // 2, 5)) @ MIX
    found = {"fine": fine, "coarse": coarse + 3, "flat": fine.reshape(n, -1), "features": rng.normal(size=(n, 8))}
    return {name: x.astype(np.float32) for name, x in found.items()}


def fitted(scorer, rows, seen=None):
    """Distances of `seen` by a fit to `rows`; None: unseen, by that fit without each of them."""
    labels = np.zeros(len(rows["fine"]), np.int32)
    stats = scorers.gather(scorer, rows, labels, 1)
    state = scorer.finalize(stats)
    if seen is None:
        return jax.jit(scorer.unseen)(stats, state, rows, labels)
    return jax.jit(scorer.distances)(state, seen)


@pytest.mark.parametrize("name", CASES)
def test_distances_of_an_image_are_those_of_a_fit_without_it(name):
    scorer, rows = scorers.make(CASES[name][0], **CASES[name][1]), outputs()
    found = np.asarray(fitted(scorer, rows))
    for left in (0, 7):
        others, own = ({k: x[picked] for k, x in rows.items()} for picked in (np.arange(N) != left, [left]))
        wanted = fitted(scorer, others, own)
        # maps are in units of all images; and padim's shrinkage is a series
        rtol = 2e-2 if name in ("patchcore", "fused") else 5e-3
        np.testing.assert_allclose(found[left], wanted[0], rtol=rtol)
        assert np.asarray(fitted(scorer, rows, own)) < 0.95 * found[left]  # the fit that has seen it


@pytest.mark.parametrize("name", ["padim", "patchcore", "fused"])
def test_no_fit_is_made_again(name):
    scorer = scorers.make(CASES[name][0], **CASES[name][1])
    fit = crossfit.fit(scorer, {k: x for k, x in outputs().items() if k != "flat"}, np.zeros(N), 1, np.arange(N))
    assert fit.fits == 0
    np.testing.assert_allclose(fit.distances, fitted(scorer, outputs()), rtol=1e-5)


def test_maps_are_of_what_distances_are():
    scorer, rows = scorers.make("patchcore", **{**PATCHCORE, "top": 0.0}), outputs()
    labels = np.zeros(N, np.int32)
    stats = scorers.gather(scorer, rows, labels, 1)
    state = scorer.finalize(stats)
    maps = scorer.unseen_maps(stats, state, rows, labels)
    assert maps.shape == (N, H, W)
    np.testing.assert_allclose(maps.max((1, 2)), scorer.unseen(stats, state, rows, labels)[:, 0], rtol=1e-6)


def test_others_take_the_places_of_an_images_own_patches():
    """In float64: of those that a patch of memory was the nearest to, the furthest of another image."""
    rows, labels = outputs(), np.zeros(N, np.int32)
    scorer = scorers.make("patchcore", coreset=40, capacity=N * H * W, feature="fine")
    stats = scorers.gather(scorer, rows, labels, 1, batch_size=7)
    state = scorer.finalize(stats)
    found = np.asarray(scorer.unseen_maps(stats, state, rows, labels)).reshape(N, -1)

    patches, image = rows["fine"].reshape(-1, 3).astype(float), np.repeat(np.arange(N), H * W)
    memory = np.asarray(state.rows, float) + np.asarray(state.origin)
    away = np.linalg.norm(patches[:, None] - memory, axis=-1)
    place, whose = away.argmin(1), image[away.argmin(0)]
    for i in range(N):
        others = [memory[whose != i]]
        for m in np.flatnonzero(whose == i):
            theirs = np.flatnonzero((place == m) & (image != i))
            others += [patches[theirs[away[theirs, m].argmax()]][None]] if len(theirs) else []
        expected = np.linalg.norm(patches[image == i][:, None] - np.concatenate(others), axis=-1).min(1)
        np.testing.assert_allclose(found[i], expected, rtol=1e-4)


def test_a_patch_that_several_images_have_stays():
    rows = {"fine": outputs()["fine"].copy()}
    rows["fine"][:9, 0, 0] = 9  # a white corner
    rows["fine"][9:, 0, 0] = 1000 + 50 * np.arange(N - 9)[:, None]  # and those that one alone has
    scorer = scorers.make("patchcore", coreset=ALL, capacity=ALL, feature="fine")
    labels = np.zeros(N, np.int32)
    stats = scorers.gather(scorer, rows, labels, 1, batch_size=6)
    corner = np.asarray(scorer.unseen_maps(stats, scorer.finalize(stats), rows, labels))[:, 0, 0]
    assert (corner[:9] < 1e-3).all()
    assert (corner[9:] > 80).all()


def test_a_row_that_several_images_have_is_nobodys():
    x = np.float32([[1], [2], [1], [3], [3]])
    sample = _reservoir.update(
        _reservoir.init(8, 1, 1), x, np.zeros(5, np.int32), np.ones(5, bool), np.uint32([5, 6, 7, 8, 8])
    )
    known = np.asarray(_reservoir.kept(sample))
    found = np.asarray(_reservoir.only_sources(sample))
    assert set(zip(np.asarray(sample.rows)[known, 0].tolist(), found[known].tolist(), strict=True)) == {
        (1, 0), (2, 6), (3, 8)
    }  # fmt: skip
    assert not found[~known].any()


def test_weighted_scores_are_of_fits_made_anew():
    assert scorers.make("patchcore", neighbours=9).unseen is None
    with_weights = {"names": ("patchcore", "knn"), "offsets": (0, 0), "scales": (1, 1), "options": ({}, KNN)}
    assert scorers.make("fused", **with_weights).unseen is not None
    with_weights["options"] = ({"neighbours": 9}, KNN)
    assert scorers.make("fused", **with_weights).unseen is None


def test_fresh_images_are_flagged_as_often_as_asked():
    """By distances of images that memory has seen nearly all would be."""
    scorer = scorers.make("patchcore", **{**PATCHCORE, "coreset": 60, "capacity": 300})
    rate = []
    for seed in range(8):
        rows = outputs(60, seed)
        limit = np.quantile(np.asarray(fitted(scorer, rows)), 0.9, method="higher")
        rate.append((np.asarray(fitted(scorer, rows, outputs(400, 50 + seed))) > limit).mean())
    assert 0.06 < np.mean(rate) < 0.12, rate


def test_files_do_not_say_whose_a_patch_is(tmp_path):
    options = {"coreset": 10, "capacity": N, "feature": "features"}
    rows = outputs()["features"]
    detector = adjax.detector_from(None, {}, "patchcore", rows, folds=20, scorer_options=options)
    assert np.asarray(detector.scorer.left_out.sources).all()
    detector.save(tmp_path)
    (arrays,) = tmp_path.glob("arrays-*.safetensors")
    with safe_open(arrays, "np") as file:
        assert "scorer/rows" in file.keys()  # noqa: SIM118 (a file, not a dict)
        assert not [name for name in file.keys() if "left_out" in name]  # noqa: SIM118
    np.testing.assert_array_equal(adjax.load(tmp_path).score(rows), detector.score(rows))
