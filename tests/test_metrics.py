"""Metrics against scikit-learn, SciPy and float64 NumPy; ties, NaN, padding, vmap, jit; hand-made cases."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy import stats
from sklearn import metrics as sk
from tiers import daily

from adjax import metrics

N = 64
CONVENTIONS = ("normal", "anomalous")


@jax.jit
def measured(scores, labels, mask):
    """Every ranking metric at once: XLA shares the sort."""
    return {
        "auroc": metrics.auroc(scores, labels, mask),
        "aupr": metrics.aupr(scores, labels, mask),
        **{p: metrics.fpr_at_tpr(scores, labels, mask, positive=p) for p in CONVENTIONS},
        "interval": metrics.auroc_interval(scores, labels, mask),
    }


def measure(scores, labels, mask=True, rows=1024):
    """Padded to one shape with rows that must not count, so that it compiles once."""
    n = len(scores)
    rows = max(n, rows)
    scores = np.concatenate([scores, np.full(rows - n, 0.5)]).astype(np.float32)
    mask = (np.arange(rows) < n) & np.resize(mask, rows)
    return jax.tree.map(np.asarray, measured(scores, np.resize(labels, rows).astype(np.int32), mask))


@pytest.fixture(autouse=True, scope="module")
def _strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def sk_fpr(scores, labels, tpr=0.95, positive="normal"):
    """OpenOOD's `fpr[argmax(tpr >= 0.95)]`, in both of its conventions."""
    is_positive = labels == (0 if positive == "normal" else 1)
    fprs, tprs, _ = sk.roc_curve(is_positive, -scores if positive == "normal" else scores, drop_intermediate=False)
    return fprs[np.argmax(tprs >= tpr)]


def sample(kind, n, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int32)
    scores = rng.normal(size=n) + labels
    match kind:
        case "ties":
            scores = np.round(scores * 3)
        case "binary":
            scores = (scores > 0.5).astype(float)
        case "constant":
            scores = np.zeros(n)
        case "separable":
            scores = scores + 100 * labels
        case "huge":
            scores = np.where(rng.random(n) < 0.2, np.where(rng.random(n) < 0.5, -1, 1) * 1e30, scores)
    return scores.astype(np.float32), labels


KINDS = ["continuous", "ties", "binary", "constant", "separable", "huge"]


def naive_delong(scores, labels, level=0.95):
    """DeLong by its definition: every anomaly against every normal image, in float64."""
    a, b = scores[labels == 1].astype(float)[:, None], scores[labels == 0].astype(float)[None]
    wins = (a > b) + 0.5 * (a == b)
    var = wins.mean(1).var(ddof=1) / wins.shape[0] + wins.mean(0).var(ddof=1) / wins.shape[1]
    half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(var)
    return np.clip([wins.mean() - half, wins.mean() + half], 0, 1)


def reference(scores, labels):
    return {
        "auroc": sk.roc_auc_score(labels, scores),
        "aupr": sk.average_precision_score(labels, scores),
        **{p: sk_fpr(scores, labels, positive=p) for p in CONVENTIONS},
    }


def assert_equal(ours, wanted):
    for name, value in wanted.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-6, rtol=0, err_msg=name)


MANY = 200_000


@pytest.mark.parametrize(
    ("kind", "n"),
    [
        *daily(
            [(kind, n) for kind in KINDS for n in (N, MANY)],
            *((kind, N) for kind in KINDS),
            ("ties", MANY),
        )
    ],
)
def test_equal_scikit_learn(kind, n):
    scores, labels = sample(kind, n)
    assert_equal(measure(scores, labels), reference(scores, labels))


def test_without_a_mask():
    scores, labels = sample("ties", N)
    wanted = measure(scores, labels)
    np.testing.assert_allclose(metrics.auroc(scores, labels), wanted["auroc"], rtol=1e-6)
    np.testing.assert_allclose(metrics.aupr(scores, labels == 1), wanted["aupr"], rtol=1e-6)
    np.testing.assert_allclose(metrics.fpr_at_tpr(scores, labels), wanted["normal"], rtol=1e-6)


def test_rare_anomalies_and_mann_whitney():
    rng = np.random.default_rng(1)
    labels = np.zeros(200_000, np.int32)
    labels[:7] = 1
    scores = np.round(rng.normal(size=labels.size) * 100).astype(np.float32)
    u = stats.mannwhitneyu(scores[:7], scores[7:]).statistic / (7 * (labels.size - 7))
    ours = measure(scores, labels)
    np.testing.assert_allclose(ours["auroc"], u, atol=1e-6, rtol=0)
    np.testing.assert_allclose(ours["aupr"], sk.average_precision_score(labels, scores), atol=1e-7)


