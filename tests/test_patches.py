"""PaDiM and PatchCore against float64 NumPy, and where they see a defect."""

import functools

import jax
import numpy as np
import pytest

from adjax import scorers
from adjax.scorers import padim_maps, patchcore_maps
from adjax.scorers._vectors import nearest

N, H, W, C = 120, 2, 3, 4
RNG = np.random.default_rng(0)
Y = np.zeros(N, np.int32)


def patches(n=N, seed=0):
    """Each place has a look of its own, correlated channels and a scale of its own."""
    rng = np.random.default_rng(seed)
    places = np.random.default_rng(9)
    look, mix = 3 * places.normal(size=(H, W, C)), places.normal(size=(H, W, C, C))
    return (look + np.einsum("nhwc,hwcd->nhwd", rng.normal(size=(n, H, W, C)), mix)).astype(np.float32)


X = patches()
OTHERS = patches(60, seed=1)
DEFECT = OTHERS.copy()
DEFECT[:, 1, 2] = X[:60, 1, 2] + 15


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@functools.cache
def tools(name, **options):
    options |= {"grid": (H, W)} if name == "padim" else {}
    scorer = scorers.make(name, dim=C, **options)
    fit = jax.jit(lambda x, y: scorers.fit(scorer, {"patches": x}, y, 1, batch_size=50))
    return fit, jax.jit(lambda state, x: scorer.score(state, {"patches": x}))


jitted = functools.cache(jax.jit)
PATCHCORE = {"coreset": 30, "capacity": 800}
EACH = [("padim", {}, padim_maps), ("patchcore", PATCHCORE, patchcore_maps)]
each_scorer = pytest.mark.parametrize(("name", "options", "maps"), EACH, ids=[name for name, *_ in EACH])


@each_scorer
def test_a_map_shows_where(name, options, maps):
    fit, score = tools(name, **options)
    state = fit(X, Y)
    seen = np.asarray(jitted(maps)(state, DEFECT))
    assert seen.shape == (60, H, W)
    np.testing.assert_allclose(score(state, DEFECT), seen.max((1, 2)), rtol=1e-5)
    assert (seen.reshape(60, -1).argmax(1) == H * W - 1).mean() > 0.8
    assert np.median(score(state, DEFECT)) > 1.5 * np.median(score(state, OTHERS))


@each_scorer
def test_a_smoothed_map_is_the_mean_over_the_places_around(name, options, maps):
    state = tools(name, **options)[0](X, Y)
    scorer = scorers.make(name, dim=C, smooth=True, **options | ({"grid": (H, W)} if name == "padim" else {}))
    plain = np.asarray(jitted(maps)(state, DEFECT), np.float64)
    expected = [plain[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean((1, 2)) for y in range(H) for x in range(W)]
    seen = jax.jit(scorer.maps)(state, {"patches": DEFECT})
    np.testing.assert_allclose(seen, np.stack(expected, 1).reshape(plain.shape), rtol=1e-5)
    broken = DEFECT.copy()
    broken[3, 0, 0, 0] = np.nan
    score = np.asarray(jax.jit(scorer.score)(state, {"patches": broken}))
    np.testing.assert_array_equal(np.isnan(score), np.arange(60) == 3)
    np.testing.assert_allclose(np.delete(score, 3), np.delete(np.asarray(seen).max((1, 2)), 3), rtol=1e-5)


@each_scorer
def test_one_broken_patch_breaks_its_image_and_no_other(name, options, maps):
    fit, score = tools(name, **options)
    bad = X.copy()
    bad[3, 0, 1, 2], bad[4, 1, 1, 0] = np.nan, np.inf
    state = fit(bad, Y)
    found = np.asarray(score(state, bad))
    assert np.isnan(found[3])
    assert np.isfinite(np.delete(found, 3)).all()
    assert found[4] > 1e10
    assert np.isnan(jitted(maps)(state, bad)[3, 0, 1])
    # all of such an image is left out of the fit, whatever the rest of it is like
    worse = bad.copy()
    worse[3:5] = np.where(np.isfinite(bad[3:5]), bad[3:5] + 100, bad[3:5])
    np.testing.assert_array_equal(score(fit(worse, Y), X), score(state, X))


@each_scorer
def test_fitted_to_nothing_everything_is_infinitely_far(name, options, maps):
    fit, score = tools(name, **options)
    state = fit(X, Y - 1)
    assert np.isposinf(score(state, X)).all()
    assert np.isposinf(jitted(maps)(state, X)).all()


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("padim", {"grid": (3, 2)}, r"of shape \(2, 3, 4\) where \(3, 2, 4\) is expected: give padim grid and dim"),
        ("padim", {"grid": (1, 2), "dim": 12}, r"where \(1, 2, 12\) is expected"),  # as many numbers
        ("patchcore", {"dim": 3}, "of 4 channels where 3 are expected: give patchcore dim=4"),
    ],
)
def test_patches_of_another_shape_are_refused(name, options, told):
    scorer = scorers.make(name, **({"dim": C} | options))
    with pytest.raises(ValueError, match=told):
        scorers.fit(scorer, {"patches": X}, Y, 1)


