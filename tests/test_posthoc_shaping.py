"""Scorers of shaped activations, pruned weights and rescaled logits, against float64 NumPy written from the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import logsumexp, softmax
from test_posthoc import BIAS, KERNEL, QUERIES, ZQ, D, K, N, X, Y, Z, energy, fitted, max_softmax, outputs, tools

from adjax import scorers
from adjax.scorers.rankfeat import dominant
from adjax.scorers.temperature_scaling import best

SPREAD = np.random.default_rng(4).normal(size=QUERIES.shape).astype(np.float32)
"""Features of either sign."""


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


# From the papers, in float64


def temperature(z=Z, y=Y):
    """Where the loss has slope 0: as a function of 1/T it is convex."""
    z = z.astype(np.float64)

    def slope(t):
        return ((softmax(z / t, axis=1) * z).sum(1) - z[np.arange(len(y)), y]).mean()

    return brentq(slope, 1e-3 * np.abs(z).mean(), 1e3 * np.abs(z).mean(), rtol=1e-12)


def weighted_energy(z, weights=(0.5, 2.0, 1.0, 0.0)):
    return -logsumexp(z.astype(np.float64), b=np.maximum(weights, 0), axis=1)


def ratio(x, pruned):
    x = x.astype(np.float64)
    kept = max(D - round(D * pruned), 1)
    return x.sum(1) / np.sort(x, 1)[:, -kept:].sum(1)


def scale(x, pruned=0.85, t=1.0):
    return energy(x * np.exp(ratio(x, pruned))[:, None] @ KERNEL + BIAS, t)


def lts(x, z, pruned=0.95, t=1.0):
    return energy(z.astype(np.float64) * ratio(np.maximum(x, 0), pruned)[:, None] ** 2, t)


def dice(x, pruned=0.9, t=1.0):
    contribution = KERNEL * X.astype(np.float64).mean(0)[:, None]
    kept = contribution > np.quantile(contribution, pruned)
    return energy(x @ np.where(kept, KERNEL, 0) + BIAS, t)


def vra(x, low=0.6, high=0.95, gamma=0.0, t=1.0):
    a, b = np.quantile(X.astype(np.float64), (low, high), axis=0)
    return energy(np.where(x < a, 0, np.where(x > b, b, x + gamma)) @ KERNEL + BIAS, t)


def nci(x, z, alpha=0.0):
    rest, own = x - X.astype(np.float64).mean(0), KERNEL.T[z.argmax(1)]
    return -(rest * own).sum(1) / np.linalg.norm(rest, axis=1) - alpha * np.abs(x).sum(1)


def rankfeat(x, t=1.0):
    left = []
    for places in np.asarray(outputs(x)["patches"], np.float64).reshape(len(x), -1, D):
        u, s, v = np.linalg.svd(places)
        left.append((places - s[0] * np.outer(u[:, 0], v[0])).mean(0))
    return energy(np.stack(left) @ KERNEL + BIAS, t)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("nci", {}, nci(QUERIES, ZQ)),
        ("nci", {"alpha": 0.3}, nci(QUERIES, ZQ, 0.3)),
        ("rankfeat", {}, rankfeat(QUERIES)),
        ("rankfeat", {"temperature": 2.0}, rankfeat(QUERIES, 2.0)),
        ("temperature_scaling", {}, max_softmax(ZQ / temperature())),
        ("weighted_energy", {}, weighted_energy(ZQ)),
        ("weighted_energy", {"weights": (3.0, -1.0, 0.25, 1.0)}, weighted_energy(ZQ, (3, 0, 0.25, 1))),
        ("scale", {}, scale(QUERIES)),
        ("scale", {"pruned": 0.5, "temperature": 2.0}, scale(QUERIES, 0.5, 2)),
        ("lts", {}, lts(QUERIES, ZQ)),
        ("lts", {"pruned": 0.7, "temperature": 3.0}, lts(QUERIES, ZQ, 0.7, 3)),
        ("dice", {}, dice(QUERIES)),
        ("dice", {"pruned": 0.5, "temperature": 2.0}, dice(QUERIES, 0.5, 2)),
        ("vra", {}, vra(QUERIES)),
        ("vra", {"low": 0.2, "high": 0.9, "gamma": 0.3, "temperature": 0.5}, vra(QUERIES, 0.2, 0.9, 0.3, 0.5)),
    ],
)
def test_scores_are_those_of_the_paper_in_float64(name, options, expected):
    """To a share of each score; where it is a difference, to a share of what is subtracted."""
    size = np.abs(expected).max() if name in scorers.WITH_HEAD else 0
    np.testing.assert_allclose(fitted(name, **options)(QUERIES), expected, rtol=2e-5, atol=1e-5 * size + 1e-15)


# Temperature scaling


@pytest.mark.parametrize("sharper", [1e-3, 1.0, 30.0, 1e6])
def test_the_temperature_is_that_of_the_smallest_loss(sharper):
    z = np.float32(sharper) * Z
    np.testing.assert_allclose(jax.jit(best)(z, Y, np.ones(N, bool)), temperature(z), rtol=1e-4)


def test_the_temperature_of_logits_of_very_unlike_scale():
    """Newton's steps alone leave for infinity here."""
    z = Z * np.exp(5 * np.random.default_rng(2).normal(size=(N, 1))).astype(np.float32)
    np.testing.assert_allclose(jax.jit(best)(z, Y, np.ones(N, bool)), temperature(z), rtol=1e-4)