whole = st.lists(st.integers(-8, 8), min_size=N, max_size=N)
binary = st.lists(st.integers(0, 1), min_size=N, max_size=N).filter(lambda y: 0 < sum(y) < N)


@settings(max_examples=20)
@given(whole, binary, st.randoms())
def test_only_the_order_of_scores_counts(scores, labels, random):
    scores, labels = np.array(scores, np.float32), np.array(labels)
    order = np.array(random.sample(range(N), N))
    ours = measure(scores, labels)
    assert_equal(ours, reference(scores, labels))
    value, low, high = ours.pop("interval")
    assert not (low > value)
    assert not (high < value)
    for other in (measure(np.exp(scores / 2) - 3, labels), measure(scores[order], labels[order])):
        for name, value in ours.items():  # monotone transform, permutation: bit for bit
            assert 0 <= value <= 1
            assert value == other[name], name
    for other in (measure(-scores, labels), measure(scores, 1 - labels)):
        np.testing.assert_allclose(ours["auroc"], 1 - other["auroc"], atol=2e-7)


@settings(max_examples=30, deadline=None)
@given(whole, binary, st.lists(st.booleans(), min_size=N, max_size=N))
def test_padding_counts_for_nothing(scores, labels, mask):
    scores, labels, mask = np.array(scores, np.float32), np.array(labels), np.array(mask)
    labels[:4], mask[:4] = [0, 1, 0, 1], True
    junk = np.random.default_rng(0).choice([np.nan, np.inf, -np.inf, 3.0], N)
    ours = measure(np.where(mask, scores, junk), labels, mask)
    assert_equal(ours, reference(scores[mask], labels[mask]))
    np.testing.assert_allclose(ours["interval"][1:], naive_delong(scores[mask], labels[mask]), atol=1e-5)


@pytest.mark.slow
def test_jit_changes_nothing():
    scores, labels = sample("ties", N)
    mask = np.arange(N) % 5 > 0
    with jax.disable_jit():
        eager = measured(scores, labels, mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), measure(scores, labels, mask), eager)


def test_vmap_changes_nothing():
    members = [sample(kind, N, seed) for seed, kind in enumerate(KINDS)]
    scores, labels = (np.stack(x) for x in zip(*members, strict=True))
    mask = np.random.default_rng(5).random(scores.shape) < 0.8
    together = jax.vmap(measured)(scores, labels, mask)
    for i in range(len(KINDS)):
        alone = measure(scores[i], labels[i], mask[i])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, atol=1e-7), together, alone)  # noqa: B023


def test_scores_below_the_least_normal_float_are_no_ties():
    scores, labels = np.float32([3e-40, -0.0, -2e-45, 0, 2e-40, 1e-45]), np.array([1, 1, 0, 0, 0, 1])
    assert_equal(measure(scores, labels), reference(1e40 * scores.astype(float), labels))


def test_nan_is_the_most_anomalous_score():
    scores, labels = sample("ties", N)
    broken, infinite = scores.copy(), scores.copy()
    broken[::5], infinite[::5] = np.nan, np.inf
    jax.tree.map(np.testing.assert_array_equal, measure(broken, labels), measure(infinite, labels))
    top = np.where(np.arange(N) == 3, np.nan, 0)
    assert measure(top, np.arange(N) == 3)["auroc"] == 1
    assert measure(top, np.arange(N) == 4)["auroc"] == np.float32(0.5 * (N - 2) / (N - 1))


@pytest.mark.parametrize("label", [0, 1, None])
def test_one_class_or_none_is_nan(label):
    labels, mask = np.full(N, label or 0), np.full(N, label is not None)
    for name, value in measure(np.arange(N), labels, mask).items():
        assert np.all(np.isnan(value)), name


@pytest.mark.parametrize(
    ("positive", "tpr", "wanted"),
    [
        ("normal", 0.95, 0.5),  # 0 … 18 are accepted (19 of 20 *is* 95 %), and with them 10 and 18
        ("anomalous", 0.95, 0.5),  # all four must be flagged, and with them 10 … 19
        ("normal", 0.5, 0.0),  # 0 … 9
        ("normal", 0.55, 0.25),  # 10 is tied: accepted together
        ("anomalous", 0.5, 0.05),  # 18.5 and 30 are flagged, and with them 19
        ("normal", 1.0, 0.75),
    ],
)
def test_the_two_fpr_conventions(positive, tpr, wanted):
    scores = np.concatenate([np.arange(20), [10, 18, 18.5, 30]]).astype(np.float32)
    labels = np.repeat([0, 1], [20, 4])
    ours = metrics.fpr_at_tpr(scores, labels, tpr=tpr, positive=positive)
    np.testing.assert_allclose(ours, wanted, rtol=1e-6)


