"""Copies of pictures: which are found, and that none makes a promise seem kept that is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adjax
from adjax import crossfit, data
from adjax.auto import fit
from adjax.data.copies import near_copies

ROOT = Path(__file__).parent.parent
RNG = np.random.default_rng(0)
PICTURES = np.kron(RNG.integers(0, 256, (60, 8, 8, 1)), np.ones((1, 8, 8, 1))).astype(np.uint8)


def saved_again(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))[..., None]


def test_exact_copies_and_pictures_saved_again_are_copies():
    again = np.stack([saved_again(image, 70) for image in PICTURES[:9]])
    brighter = np.clip(PICTURES[:5].astype(int) + 2, 0, 255).astype(np.uint8)
    found = near_copies(np.concatenate([PICTURES, again, brighter, PICTURES[20:30]]))
    np.testing.assert_array_equal(found, [*range(60), *range(9), *range(5), *range(20, 30)])


@pytest.mark.parametrize(("sd", "n"), [(1, 200), (4, 200), (15, 200), (4, 50), (15, 3), (15, 2)])
def test_pictures_of_one_product_are_not_copies_of_one_another(sd, n):
    product = PICTURES[:1] // 2 + 64
    noise = RNG.normal(0, sd, (n, 64, 64, 1))
    found = near_copies(np.clip(product + noise, 0, 255).astype(np.uint8))
    assert len(np.unique(found)) == n


@pytest.mark.parametrize("others", [1, 40])
def test_nor_are_they_where_something_else_lies_among_them(others):
    """Which is so far away that every picture of the product is near every other."""
    product = np.repeat(PICTURES[:1] // 2 + 64, 20, 0)
    product[:, 20:28, 20:44] = RNG.integers(64, 192, (20, 8, 24, 1))  # a serial number
    found = near_copies(np.concatenate([product, np.zeros((1, 64, 64, 1), np.uint8), PICTURES[1:others]]))
    assert len(np.unique(found)) == len(found)


def test_frames_of_one_scene_are_copies_and_scenes_are_not():
    frames = np.repeat(PICTURES[:12] // 2, 5, 0) + RNG.integers(0, 3, (60, 64, 64, 1)).astype(np.uint8)
    np.testing.assert_array_equal(near_copies(frames), np.repeat(np.arange(12) * 5, 5))


def test_no_digit_is_a_copy_and_alike_pictures_of_any_number_are():
    digits = data.load("digits", "train").images
    assert len(np.unique(near_copies(digits))) == len(digits)
    assert near_copies(PICTURES[:1]).tolist() == [0]
    assert near_copies(np.zeros((5, 4, 4, 1), np.uint8)).tolist() == [0] * 5


def test_held_out_pictures_are_different_ones():
    parts = fit.hold_out(np.zeros(240, int), 0.05, 0, np.repeat(PICTURES, 4, 0))
    assert parts.copies == 180
    assert len(parts.held_out) == len(set(parts.held_out // 4)) == parts.calibrating == 20
    assert len(parts.train) == 160  # all copies of what is not held out
    assert not set(parts.held_out // 4) & set(parts.train // 4)
    assert "180 pictures" in (parts.told() or "")
    crossed = fit.hold_out(np.zeros(120, int), 0.05, 0, np.repeat(PICTURES[:30], 4, 0), frozen=True)
    np.testing.assert_array_equal(crossed.train, np.arange(30) * 4)
    assert (crossed.crossed, crossed.calibrating) == (True, 30)


def test_copies_count_once_wherever_a_detector_is_fitted():
    rows = RNG.normal(size=(30, 3)).astype(np.float32)
    more = np.concatenate([rows, rows, rows[:7]])
    held_out = adjax.detector_from(None, {}, "mahalanobis", rows[:20], held_out=more[20:])
    assert len(held_out.calibration_scores) == 30
    crossed = adjax.detector_from(None, {}, "mahalanobis", more, folds=crossfit.FOLDS)
    assert len(crossed.calibration_scores) == 30


def test_the_front_door_warns_of_copies():
    digits = data.load("digits", "train")
    zeros = digits.images[digits.labels == 0][:60]
    with pytest.warns(UserWarning, match="60 pictures, as the network sees them, are copies"):
        detector = adjax.train_detector(np.concatenate([zeros, zeros]), method="hog_ocsvm")
    assert len(detector.calibration_scores) == 60
    held_out = adjax.train_detector(zeros, method="hog_ocsvm", held_out=0.3)  # asked for
    assert len(held_out.calibration_scores) == 20


def flagged(images: np.ndarray, method: str, copies: int) -> float:
    """Share of fresh normal digits that are flagged, mean over eight draws of 60 of one class."""
    found = []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(images))
        train = np.repeat(images[order[:60]], copies, 0)
        detector = adjax.train_detector(train, method=method, model="hog", seed=seed)
        found.append(float(np.mean(detector.predict(images[order[60:]]))))
    return float(np.mean(found))


@pytest.mark.slow  # 32 fits
@pytest.mark.filterwarnings("ignore:180 pictures")
@pytest.mark.parametrize("method", ["hog_ocsvm", "gmm"])
def test_a_promise_made_by_copies_is_kept(method):
    digits = data.load("digits", "train")
    images = digits.images[digits.labels == 3]
    alone, repeated = flagged(images, method, 1), flagged(images, method, 4)
    print(method, alone, repeated)
    assert repeated < 0.08  # 5 % promised; without the mend 19 to 33 % of other pictures
    assert abs(repeated - alone) < 0.04
