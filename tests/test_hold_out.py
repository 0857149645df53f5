"""How many pictures are held out, and what the threshold promises by them."""

from __future__ import annotations

import numpy as np
import pytest

from adjax.auto import fit
from adjax.data import DataError


@pytest.mark.parametrize(("n", "alpha", "count"), [(50, 0.05, 20), (100, 0.05, 20), (1000, 0.05, 200), (200, 0.01, 99)])
def test_as_many_are_held_out_as_the_promise_takes(n, alpha, count):
    parts = fit.hold_out(np.zeros(n, int), alpha, seed=0)
    assert len(parts.held_out) == count
    assert sorted([*parts.train, *parts.held_out]) == list(range(n))
    assert count >= 1 / alpha - 1


def test_many_small_classes_keep_the_promise_too():
    labels = np.arange(96) % 8  # a class's share of 20 is 2.5, and 8 × 2 would be too few
    parts = fit.hold_out(labels, 0.05, seed=0)
    assert len(parts.held_out) >= 19
    assert set(labels[parts.train]) == set(labels)


@pytest.mark.parametrize(
    ("labels", "alpha", "why"),
    [
        (
            np.zeros(49, int),
            0.05,
            "49 normal images .* at least 50 are needed to train .* leave out method, or method='gmm' .* from 10 on",
        ),
        (
            np.zeros(100, int),
            0.01,
            r"takes 99 held-out images, and of 100 only 70 can be spared.*false_positive_rate=0\.015",
        ),
        (np.zeros(100, int), 1.5, "must lie between 0 and 1"),
        (np.arange(60) // 59, 0.05, "a class of 1 image"),
    ],
)
def test_a_promise_that_can_not_be_kept_is_refused(labels, alpha, why):
    with pytest.raises(DataError, match=why):
        fit.hold_out(labels, alpha, seed=0)


@pytest.mark.parametrize(("n", "alpha", "crossed"), [(99, 0.05, True), (100, 0.05, False), (100, 0.01, True)])
def test_a_frozen_network_is_cross_fitted_where_too_few_can_be_held_out(n, alpha, crossed):
    parts = fit.hold_out(np.zeros(n, int), alpha, seed=0, frozen=True)
    assert parts.crossed == crossed
    assert parts.calibrating == (n if crossed else 20)
    assert sorted([*parts.train, *parts.held_out]) == list(range(n))
    assert ("about" if crossed else "at most") in parts.promise(alpha)
    if not crossed:  # as if it were trained
        np.testing.assert_array_equal(parts.train, fit.hold_out(np.zeros(n, int), alpha, seed=0).train)


@pytest.mark.parametrize(("n", "rate"), [(19, "5.00%"), (38, "2.56%"), (39, "5.00%"), (58, "3.39%"), (98, "4.04%")])
def test_a_cross_fitted_rate_is_what_so_many_images_can_give(n, rate):
    """The ⌊0.05 (n + 1)⌋ highest of n scores are flagged."""
    promised = fit.hold_out(np.zeros(n, int), 0.05, seed=0, frozen=True).promise(0.05)
    assert promised.startswith(f"about {rate} of normal images")
    assert "5.00% was asked for" in promised


def test_a_share_that_was_asked_for_is_held_out_of_few_images_too():
    labels = np.zeros(50, int)
    parts = fit.hold_out(labels, 0.05, seed=0, share=0.3, frozen=True)
    assert (parts.crossed, parts.calibrating) == (False, 20)
    assert fit.hold_out(labels, 0.05, seed=0, frozen=True).crossed


@pytest.mark.parametrize(
    ("n", "copies", "why"),
    [
        (9, 0, "9 normal images that can be read: at least 10 are needed, and 19 for .* take 1 more"),
        (12, 3, "9 different normal images that can be read beside 3 copies"),
        (
            18,
            0,
            r"takes 19 different images to cross-fit, and there are 18. The way forward: .* false_positive_rate=0\.053",
        ),
        (30, 15, r"there are 15. The way forward: .* false_positive_rate=0\.063"),
    ],
)
def test_what_few_images_can_not_promise_is_refused(n, copies, why):
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 4, 1), np.uint8)
    images[n - copies :] = images[:copies]
    with pytest.raises(DataError, match=why):
        fit.hold_out(np.zeros(n, int), 0.05, 0, images, frozen=True)
    with pytest.raises(DataError, match=rf"at least {10 if n - copies < 10 else 50} are needed"):
        fit.hold_out(np.zeros(n, int), 0.05, 0, images)


def test_copies_of_a_picture_are_held_out_together(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), np.uint8)
    alone = fit.hold_out(np.zeros(100, int), 0.05, seed=0)
    same = fit.hold_out(np.zeros(100, int), 0.05, seed=0, images=images)
    assert same.copies == 0
    np.testing.assert_array_equal(same.held_out, alone.held_out)
    images[50:] = images[:50]
    parts = fit.hold_out(np.zeros(100, int), 0.05, seed=0, images=images)
    assert parts.copies == 50
    assert len(parts.held_out) == 20
    assert not set(parts.held_out % 50) & set(parts.train % 50)
    images[:] = images[:1]
    with pytest.raises(DataError, match="1 different normal images that can be read beside 99 copies"):
        fit.hold_out(np.zeros(100, int), 0.05, seed=0, images=images)


def test_the_share_of_normal_pictures_flagged_where_most_anomalies_are():
    normal, odd = np.arange(100, dtype=np.float32), np.concatenate([np.full(19, 89.5), [5]]).astype(np.float32)
    judged = fit.of_scores(1.0, normal, odd)
    assert judged.fpr95 == pytest.approx(0.1)  # the other convention, anomalies accepted, has 0.95