def test_fpr_refuses_a_convention_that_is_none():
    with pytest.raises((ValueError, TypeError), match="ood"):
        metrics.fpr_at_tpr(np.arange(2.0), np.arange(2), positive="ood")  # type: ignore[arg-type]


@pytest.mark.parametrize("tpr", [95.0, 0.0, -0.1, np.nan])
def test_a_tpr_that_is_no_share_is_refused_or_where_it_is_traced_nan(tpr):
    rows = np.arange(4, dtype=np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(ValueError, match=rf"tpr={tpr}: must lie in \(0, 1\]"):
        metrics.fpr_at_tpr(*rows, tpr=tpr)
    with pytest.raises(ValueError, match="tpr="):
        metrics.fpr_at_tpr(*rows, tpr=jnp.float32(tpr))
    traced = jax.jit(lambda tpr: metrics.fpr_at_tpr(*rows, tpr=tpr))
    assert np.isnan(traced(tpr))
    assert traced(1.0) == 0.5


def test_levels_and_counts_that_are_none_are_refused():
    rows, key = (np.arange(4, dtype=np.float32), np.array([0, 1, 0, 1])), jax.random.key(0)
    for level in (95.0, 0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match=rf"level={level}: must lie in \(0, 1\)"):
            metrics.auroc_interval(*rows, level=level)
        with pytest.raises(ValueError, match=rf"level={level}: must lie in \(0, 1\)"):
            metrics.bootstrap(metrics.auroc, key, *rows, level=level)
    for name in ("resamples", "at_once"):
        with pytest.raises(ValueError, match=f"{name}=0: must be at least 1"):
            metrics.bootstrap(metrics.auroc, key, *rows, **{name: 0})


def test_tpr_needs_no_image_too_many():
    for n in range(20, 500, 20):
        scores, labels, mask = np.arange(1000), np.tile([0, 1], 500), np.arange(1000) < 2 * n
        wanted = sk_fpr(scores[mask], labels[mask])
        np.testing.assert_allclose(measure(scores, labels, mask)["normal"], wanted, rtol=1e-6)


@pytest.mark.parametrize("present", [(0, 1, 2, 3), (0, 2), (3,)])
def test_classification(present):
    rng = np.random.default_rng(len(present))
    labels, pred = rng.choice(present, 500), rng.choice(present, 500)
    pred = np.where(rng.random(500) < 0.6, labels, pred)
    mask = rng.random(500) < 0.5
    few, right = jax.jit(metrics.f1), jax.jit(metrics.accuracy)
    for m in (None, mask):
        y, p = (labels, pred) if m is None else (labels[m], pred[m])
        np.testing.assert_allclose(metrics.macro_f1(pred, labels, 5, m), sk.f1_score(y, p, average="macro"), atol=1e-6)
        np.testing.assert_allclose(right(pred, labels, m), sk.accuracy_score(y, p), atol=1e-6)
        np.testing.assert_allclose(
            few(pred == 3, labels == 3, m), sk.f1_score(y == 3, p == 3, zero_division=0), atol=1e-6
        )
    np.testing.assert_allclose(
        jax.vmap(lambda p, y: metrics.macro_f1(p, y, 5))(jnp.stack([pred, labels]), jnp.stack([labels] * 2)),
        [float(metrics.macro_f1(pred, labels, 5)), 1.0],
    )


def test_absent_classes_and_rejected_predictions():
    labels, pred = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 3])
    # F1 of 0, 1, 3 is 1, 2/3 and 0 (only predicted: counts); 2 is nowhere and is left out
    np.testing.assert_allclose(metrics.macro_f1(pred, labels, 4), (1 + 2 / 3 + 0) / 3, rtol=1e-6)
    pred[3] = -1  # no class: only a miss of class 1
    np.testing.assert_allclose(metrics.macro_f1(pred, labels, 4), (1 + 2 / 3) / 2, rtol=1e-6)
    assert float(metrics.f1(np.zeros(4, bool), np.zeros(4, bool))) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_delong(kind):
    scores, labels = sample(kind, 500)
    value, *limits = measure(scores, labels)["interval"]
    np.testing.assert_allclose(value, sk.roc_auc_score(labels, scores), atol=1e-6)
    np.testing.assert_allclose(limits, naive_delong(scores, labels), atol=1e-5)


def test_delong_covers_the_truth_as_often_as_it_says():
    labels = np.repeat([0, 1], [60, 40])
    scores = np.random.default_rng(0).normal(size=(1000, 100)).astype(np.float32) + labels
    interval = jax.jit(jax.vmap(partial(metrics.auroc_interval, level=0.9), in_axes=(0, None)))
    _, low, high = (np.asarray(x) for x in interval(scores, labels))
    truth = stats.norm.cdf(1 / np.sqrt(2))
    assert 0.87 < np.mean((low <= truth) & (truth <= high)) < 0.93  # 3 standard errors of 1000 trials
    np.testing.assert_allclose([low[0], high[0]], naive_delong(scores[0], labels, 0.9), atol=1e-5)


