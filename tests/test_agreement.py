"""What the tables of agreement and streaming are made of: comparisons, float64 equations, rows."""

import json
from functools import partial

import numpy as np
import pytest

from benchmarks import agreement, exact, streaming

RNG = np.random.default_rng(0)
M, N, D, K = 400, 60, 24, 4


def given():
    """Rectified features of a made classifier, one of them rare and one that no image has."""
    looks = 3 * np.abs(RNG.normal(size=(K, D)))
    kernel, bias = (looks - looks.mean(0)).T / 12 + RNG.normal(size=(D, K)) / 3, RNG.normal(size=K) + 3
    x = np.maximum(looks[RNG.integers(0, K, M + N)] + 1.5 * RNG.normal(size=(M + N, D)), 0)
    x[1:, -2], x[:M, -1] = 0, 0
    x, kernel, bias = (a.astype(np.float32) for a in (x, kernel, bias))
    z = (np.float64(x) @ kernel + bias).astype(np.float32)
    y = np.where(np.arange(M) % 9 > 0, z[:M].argmax(1), np.arange(M) % K)  # some are classified wrongly
    return exact.Given(x[:M], z[:M], y.astype(np.int32), x[M:], z[M:], kernel, bias)


GIVEN = given()
SEEN = agreement.seen(GIVEN)
_COMMON = GIVEN._replace(x=GIVEN.x[:, :-2], query=GIVEN.query[:, :-2], kernel=GIVEN.kernel[:-2])
COMMON = agreement.seen(_COMMON._replace(y=np.arange(M, dtype=np.int32) % K))
"""Without the rare feature, and with as many images of each class: else a class has a singular covariance."""


FAMILIES = "energy", "knn", "mahalanobis", "vim, weights given"
"""They stand for all, whose equations other tests have as well; all with -m slow."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAMILIES else pytest.mark.slow)
        for name in (*agreement.LOGITS, *agreement.FEATURES, *agreement.WEIGHTS)
    ],
)
def test_ours_are_the_equation_in_float64(name):
    case = {**agreement.LOGITS, **agreement.FEATURES, **agreement.WEIGHTS}[name]
    given = GIVEN if case.weights else COMMON if name == "gmm_perclass" else SEEN
    found = agreement.ours(name.split(",")[0], agreement.options_for(case, given), given, case.weights)
    truth = case.truth(given)
    assert np.abs(found - truth).max() < 1e-4 * np.abs(truth).max()


@pytest.mark.parametrize(
    "name",
    [
        "dice",
        "gen",
        "lts",
        "mahalanobis",
        "mahalanobis, shrunk",
        "pca",
        "react",
        "relative_mahalanobis",
        "scale",
        "vim",
    ],
)
def test_a_peer_is_in_our_units(name):
    pytest.importorskip("pytorch_ood")
    case = {**agreement.LOGITS, **agreement.FEATURES}[name]
    truth = case.truth(SEEN)
    np.testing.assert_allclose(np.median(case.theirs(SEEN) / truth), 1, rtol=1e-3)


def test_features_that_no_image_has_are_left_out():
    assert SEEN.x.shape == (M, D - 1)
    np.testing.assert_array_equal(SEEN.query, GIVEN.query[:, :-1])
    np.testing.assert_allclose(SEEN.answers, SEEN.query @ SEEN.kernel + SEEN.bias, rtol=1e-4, atol=1e-4)


def test_differences_are_shares_of_the_largest():
    ours, theirs, truth = np.float32([1, 2, 3, 4]), np.float32([1, 2, 3, 5]), np.array([1, 2, 2.5, 5])
    found = agreement.compared(ours, theirs, truth, np.array([False, True, False, True]))
    wanted = {"difference": 1 / 4, "rank": 1, "auroc_ours": 0.75, "error_ours": 1 / 5, "error_theirs": 0.5 / 5}
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)
    assert agreement.compared(ours, theirs, None, truth > 2)["error_ours"] is None


def test_a_difference_is_explained_and_agreement_is_not(monkeypatch):
    case = agreement.Case("peer", lambda g: g.answers.max(1), lambda g: -g.answers.max(1))
    strange = np.arange(N) % 2 > 0
    row = partial(agreement.row, "sure", "max_logit", given=GIVEN, strange=strange)
    assert row(case)["why"] == "not explained"
    monkeypatch.setitem(agreement.WHY, ("sure", "max_logit"), "the other way round")
    assert row(case)["why"] == "the other way round"
    assert row(case._replace(theirs=case.truth))["why"] == ""


def test_what_has_no_solution_has_no_error():
    case = agreement.FEATURES["mahalanobis"]
    found = agreement.row(
        "as they are", "mahalanobis", case._replace(theirs=lambda g: g.query[:, 0]), GIVEN, GIVEN.query[:, 0] > 1
    )
    assert found["error_ours"] is None
    assert " |  |  | " in agreement.markdown([found], where())


def where():
    devices = {"platform": "cpu"}
    counts = {"all": 3, "dead": 1}
    return {
        "versions": {"jax": "0"},
        "peers": {},
        "features": counts,
        "command": "c",
        "date": "d",
        "devices": devices,
    } | {"cores": 1, "cpu": "c", "python": "3"}


# Streaming


def test_the_same_rows_are_summed_in_float64():
    source = streaming.Source(5000, 6, truth=True)
    parts = [(x["features"], y) for x, y in source]
    assert [len(y) for _, y in parts] == [2048, 2048, 904]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    assert x.dtype == np.float32
    assert np.abs(x.mean(0) - 1e4).max() < 0.2
    means, cov = source.moments()
    truth = np.stack([x[y == k].mean(0, dtype=np.float64) for k in range(streaming.CLASSES)])
    np.testing.assert_allclose(means, truth - 1e4, atol=1e-9)
    rest = x - truth[y]
    np.testing.assert_allclose(cov, rest.T @ rest / len(x), atol=1e-9)


@pytest.mark.parametrize("name", streaming.SCORERS)
def test_a_stream_is_measured(name, monkeypatch):
    monkeypatch.setitem(streaming.SCORERS, "pca", {"components": 3})
    row = streaming.measured(name, 6000, 12)
    assert row["peak_mib"] > 50
    assert min(row["fit_s"], row["making_s"]) > 0
    assert {"mean", "covariance", "distance"} >= row["errors"].keys() >= {"distance"}
    assert max(row["errors"].values()) < 1e-4
    table = streaming.markdown([row], where())
    assert f"| {name} | 6,000 |" in table
    json.dumps(row)
