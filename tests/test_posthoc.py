"""Scorers of a classifier's logits and last layer, against float64 NumPy written from the papers."""

import functools
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import entropy as scipy_entropy

from adjax import scorers
from adjax.scorers import _head

N, D, K = 300, 12, 4
RNG = np.random.default_rng(0)
Y = (np.arange(N) % K).astype(np.int32)
LOOKS = 6 * np.abs(RNG.normal(size=(K, D)))
KERNEL, BIAS = (LOOKS - LOOKS.mean(0)).T / 12 + RNG.normal(size=(D, K)) / 2, RNG.normal(size=K) + 3


def features(seed, n=N):
    """Rectified, as most networks' are."""
    rng = np.random.default_rng(seed)
    return np.maximum(LOOKS[rng.integers(0, K, n)] + 1.5 * rng.normal(size=(n, D)), 0).astype(np.float32)


def logits_of(x, kernel=KERNEL, bias=BIAS):
    with np.errstate(invalid="ignore"):  # of an infinite feature; whether a matmul raises it depends on the CPU
        return (x.astype(np.float64) @ kernel + bias).astype(np.float32)


SHARES = np.abs(np.random.default_rng(6).normal(size=(4, D)))
SHARES = (4 * SHARES / SHARES.sum(0)).astype(np.float32)
"""What each of four places has of the features, which are their mean."""


def outputs(x, z=None):
    places = jnp.stack([jnp.asarray(x * s) for s in SHARES], 1).reshape(len(x), 2, 2, x.shape[1])
    return {"features": jnp.asarray(x), "logits": jnp.asarray(logits_of(x) if z is None else z), "patches": places}


X = features(1)
Z = logits_of(X)
Y = np.where(np.arange(N) % 5 > 0, Z.argmax(1), Y).astype(np.int32)  # four of five are classified rightly
QUERIES = np.concatenate([features(2, 100), 3 * np.abs(np.random.default_rng(3).normal(size=(100, D)))])
QUERIES = QUERIES.astype(np.float32)
ZQ = logits_of(QUERIES)
LOGITS = "energy", "entropy", "gen", "kl_matching", "max_logit", "max_softmax", "temperature_scaling", "weighted_energy"
LINEAR = scorers.WITH_HEAD
BOTH = *LINEAR, "lts", "nnguide", "she"


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@functools.cache
def tools(name, **options):
    if name in (*LINEAR, "nnguide"):
        options = {"capacity": N} | options
    if name == "weighted_energy":
        options = {"weights": (0.5, 2.0, 1.0, 0.0)} | options
    scorer = scorers.make(name, **options)
    plain = tools(name) if name == "ash" and options.keys() != {"capacity"} else None  # the state is the same
    fit = plain[0] if plain else jax.jit(lambda o, y: scorers.fit(scorer, o, y, K, batch_size=100))
    return fit, jax.jit(scorer.score)


def fitted(name, **options):
    fit, score = tools(name, **options)
    state = fit(outputs(X, Z), Y)
    return lambda x, z=None: np.asarray(score(state, outputs(x, z)))


# From the papers, in float64


def energy(z, t=1.0):
    return -t * logsumexp(z.astype(np.float64) / t, axis=1)


def max_softmax(z):
    p = np.sort(softmax(z.astype(np.float64), axis=1), 1)
    return p[:, :-1].sum(1)


def gen(z, gamma=0.1, top=100):
    log_p = np.sort(log_softmax(z.astype(np.float64), axis=1), 1)[:, ::-1]
    rest = [logsumexp(np.delete(log_p, j, 1), axis=1) for j in range(log_p.shape[1])]
    return sum(np.exp(gamma * (log_p[:, j] + rest[j])) for j in range(min(top, log_p.shape[1])))


def kl_matching(z, by="predicted"):
    group = Z.argmax(1) if by == "predicted" else Y
    templates = [softmax(Z[group == k].astype(np.float64), axis=1).mean(0) for k in range(K)]
    p = softmax(z.astype(np.float64), axis=1)
    return np.min([scipy_entropy(p, d[None], axis=1) for d in templates], axis=0)


def react(x):
    return energy(np.minimum(x, np.quantile(X.astype(np.float64), 0.9)) @ KERNEL + BIAS)