def test_rows_that_do_not_count_say_nothing_of_the_temperature():
    t = jax.jit(best)(Z, Y, np.arange(N) < 200)
    np.testing.assert_allclose(t, temperature(Z[:200], Y[:200]), rtol=1e-4)
    assert abs(t / temperature() - 1) > 1e-3


def test_without_a_best_temperature_it_is_one():
    """Of images that are all classified rightly none is too low, of wrong ones none too high."""
    known = np.ones(N, bool)
    assert float(jax.jit(best)(Z, Z.argmax(1).astype(np.int32), known)) == 1
    assert float(jax.jit(best)(Z, Z.argmin(1).astype(np.int32), known)) == 1
    assert float(jax.jit(best)(np.zeros_like(Z), Y, known)) == 1


def test_a_class_that_an_image_can_not_be_leaves_it_out():
    z = Z.copy()
    z[:40, 0] = -np.inf
    kept = temperature(Z[40:], Y[40:])
    state = tools("temperature_scaling")[0](outputs(X, z), Y)
    np.testing.assert_allclose(state.temperature, kept, rtol=1e-4)


# Shaping


def test_features_of_either_sign_are_scaled_within_limits():
    """exp(s₁ / s₂) of s₂ near 0 would be anything; LTS takes negative features for 0."""
    z = np.asarray(SPREAD @ KERNEL + BIAS, np.float32)
    got = fitted("scale")(SPREAD, z)
    held = np.clip(ratio(SPREAD, 0.85), 1, D / (D - round(0.85 * D)))
    expected = energy(SPREAD * np.exp(held)[:, None] @ KERNEL + BIAS)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(fitted("lts")(SPREAD, z), lts(SPREAD, z), rtol=2e-5)


@pytest.mark.parametrize(("name", "equation"), [("dice", dice), ("vra", vra)])
def test_what_a_dead_feature_does_is_known_from_the_weights_alone(name, equation, monkeypatch):
    """One that is 0 on all training images and not on those to score: its mean contribution is 0."""
    x = np.where(np.arange(D) == 2, np.float32(0), X)
    z = np.asarray(x.astype(np.float64) @ KERNEL + BIAS, np.float32)
    monkeypatch.setitem(globals(), "X", x)
    expected = equation(QUERIES, 0.2)
    option = {"dice": "pruned", "vra": "low"}[name]
    scorer = scorers.make(name, **{option: 0.2}, capacity=N, kernel=KERNEL)
    state = jax.jit(lambda o: scorers.fit(scorer, o, jnp.asarray(Y), K))(outputs(x, z))
    np.testing.assert_allclose(
        jax.jit(scorer.score)(state, outputs(QUERIES)), expected, rtol=2e-5, atol=1e-5 * np.abs(expected).max()
    )


def test_scale_needs_no_weights_for_a_dead_feature():
    """Of W f + b it takes b alone, and that is known from images without the feature."""
    x = np.where(np.arange(D) == 2, np.float32(0), X)
    state = tools("scale")[0](outputs(x), Y)
    score = tools("scale")[1](state, outputs(QUERIES, ZQ))
    expected = scale(QUERIES)
    np.testing.assert_allclose(score, expected, rtol=2e-5, atol=1e-5 * np.abs(expected).max())


