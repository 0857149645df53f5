"""What a run hands to its report: which members, which plane of the features, where images are odd."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from sklearn.decomposition import PCA
from tiers import daily

from adjax import scorers
from experiments import report, views
from experiments.evaluate import Judged


def judged(outputs=None, detector=None, n=300) -> Judged:
    truth = (np.arange(n) % 3 == 0).astype(int)
    return Judged(detector, {}, {}, outputs or {}, np.zeros(n, np.float32), truth)


def test_the_plane_is_that_of_the_normal_images():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)) + 3).astype(np.float32)
    one = judged({"features": x})
    x[one.truth == 1] *= 50  # must not matter
    normal = x[one.truth == 0]
    points, about = views.plane(one)
    ours = PCA(2).fit(normal)
    expected = (x - normal.mean(0)) @ ours.components_.T
    np.testing.assert_allclose(np.abs(points), np.abs(expected), rtol=1e-3, atol=1e-2)
    assert f"{ours.explained_variance_ratio_[0]:.0%}" in about
    x[0] = np.nan
    assert np.isfinite(views.plane(one)[0][1:]).all()


@pytest.mark.parametrize("outputs", [{}, {"features": np.zeros((300, 1))}, {"features": np.zeros((300, 5001))}])
def test_no_plane_where_there_is_none(outputs):
    assert views.plane(judged(outputs)) == (None, "")


@pytest.mark.parametrize(
    ("name", "flat"),
    [
        *daily(
            [(name, flat) for name in ("padim", "patchcore") for flat in (False, True)],
            ("patchcore", False),
        )
    ],
)
def test_scorers_that_tell_where_are_asked(name, flat):
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(40, 3, 4, 6)).astype(np.float32)
    odd = patches[:5].copy()
    odd[:, 1, 2] += 30
    options = {"grid": (3, 4)} if name == "padim" else {"capacity": 500, "coreset": 50}
    scorer = scorers.make(name, **options)
    labels = np.zeros(40, np.int32)
    fit = jax.jit(lambda given: scorers.fit(scorer, given, labels, 1))
    state = fit({"features": patches.mean((1, 2)), "patches": patches})
    spec = SimpleNamespace(names=("method", "model", name), scorer_options=tuple(options.items()))
    given = odd.reshape(5, 12, 6) if flat else odd
    detector = SimpleNamespace(spec=spec, scorer=state, outputs=lambda images, names: {"patches": given})
    maps = views.anomaly_maps(judged(detector=detector), np.zeros((5, 8, 8, 1), np.uint8))
    if flat and name == "patchcore":
        assert maps is None  # nobody says how they lie
        return
    assert maps.shape == (5, 3, 4)
    assert (maps.reshape(5, -1).argmax(1) == 1 * 4 + 2).all()


def test_other_scorers_tell_nothing():
    detector = SimpleNamespace(spec=SimpleNamespace(names=("a", "b", "mahalanobis")))
    assert views.anomaly_maps(judged(detector=detector), np.zeros((1, 8, 8, 1), np.uint8)) is None


def members(settings, seeds, classes):
    """In the order of a run's table."""
    return [
        {"hparams": {"lam": s}, "seed": seed, "class": k}
        for s in range(settings)
        for seed in range(seeds)
        for k in range(classes)
    ]


@pytest.mark.parametrize(
    ("settings", "seeds", "classes", "kept", "expected"),
    [
        (3, 2, 1, 2, [2, 0, 1, 3, 4, 5]),
        (1, 5, 10, 0, list(range(10))),
        (5, 3, 1, 3, [3, 0, 6, 9, 12]),
        (3, 2, 10, 20, list(range(20, 30))),
        (1, 1, 100, 0, list(range(12))),
    ],
)
def test_the_kept_member_comes_first_and_not_too_many_follow(settings, seeds, classes, kept, expected):
    assert views._shown(members(settings, seeds, classes), kept) == expected


def test_spread_is_named_for_what_it_is_over():
    results = {"members": [{"class": "a"}]}
    form = "{:.2f}"
    assert report._spread({"n": 5, "sd": 0.1}, form, results) == ("± 0.10", "standard deviation over 5 seeds")
    several = {"n": 20, "sd": 0.3, "sd_seeds": 0.02, "seeds": 2}
    assert report._spread(several, form, results) == ("± 0.02", "mean of 10 classes; deviation over 2 seeds")
    one = {"n": 10, "sd": 0.3, "sd_seeds": 0.0, "seeds": 1}
    assert report._spread(one, form, results) == ("± 0.30", "standard deviation over 10 classes, one seed")