def ash(x, shaping="s", pruned=0.9, t=1.0):
    rows = []
    for f in x.astype(np.float64):
        kept = max(D - round(D * pruned), 1)
        g = np.where(np.isin(np.arange(D), np.argsort(-f, kind="stable")[:kept]), f, 0)
        rows.append({"p": g, "b": (g > 0) * f.sum() / kept, "s": g * np.exp(f.sum() / g.sum())}[shaping])
    return energy(np.stack(rows) @ KERNEL + BIAS, t)


def vim(x, z):
    u = -np.linalg.pinv(KERNEL.T) @ BIAS
    values, vectors = np.linalg.eigh((X - u).T @ (X - u))
    null = vectors[:, np.argsort(-values)[D // 2 :]]
    alpha = Z.max(1).astype(np.float64).mean() / np.linalg.norm((X - u) @ null, axis=1).mean()
    return alpha * np.linalg.norm((x - u) @ null, axis=1) + energy(z)


def fdbd(x, z):
    mean, scores = X.astype(np.float64).mean(0), []
    for f, own in zip(x.astype(np.float64), z.astype(np.float64), strict=True):
        k = own.argmax()
        others = [(own[k] - own[j]) / np.linalg.norm(KERNEL[:, k] - KERNEL[:, j]) for j in range(K) if j != k]
        scores.append(-np.mean(others) / np.linalg.norm(f - mean))
    return np.array(scores)


def she(x, z):
    right = Z.argmax(1) == Y
    patterns = np.stack([X[right & (k == Y)].mean(0, dtype=np.float64) for k in range(K)])
    return -(x * patterns[z.argmax(1)]).sum(1)


def nnguide(x, z):
    bank, query = (f / np.linalg.norm(f, axis=1, keepdims=True) for f in (X.astype(np.float64), x.astype(np.float64)))
    guidance = np.sort(query @ bank.T * -energy(Z), 1)[:, -10:].mean(1)
    return energy(z) * guidance


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("max_softmax", {}, max_softmax(ZQ)),
        ("max_logit", {}, -ZQ.max(1)),
        ("energy", {}, energy(ZQ)),
        ("energy", {"temperature": 7.5}, energy(ZQ, 7.5)),
        ("entropy", {}, scipy_entropy(softmax(ZQ.astype(np.float64), axis=1), axis=1)),
        ("gen", {}, gen(ZQ)),
        ("gen", {"gamma": 0.5, "top": 2}, gen(ZQ, 0.5, 2)),
        ("kl_matching", {}, kl_matching(ZQ)),
        ("kl_matching", {"by": "label"}, kl_matching(ZQ, "label")),
        ("react", {}, react(QUERIES)),
        ("ash", {}, ash(QUERIES)),
        ("ash", {"shaping": "p", "pruned": 0.6}, ash(QUERIES, "p", 0.6)),
        ("ash", {"shaping": "b", "pruned": 0.65, "temperature": 2.0}, ash(QUERIES, "b", 0.65, 2)),
        ("vim", {}, vim(QUERIES, ZQ)),
        ("fdbd", {}, fdbd(QUERIES, ZQ)),
        ("she", {}, she(QUERIES, ZQ)),
        ("nnguide", {}, nnguide(QUERIES, ZQ)),
    ],
)
def test_scores_are_those_of_the_paper_in_float64(name, options, expected):
    """To a share of each score; where it is a difference, to a share of what is subtracted."""
    size = np.abs(expected).max() if name in ("kl_matching", *LINEAR) else 0
    np.testing.assert_allclose(fitted(name, **options)(QUERIES), expected, rtol=2e-5, atol=1e-5 * size + 1e-15)