def test_quantiles_of_a_sample_that_is_not_full_are_those_of_what_it_holds():
    states = [tools("vra", capacity=capacity)[0](outputs(X, Z), Y) for capacity in (N, 4 * N)]
    for state in states:
        np.testing.assert_allclose((state.low, state.high), np.quantile(X, (0.6, 0.95), axis=0), rtol=1e-5)


# RankFeat


def test_what_is_removed_is_the_best_of_rank_one():
    """Of maps whose second singular value is close to the first, of a single place that is not 0, and of none."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(20, n, 5)))[0] for n in (9, 12))
    x = np.einsum("nps,s,ncs->npc", left, [1, 0.97, 0.5, 0.2, 0.1], right)
    x[0, 1:], x[1] = 0, 0
    x[2] *= 1e12
    x[3] *= 1e-30
    u, s, v = np.linalg.svd(x, full_matrices=False)
    expected = (s[:, :1] * u[:, :, 0].mean(1, keepdims=True)) * v[:, 0]
    got = np.asarray(jax.jit(dominant)(x.astype(np.float32)))
    size = np.linalg.norm(x, axis=(1, 2))[:, None] + 1e-37
    np.testing.assert_allclose(got / size, expected / size, atol=2e-5)


def test_a_map_without_places_is_refused():
    state = tools("rankfeat")[0](outputs(X), Y)
    one = outputs(X) | {"patches": jnp.asarray(X)[:, None, None]}
    with pytest.raises(ValueError, match="at least two places, of 12 channels"):
        scorers.make("rankfeat").score(state, one)
    with pytest.raises(ValueError, match="at least two places, of 12 channels"):
        scorers.make("rankfeat").score(state, outputs(X) | {"patches": jnp.zeros((N, 2, 2, 3))})


def test_rankfeat_is_exported_for_any_number_of_images():
    state, (n,) = tools("rankfeat")[0](outputs(X), Y), jax.export.symbolic_shape("n")
    given = {k: jax.ShapeDtypeStruct((n, *v.shape[1:]), v.dtype) for k, v in outputs(X).items()}
    program = jax.export.export(jax.jit(scorers.make("rankfeat").score))(state, given)
    np.testing.assert_allclose(program.call(state, outputs(QUERIES)), fitted("rankfeat")(QUERIES), rtol=1e-5)


def test_a_nan_at_one_place_is_one():
    state, score = tools("rankfeat")[0](outputs(X), Y), tools("rankfeat")[1]
    clean, places = score(state, outputs(QUERIES)), np.array(outputs(QUERIES)["patches"])
    places[3, 1, 0, 2] = np.nan
    got = score(state, outputs(QUERIES) | {"patches": places})
    assert np.isnan(got[3])
    np.testing.assert_array_equal(np.delete(got, 3), np.delete(clean, 3))


# Options


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("temperature_scaling", {"capacity": 0}, "capacity 0"),
        ("weighted_energy", {"weights": (0.0, -1.0)}, "at least one of them positive"),
        ("weighted_energy", {"weights": (float("nan"), 1.0)}, "must be finite"),
        ("weighted_energy", {}, "weights"),
        ("nci", {"alpha": -1.0}, "alpha"),
        ("rankfeat", {"temperature": 0.0}, "temperature"),
        ("scale", {"pruned": 1.0}, "pruned"),
        ("scale", {"temperature": 0.0}, "temperature"),
        ("lts", {"pruned": -0.1}, "pruned"),
        ("lts", {"temperature": 0.0}, "temperature"),
        ("dice", {"pruned": float("nan")}, "pruned"),
        ("dice", {"temperature": 0.0}, "temperature"),
        ("vra", {"low": 0.9, "high": 0.1}, r"low 0\.9 and high 0\.1"),
        ("vra", {"gamma": float("nan")}, "gamma"),
        ("vra", {"temperature": 0.0}, "temperature"),
    ],
)
def test_options_out_of_range_are_refused(name, options, match):
    with pytest.raises(ValueError, match=match):
        scorers.make(name, **options)


def test_other_numbers_of_logits_are_refused():
    with pytest.raises(ValueError, match="4 logits for 3 classes"):
        scorers.fit(scorers.make("temperature_scaling"), outputs(X, Z), jnp.asarray(Y), 3)
    with pytest.raises(ValueError, match="4 logits and 2 weights"):
        scorers.make("weighted_energy", weights=(1.0, 2.0)).score({}, outputs(X, Z))