# PaDiM


def test_each_place_has_its_own_gaussian():
    fit, _ = tools("padim")
    found = jitted(padim_maps)(fit(X, Y), OTHERS)
    for h, w in np.ndindex(H, W):
        x, query = X[:, h, w].astype(np.float64), OTHERS[:, h, w]
        cov = np.cov(x.T, bias=True)
        cov = 0.9 * cov + 0.1 * np.trace(cov) / C * np.eye(C)
        rest = query - x.mean(0)
        expected = np.sqrt((rest @ np.linalg.inv(cov) * rest).sum(1))
        np.testing.assert_allclose(found[:, h, w], expected, rtol=1e-4)


def test_channels_are_drawn_and_what_is_broken_in_another_counts():
    fit, score = tools("padim", channels=2)
    state = fit(X, Y)
    chosen = np.asarray(state.channels)
    assert chosen.sum() == 2
    picked = tools("padim", channels=2)[0](np.where(chosen, X, 0), Y)
    np.testing.assert_allclose(score(state, OTHERS), score(picked, np.where(chosen, OTHERS, 0)), rtol=1e-5)
    odd = OTHERS.copy()
    odd[0, 0, 0, ~chosen], odd[1, 0, 0, ~chosen], odd[2, 0, 0, ~chosen] = np.nan, np.inf, -np.inf
    found = np.asarray(score(state, odd))
    assert np.isnan(found[0])
    assert (found[1:3] > 1e10).all()
    seeds = {tuple(scorers.make("padim", channels=2, seed=s).init((H, W, C), 1).channels.tolist()) for s in range(6)}
    assert len(seeds) > 1


def test_classes_are_pooled():
    """Images of two classes are one normal look."""
    scorer = scorers.make("padim", grid=(H, W), dim=C)
    y = np.arange(N, dtype=np.int32) % 2
    state = jax.jit(lambda x, y: scorers.fit(scorer, {"patches": x}, y, 2, batch_size=50))(X, y)
    fit, score = tools("padim")
    np.testing.assert_allclose(score(state, OTHERS), score(fit(X, Y), OTHERS), rtol=1e-4)


# PatchCore


def coreset(rows, first, count):
    """Greedy k-center in float64."""
    chosen = [first]
    for _ in range(count - 1):
        chosen.append(np.linalg.norm(rows[:, None] - rows[chosen], axis=-1).min(1).argmax())
    return rows[chosen]


def memory(state):
    return np.asarray(state.rows, np.float64) + np.asarray(state.origin, np.float64)


def test_the_memory_is_the_greedy_coreset():
    state = tools("patchcore", **PATCHCORE)[0](X, Y)
    kept, rows = memory(state), X.reshape(-1, C).astype(np.float64)
    first = np.abs(rows - kept[0]).sum(1).argmin()
    np.testing.assert_allclose(kept, coreset(rows, first, 30), rtol=1e-5, atol=1e-5)
    other = memory(tools("patchcore", **PATCHCORE, seed=1)[0](X, Y))
    assert np.abs(other[0] - kept[0]).max() > 0.1


def test_a_coreset_covers_what_a_sample_of_its_size_misses():
    rare = X.copy()
    rare[0, 0, 0] = 40
    kept = memory(tools("patchcore", **PATCHCORE)[0](rare, Y))
    np.testing.assert_allclose(np.abs(kept - 40).sum(1).min(), 0, atol=1e-4)


def test_patches_are_as_far_as_their_nearest_in_memory():
    state = tools("patchcore", **PATCHCORE)[0](X, Y)
    expected = np.linalg.norm(DEFECT[..., None, :] - memory(state), axis=-1).min(-1)
    np.testing.assert_allclose(jitted(patchcore_maps)(state, DEFECT), expected, rtol=1e-5)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