@pytest.mark.parametrize("name", ["max_softmax", "entropy", "gen"])
def test_sure_predictions_are_told_apart(name):
    """Probabilities of 1 − 1e−9 … 1 − 1e−35: all 1 in float32, and the last in float64 as well."""
    gaps, expected = (20, 21, 30, 31, 80), []
    with localcontext() as context:
        context.prec = 60
        for gap in gaps:
            p = [Decimal(z).exp() for z in (gap, 0, -1, -2)]
            p = [x / sum(p) for x in p]
            each = {
                "max_softmax": 1 - max(p),
                "entropy": -sum(x * x.ln() for x in p),
                "gen": sum((x * (1 - x)) ** Decimal("0.1") for x in p),
            }
            expected.append(float(each[name]))
    got = fitted(name)(np.zeros((5, D), np.float32), np.float32([[gap, 0, -1, -2] for gap in gaps]))
    np.testing.assert_allclose(got, expected, rtol=2e-5)
    assert np.all(np.diff(got) < 0)


def test_a_template_keeps_its_small_probabilities():
    """As a difference from the mean over classes, a template's 1e−9 would be 0 or below."""
    z = np.tile(np.float32([20, 0, -1, -2]), (N, 1))
    z[::2] = [0, 20, -1, -2]
    fit, score = tools("kl_matching")
    state = fit(outputs(X, z), np.zeros(N, np.int32))
    p = softmax(z[:2].astype(np.float64), axis=1)
    query = np.float32([[0, 0, 8, 0]])
    expected = np.min([scipy_entropy(softmax(query.astype(np.float64), axis=1)[0], d) for d in p])
    np.testing.assert_allclose(score(state, outputs(X[:1], query)), expected, rtol=1e-5)


# What is no number


@pytest.mark.parametrize("name", [*LOGITS, *BOTH])
def test_what_is_no_number_is_never_normal(name):
    score = fitted(name)
    x, z = QUERIES[:12].copy(), ZQ[:12].copy()
    z[0, 1], z[1], z[2, 2] = np.nan, np.nan, np.inf
    z[3, 3], z[3, 0] = np.inf, np.nan
    z[4, (z[4].argmax() + 1) % K] = -np.inf  # a class that is out of the question
    z[5] = -np.inf
    x[6, 0], x[7, 0], x[8, 0] = np.nan, np.inf, -np.inf
    got, clean = score(x, z), score(QUERIES[:12], ZQ[:12])
    assert np.isnan(got[[0, 1, 3]]).all()
    assert np.isposinf(got[2])
    assert np.isfinite(got[4])
    assert np.isposinf(got[5]) if name in {"energy", "weighted_energy"} else np.isfinite(got[5])  # −log of a sum of 0
    if name in BOTH:
        assert np.isnan(got[6])
        assert np.isposinf(got[7:9]).all()
    np.testing.assert_array_equal(got[9:], clean[9:])
    if name in LOGITS:
        assert got[5] >= clean.max() or name == "kl_matching"  # no class at all
        np.testing.assert_array_equal(got[6:9], clean[6:9])


@pytest.mark.parametrize("name", ["energy", "entropy", "max_softmax", "temperature_scaling", "weighted_energy"])
def test_of_many_classes_one_that_is_no_number_counts(name):
    """XLA's maximum loses a NaN among so many on a CPU."""
    many = 5000
    scorer = scorers.make(name, **({"weights": np.ones(many)} if name == "weighted_energy" else {}))
    z = np.random.default_rng(0).normal(size=(20, many)).astype(np.float32)
    labels = np.arange(20, dtype=np.int32)
    state = scorers.fit(scorer, {"logits": z}, labels, many)
    z[3, 4500], z[4, 17], z[5, [3, 4000]] = np.nan, np.inf, (np.inf, np.nan)
    score = np.asarray(jax.jit(scorer.score)(state, {"logits": z}))
    assert np.isnan(score[[3, 5]]).all()
    assert np.isposinf(score[4])
    assert np.isfinite(np.delete(score, [3, 4, 5])).all()


def test_a_class_without_weight_still_has_to_have_a_number():
    scorer = scorers.make("weighted_energy", weights=(1.0, 0.0, 2.0))
    z = np.float32([[1, 50, 2], [1, np.inf, 2], [1, np.nan, 2], [-np.inf, 50, -np.inf]])
    score = np.asarray(scorer.score({"counts": np.ones(1, np.float32)}, {"logits": z}))
    np.testing.assert_allclose(score[0], -np.log(np.exp(1) + 2 * np.exp(2)), rtol=1e-6)
    assert np.isposinf(score[1])
    assert np.isnan(score[2])
    assert score[3] > 1e30  # no class that counts is called for


