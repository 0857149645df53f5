"""The data set "photographs": crops of what scikit-learn brings, to be judged by and never trained on."""

import numpy as np
import pytest

from adjax.data import DataError, find
from adjax.data.datasets import synthetic
from adjax.data.protocols import task


@pytest.fixture(scope="module")
def crops():
    return find("photographs").load("test", None)


def test_photographs_are_crops_that_fit_mnist(crops):
    assert (crops.images.shape, crops.images.dtype) == ((10_000, 28, 28, 1), np.uint8)
    assert len({crop.tobytes() for crop in crops.images}) > 9_900
    np.testing.assert_array_equal(
        crops.images[:99], synthetic.photograph_crops(99, 28, np.random.default_rng(synthetic.SEED))
    )
    assert np.abs(np.bincount(crops.labels) - 5_000).max() < 300


@pytest.mark.slow
def test_a_crop_is_a_piece_of_the_photograph_that_its_label_names(monkeypatch):
    """One in four is at full scale, and so is somewhere in that photograph pixel for pixel."""
    from sklearn.datasets import load_sample_images

    photographs = [image.mean(-1).astype(np.uint8) for image in load_sample_images().images]
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 80)
    small = find("photographs", side_px=8).load("test", None)
    found = 0
    for crop, label in zip(small.images[..., 0], small.labels, strict=True):
        corners = np.argwhere(photographs[label][:-7, :-7] == crop[0, 0])
        found += any((photographs[label][y : y + 8, x : x + 8] == crop).all() for y, x in corners)
    assert 8 < found < 32


def test_photographs_stand_for_strangers(monkeypatch):
    monkeypatch.setattr(synthetic, "TEST_IMAGES", 20)
    with pytest.raises(DataError, match="OOD images are 28×28×1, the in-distribution ones 8×8×1"):
        task("digits", "photographs")


def test_photographs_refuse_by_value_limit_and_mend():
    with pytest.raises(DataError, match="without training images: use its test split"):
        find("photographs").load("train", None)
    with pytest.raises(DataError, match="can't be cut to 107 px: must be 1 to 106"):
        find("photographs", side_px=107).load("test", None)