def test_lengths_by_the_covariance_of_the_patches(shrinkage):
    """Of all of them here: the sample is as large. At 1 each channel is in its own unit."""
    rows = X.reshape(-1, C).astype(np.float64)
    covariance = np.cov(rows.T, bias=True)
    covariance = (1 - shrinkage) * covariance + shrinkage * np.diag(np.diag(covariance))
    whiten = np.linalg.cholesky(np.linalg.inv(covariance))
    state = tools("patchcore", **PATCHCORE, shrinkage=shrinkage)[0](X, Y)
    first = np.asarray(state.origin, np.float64)
    kept = coreset((rows - first) @ whiten, np.argmin(np.linalg.norm(rows - first - _unwhitened(state)[0], axis=1)), 30)
    expected = np.linalg.norm(((DEFECT - first) @ whiten)[..., None, :] - kept, axis=-1).min(-1)
    np.testing.assert_allclose(jitted(patchcore_maps)(state, DEFECT), expected, rtol=1e-3)


def _unwhitened(state):
    return np.asarray(state.rows, np.float64) @ np.linalg.inv(np.asarray(state.whiten, np.float64))


def test_a_channel_that_never_varies_and_numbers_out_of_reach_have_finite_distances():
    x, far = X * np.float32(1e-6), OTHERS * np.float32(1e-6)
    x[..., 1] = 0
    far[0, 0, 0] = np.finfo(np.float32).max
    fit, score = tools("patchcore", **PATCHCORE, shrinkage=0.1)
    found = np.asarray(score(fit(x, Y), far))
    assert np.isfinite(found).all()
    assert found[0] == found.max()


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 1000])
def test_the_nearest_row_is_found_in_strips(rows):
    rng = np.random.default_rng(rows)
    memory, x = rng.normal(size=(rows, 5)).astype(np.float32), rng.normal(size=(600, 5)).astype(np.float32)
    known = np.arange(rows) != rows // 2 if rows > 1 else np.ones(1, bool)
    away = np.where(known, np.linalg.norm(x[:, None].astype(np.float64) - memory, axis=-1), np.inf)
    np.testing.assert_array_equal(jax.jit(nearest, static_argnums=3)(x, memory, known, 1)[:, 0], away.argmin(1))


def test_a_common_offset_costs_no_digits_of_a_patch():
    far = np.float32(2**14)
    x, others = (far + (v * 64).round() / 64 for v in (X, OTHERS))
    fit, score = tools("patchcore", **PATCHCORE)
    state = fit(x, Y)
    expected = np.linalg.norm(others[..., None, :] - memory(state), axis=-1).min(-1).max((1, 2))
    np.testing.assert_allclose(score(state, others), expected, rtol=1e-5)
    assert np.median(expected) < 5


def test_the_weight_is_that_of_the_paper():
    fit, score = tools("patchcore", **PATCHCORE, neighbours=9)
    state = fit(X, Y)
    bank, expected = memory(state), []
    for image in DEFECT.astype(np.float64):
        away = np.linalg.norm(image.reshape(-1, 1, C) - bank, axis=-1)
        patch = away.min(1).argmax()
        best = away[patch].argmin()
        around = np.linalg.norm(bank - bank[best], axis=-1).argsort()[:9]
        weight = 1 - np.exp(away[patch, best]) / np.exp(away[patch, around]).sum()
        expected.append(weight * away[patch, best])
    np.testing.assert_allclose(score(state, DEFECT), expected, rtol=1e-4)


def test_equal_patches_are_remembered_once():
    state = tools("patchcore", **PATCHCORE, neighbours=9)[0](np.tile(X[:1], (N, 1, 1, 1)), Y)
    assert np.asarray(state.known).sum() == H * W
    one = np.full_like(X, 2)
    fit, score = tools("patchcore", **PATCHCORE, neighbours=9)
    found = np.asarray(score(fit(one, Y), X))  # a memory of one patch weighs nothing
    np.testing.assert_allclose(found, np.linalg.norm(X - 2, axis=-1).max((1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("padim", {"grid": (0, 3)}, r"grid \(0, 3\)"),
        ("padim", {"channels": 0}, "channels=0"),
        ("padim", {"shrinkage": -1}, "shrinkage -1"),
        ("patchcore", {"coreset": 20, "capacity": 10}, "coreset=20, capacity=10: must be ≥ 1 and ascend"),
        ("patchcore", {"neighbours": 0}, "neighbours=0"),
        ("patchcore", {"shrinkage": 1.5}, r"shrinkage=1.5: must lie in \[0, 1\], or be None"),
    ],
)
def test_options_out_of_range_are_refused(name, options, told):
    with pytest.raises(ValueError, match=told):
        scorers.make(name, **options)