def test_fitted_to_no_image_what_is_no_number_stays_it():
    scorer = scorers.make("temperature_scaling")
    state = scorers.fit(scorer, {"logits": np.zeros((4, 3), np.float32)}, np.full(4, -1), 3)
    score = np.asarray(scorer.score(state, {"logits": np.float32([[1, 2, 3], [1, np.nan, 3]])}))
    assert np.isposinf(score[0])
    assert np.isnan(score[1])


def test_an_impossible_class_has_probability_zero():
    z = np.float32([[1, 2, 3, -np.inf]])
    three = softmax([1.0, 2.0, 3.0])
    np.testing.assert_allclose(fitted("entropy")(X[:1], z), scipy_entropy(three), rtol=1e-6)
    np.testing.assert_allclose(fitted("max_softmax")(X[:1], z), 1 - three.max(), rtol=1e-6)
    np.testing.assert_allclose(fitted("energy")(X[:1], z), -logsumexp([1, 2, 3]), rtol=1e-6)


@pytest.mark.parametrize("name", ["kl_matching", "temperature_scaling", *(name for name in BOTH if name != "lts")])
def test_fitted_to_no_image_all_are_strange(name):
    fit, score = tools(name)
    state = fit(outputs(X, Z), np.full(N, K, np.int32))
    assert np.isposinf(score(state, outputs(QUERIES, ZQ))).all()


@pytest.mark.parametrize("name", LINEAR)
def test_without_a_linear_head_every_score_is_nan(name):
    fit, score = tools(name)
    crooked = outputs(X, 5 * np.sin(Z))
    assert np.isnan(score(fit(crooked, Y), crooked)).all()
    coarse = outputs(X, np.asarray(jnp.asarray(Z, jnp.bfloat16).astype(jnp.float32)))
    np.testing.assert_allclose(score(fit(coarse, Y), outputs(QUERIES, ZQ)), fitted(name)(QUERIES, ZQ), rtol=0.1, atol=1)


# Logits without features, and other numbers of them


@pytest.mark.parametrize("name", LOGITS)
def test_logits_alone_are_enough(name):
    fit, score = tools(name)
    alone = {"logits": jnp.asarray(Z)}
    np.testing.assert_array_equal(score(fit(alone, Y), {"logits": jnp.asarray(ZQ)}), fitted(name)(QUERIES, ZQ))


SEVEN = np.random.default_rng(5).normal(size=(D, 7))


def test_a_network_may_know_other_classes():
    """A pre-trained network's thousand, of images of four."""
    known = outputs(X, logits_of(X, SEVEN, 0))
    fit, score = tools("kl_matching", logits=7)
    assert np.isfinite(score(fit(known, Y), known)).all()
    for name in ("kl_matching", *LINEAR):
        with pytest.raises(ValueError, match="logits=7"):
            tools(name)[0](known, Y)


# The last layer


@functools.partial(jax.jit, static_argnums=2)
def recovered(x, z, logits=None):
    stats = _head.init(N, x.shape[1], K, logits)
    stats = _head.update(stats, {"features": x, "logits": z}, Y, np.ones(N, bool), "features", logits)
    return _head.solve(*_head.rows(stats, logits))