def test_delong_is_nan_where_a_class_has_one_image():
    value, low, high = measure(np.arange(N), np.arange(N) == N - 1)["interval"]
    assert value == 1
    assert np.isnan([low, high]).all()


def test_bootstrap():
    scores, labels = sample("continuous", 400)
    draw = partial(metrics.bootstrap, metrics.auroc, resamples=400)
    value, low, high = draw(jax.random.key(0), scores, labels)
    np.testing.assert_allclose(value, sk.roc_auc_score(labels, scores), atol=1e-6)
    np.testing.assert_allclose([low, high], naive_delong(scores, labels), atol=0.012)
    np.testing.assert_array_equal(draw(jax.random.key(0), scores, labels), [value, low, high])
    assert float(draw(jax.random.key(1), scores, labels).low) != float(low)


def test_bootstrap_is_stratified_and_leaves_padding_alone():
    rng = np.random.default_rng(0)
    labels, mask = rng.integers(0, 3, 50), rng.random(50) < 0.7
    scores = np.where(mask, labels, 1000).astype(np.float32)

    def counts(scores, labels, mask):  # of each label, and that scores travel with their labels
        right = jnp.all(jnp.where(mask, scores == labels.astype(jnp.float32), True))
        return jnp.where(right, jnp.sum(jnp.where(mask, 10**labels, 0)).astype(jnp.float32), -1.0)

    value, low, high = metrics.bootstrap(counts, jax.random.key(0), scores, labels, mask, resamples=20)
    assert float(low) == float(high) == float(value) == np.sum(10.0 ** labels[mask])


def test_several_figures_of_the_same_draws():
    scores, labels = sample("continuous", 200)

    def both(scores, labels):
        return jnp.stack([metrics.auroc(scores, labels), metrics.aupr(scores, labels)])

    key = jax.random.key(0)
    draw = partial(metrics.bootstrap, key=key, scores=scores, labels=labels, resamples=30, at_once=7)
    apart = zip(draw(metrics.auroc), draw(metrics.aupr), strict=True)
    for found, each in zip(draw(both), apart, strict=True):
        np.testing.assert_allclose(found, each, rtol=1e-6)
    twice = metrics.bootstrap(
        lambda x, y: metrics.auroc(x[:, 1], y), key, np.stack([labels, scores], 1), labels, resamples=30
    )
    np.testing.assert_array_equal(twice, draw(metrics.auroc, at_once=1))


@pytest.mark.slow
def test_bootstrap_draws_uniformly_and_with_replacement():
    scores, labels = np.arange(40, dtype=np.float32), np.repeat([0, 1], 20)
    half = 1.96 * np.arange(20).std() / np.sqrt(40)
    found = [
        metrics.bootstrap(lambda s, _: jnp.mean(s), jax.random.key(0), scores, labels, resamples=500, at_once=at_once)
        for at_once in (500, 64)
    ]
    np.testing.assert_allclose(found[0], [19.5, 19.5 - half, 19.5 + half], atol=0.3)
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_shapes_in_signatures_are_checked():
    """By beartype, under pytest alone: labels that are not as many as scores."""
    pytest.importorskip("beartype")
    with pytest.raises(TypeCheckError, match="labels"):
        metrics.auroc(np.zeros(4, np.float32), np.zeros(3, np.int32))


def test_lengths_that_differ_are_named():
    """Where no beartype checks them: in another process."""
    script = (
        "import numpy as np\nfrom adjax import metrics as m\n"
        "k, s = np.zeros(4, np.int32), np.zeros(3, np.float32)\n"
        "for f in (m.auroc, m.aupr, m.fpr_at_tpr, m.auroc_interval, lambda *p: m.auroc(s, k[:3], k > 0), m.accuracy,"
        " m.f1, lambda *p: m.macro_f1(*p, 2)):\n"
        "    try:\n        f(s, k)\n    except ValueError as error:\n        print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    of = "{} [3] and {} [4]: must be [n], one for each image".format
    scores, pred = of("scores", "labels"), of("pred", "labels")
    assert result.stdout.splitlines() == [*[scores] * 4, of("scores", "mask"), *[pred] * 3]


def test_of_no_rows_nothing_is_known():
    none = np.zeros(0, np.float32), np.zeros(0, np.int32)
    for figure in (metrics.auroc, metrics.aupr, metrics.fpr_at_tpr):
        assert np.isnan(figure(*none))