def test_the_last_layer_of_a_network_that_knows_other_classes():
    np.testing.assert_allclose(recovered(X, logits_of(X, SEVEN, 0), 7).kernel, SEVEN, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("scales", [1.0, 1e3])
def test_the_last_layer_is_recovered(offset, scales):
    """Features of unlike scale, and far from the origin; 1e3 squared would be 1e6, 1/float32's eighth."""
    scale = np.geomspace(1, scales, D).astype(np.float32)
    x = (X + np.float32(offset)) * scale
    kernel = KERNEL / scale[:, None]
    layer = recovered(x, logits_of(x, kernel))
    np.testing.assert_allclose(layer.kernel * scale[:, None], KERNEL, atol=2e-5 if offset else 3e-6)
    np.testing.assert_allclose(_head.apply(layer, x), logits_of(x, kernel), atol=1e-4 if offset else 2e-5)


def test_nearly_parallel_features_keep_their_own_weights():
    """A condition of 1e4: of 1e8 to the normal equations, more than float32 has digits."""
    x = X.copy()
    x[:, 1] = x[:, 0] + 2e-4 * x[:, 1]
    layer = recovered(x, logits_of(x))
    np.testing.assert_allclose(layer.kernel.sum(1)[2:], KERNEL.sum(1)[2:], atol=1e-4)
    other = X.copy()
    other[:, 1] = other[:, 0] + 0.1 * other[:, 1]
    np.testing.assert_allclose(_head.apply(layer, other), logits_of(other), atol=0.2)


def test_of_many_last_layers_the_smallest():
    """Twice the same feature, one that is dead and one that is constant up to rounding: the weight is shared, 0, 0."""
    x = X.copy()
    x[:, 1], x[:, 2], x[:, 3] = x[:, 0], 0, 7.3
    x[::2, 3] = np.nextafter(x[::2, 3], np.float32(8))
    layer = recovered(x, logits_of(x))
    shared = (KERNEL[0] + KERNEL[1]) / 2
    np.testing.assert_allclose(layer.kernel[:4], np.stack([shared, shared, 0 * shared, 0 * shared]), atol=1e-5)
    np.testing.assert_allclose(_head.apply(layer, x), logits_of(x), atol=2e-5)


@pytest.mark.parametrize(("name", "equation"), [("ash", ash), ("fdbd", fdbd), ("react", react), ("vim", vim)])
def test_what_a_dead_feature_does_is_known_from_the_weights_alone(name, equation, monkeypatch):
    """One that is 0 on all training images and not on those to score; recovered, its weights would be 0."""
    x = np.where(np.arange(D) == 2, np.float32(0), X)
    z = logits_of(x)
    for key, value in {"X": x, "Z": z}.items():
        monkeypatch.setitem(globals(), key, value)  # what the equations are fitted to
    expected = equation(QUERIES) if name in ("ash", "react") else equation(QUERIES, ZQ)
    scorer = scorers.make(name, capacity=N, kernel=KERNEL)
    state = jax.jit(lambda o: scorers.fit(scorer, o, jnp.asarray(Y), K))(outputs(x, z))
    size = np.abs(expected).max()
    score = jax.jit(scorer.score)
    np.testing.assert_allclose(score(state, outputs(QUERIES)), expected, rtol=2e-5, atol=1e-5 * size)
    recovered = tools(name)[0](outputs(x, z), Y)
    assert np.abs(tools(name)[1](recovered, outputs(QUERIES)) - expected).max() > 1e-3 * size


def test_weights_that_are_not_the_network_s_are_found_out():
    scorer = scorers.make("react", capacity=N, kernel=KERNEL[:, ::-1])
    state = jax.jit(lambda o, y: scorers.fit(scorer, o, y, K))(outputs(X), Y)
    assert np.isnan(jax.jit(scorer.score)(state, outputs(X))).all()
    with pytest.raises(ValueError, match=r"kernel of shape \(4, 12\): .* from 12 features to 4 logits has \(12, 4\)"):
        scorers.fit(scorers.make("react", capacity=N, kernel=KERNEL.T), outputs(X), jnp.asarray(Y), K)


def test_vim_of_features_that_leave_no_residual_matches_rounding():
    x = np.concatenate([X[:, : D // 2]] * 2, 1)
    z = logits_of(x)
    fit, score = tools("vim")
    state = fit(outputs(x, z), Y)
    u = -np.linalg.pinv(KERNEL[: D // 2].T + KERNEL[D // 2 :].T) @ BIAS  # both halves of the smallest head are equal
    reach = np.linalg.norm(x - np.concatenate([u, u]), axis=1).mean()
    residual = np.linalg.norm(QUERIES[:, : D // 2] - QUERIES[:, D // 2 :], axis=1) / np.sqrt(2)
    expected = np.abs(z.max(1).mean()) / (8 * 2.0**-23 * reach) * residual
    np.testing.assert_allclose(score(state, outputs(QUERIES, ZQ)), expected, rtol=1e-2)


# ODIN


def network(params, images):
    z = jnp.matmul(jnp.tanh(images.reshape(len(images), -1)), params, precision="highest")
    return {"logits": z * jnp.float32(10)}


perturbed, odin = (jax.jit(functools.partial(f, network), static_argnums=3) for f in (scorers.perturbed, scorers.odin))


def test_odin_is_that_of_float64():
    """The step by finite differences of the paper's log softmax, the score up to what ranks the same."""
    rng = np.random.default_rng(0)
    images, params = rng.normal(size=(20, 2, 3, 1)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    epsilon, t = 0.05, 1e5  # at which a softmax in float32 differs from 1/3 in its last digits

    def log_p(images):
        z = 10 * np.tanh(images.reshape(len(images), -1)) @ params.astype(np.float64)
        return log_softmax(z / t, axis=1)

    own = images.astype(np.float64)
    best = log_p(own).argmax(1)
    moved = own.copy().reshape(20, -1)
    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-4
        up, down = (log_p(own.reshape(20, -1) + s * step)[np.arange(20), best] for s in (1, -1))
        moved[:, i] += epsilon * np.sign(up - down)
    moved = moved.reshape(images.shape)
    np.testing.assert_allclose(perturbed(params, images, epsilon, t), moved, atol=1e-6)
    score = odin(params, images, epsilon, t)
    np.testing.assert_allclose(score, -log_p(moved).max(1) - np.log(3), rtol=1e-4)
    assert (score < odin(params, images, 0.0, t)).all()


def test_odin_of_a_nan_is_one_and_no_other_image_notices():
    rng = np.random.default_rng(0)
    images, params = rng.normal(size=(20, 2, 3, 1)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    clean = odin(params, images, 0.05, 1000.0)
    images[1, 0, 0, 0] = np.nan
    got = odin(params, images, 0.05, 1000.0)
    assert np.isnan(got[1])
    np.testing.assert_array_equal(np.delete(got, 1), np.delete(clean, 1))


# Options


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("energy", {"temperature": 0.0}, "temperature"),
        ("react", {"temperature": float("nan")}, "temperature"),
        ("react", {"quantile": 0.0}, "quantile"),
        ("ash", {"shaping": "x"}, "shaping 'x'"),
        ("ash", {"pruned": 1.0}, "pruned"),
        ("gen", {"gamma": 1.0}, "gamma"),
        ("gen", {"top": 0}, "top"),
        ("kl_matching", {"by": "image"}, "by 'image'"),
        ("vim", {"components": -1}, "components"),
        ("nnguide", {"k": 11, "capacity": 10}, "k=11"),
    ],
)
def test_options_out_of_range_are_refused(name, options, match):
    with pytest.raises(ValueError, match=match):
        scorers.make(name, **options)


def test_shapes_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="at least 2 classes"):
        scorers.fit(scorers.make("max_softmax"), {"logits": jnp.zeros((5, 1))}, jnp.zeros(5, jnp.int32), 1)
    with pytest.raises(ValueError, match="4 logits for 3 classes"):
        scorers.fit(scorers.make("she"), outputs(X, Z), jnp.asarray(Y), 3)
    with pytest.raises(ValueError, match="known from more than 12 images"):
        scorers.make("react", capacity=12).init(12, 4)
    with pytest.raises(ValueError, match="leave no residual"):
        scorers.make("vim", components=12).init(12, 4)
    with pytest.raises(ValueError, match="temperature"):
        scorers.odin(network, jnp.zeros((6, 3)), jnp.zeros((1, 2, 3, 1)), temperature=0.0)


def test_a_sample_that_is_not_full_has_the_limit_of_what_it_holds():
    """ReAct's quantile is that of features seen; rows that nothing fills are zeros."""
    limits = [float(tools("react", capacity=capacity)[0](outputs(X, Z), Y).limit) for capacity in (N, 4 * N)]
    np.testing.assert_allclose(limits, np.quantile(X, 0.9), rtol=1e-6)


def test_vims_alpha_is_positive_where_all_logits_are_negative():
    """The paper's has the sign of the mean of the largest logits, and would make outliers normal."""
    low = Z - 100
    assert low.max() < 0
    state = tools("vim")[0](outputs(X, low), Y)
    assert 0 < float(state.alpha) < np.inf
