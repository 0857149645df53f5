"""Pixel metrics against plain NumPy and scikit-learn, threshold by threshold; masks found by their layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import measure
from sklearn.metrics import roc_auc_score

from adjax import pixel_metrics
from adjax.data.io import masks

RNG = np.random.default_rng(0)
MASKS = np.zeros((4, 12, 10), bool)
MASKS[1, 2:5, 3:7], MASKS[1, 5, 7], MASKS[1, 9:11, 1:3] = True, True, True  # a corner joins; a second region
MASKS[2, 0, :] = True
MAPS = (RNG.normal(size=MASKS.shape) + 1.2 * MASKS).round(1).astype(np.float32)  # with many ties


def slow_aupro(maps, truth, limit):
    """Each threshold by itself; linear between them, cut at the limit."""
    regions = [
        (n, measure.label(truth[n], connectivity=2) == k)
        for n in range(len(truth))
        for k in range(1, measure.label(truth[n], connectivity=2).max() + 1)
    ]
    area, x, y = 0.0, 0.0, 0.0
    for threshold in np.unique(maps)[::-1]:
        found = threshold <= maps
        right, above = found[~truth].mean(), np.mean([found[n][region].mean() for n, region in regions])
        if right > x:
            cut = min(right, limit)
            at_cut = y + (above - y) * (cut - x) / (right - x)
            area += max(cut - x, 0) * (y + at_cut) / 2
        x, y = right, above
        if x >= limit:
            break
    return area / limit


@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
def test_aupro_is_the_area_under_every_threshold(limit):
    assert float(pixel_metrics.aupro(MAPS, MASKS, limit)) == pytest.approx(slow_aupro(MAPS, MASKS, limit), abs=2e-6)


def test_a_small_region_counts_as_much_as_a_large_one():
    truth = np.zeros((1, 20, 20), bool)
    truth[0, :10], truth[0, 15, 15] = True, True
    only_large = truth.astype(np.float32)
    only_large[0, 15, 15] = 0
    assert float(pixel_metrics.pixel_auroc(only_large, truth)) > 0.99
    assert float(pixel_metrics.aupro(only_large, truth)) < 0.6


def test_pixel_auroc_is_that_of_all_pixels():
    expected = roc_auc_score(MASKS.ravel(), MAPS.ravel())
    assert float(pixel_metrics.pixel_auroc(MAPS, MASKS)) == pytest.approx(expected, abs=1e-6)


def test_the_highest_f1_of_all_thresholds():
    each = {}
    for threshold in np.unique(MAPS):
        found = threshold <= MAPS
        each[threshold] = 2 * (found & MASKS).sum() / (found.sum() + MASKS.sum())
    best, at = pixel_metrics.pixel_f1_max(MAPS, MASKS)
    assert float(best) == pytest.approx(max(each.values()), rel=1e-6)
    assert float(at) == pytest.approx(max(each, key=each.get))


def test_a_pixel_that_is_not_a_number_is_the_most_anomalous():
    broken, infinite = MAPS.copy(), MAPS.copy()
    broken[0, 0, :5], infinite[0, 0, :5] = np.nan, np.inf
    assert float(pixel_metrics.aupro(broken, MASKS)) == float(pixel_metrics.aupro(infinite, MASKS))
    assert float(pixel_metrics.aupro(broken, MASKS)) < float(pixel_metrics.aupro(MAPS, MASKS))


def test_what_is_not_defined_is_nan_and_what_does_not_fit_is_refused():
    for empty in (np.zeros_like(MASKS), np.ones_like(MASKS)):
        assert np.isnan(pixel_metrics.aupro(MAPS, empty))
        assert np.isnan(pixel_metrics.pixel_auroc(MAPS, empty))
    assert np.isnan(pixel_metrics.pixel_f1_max(MAPS, np.zeros_like(MASKS))).all()
    with pytest.raises(ValueError, match=r"maps \[4, 12, 10\] and masks \[3, 12, 10\]"):
        pixel_metrics.aupro(MAPS, MASKS[:3])
    with pytest.raises(ValueError, match="limit=0: must be a false-positive rate"):
        pixel_metrics.aupro(MAPS, MASKS, 0)
    with pytest.raises(ValueError, match="pixels: at most 16,777,216"):
        pixel_metrics.pixel_auroc(np.zeros((2, 4096, 4096), np.float32), np.zeros((2, 4096, 4096), bool))


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("test/crack/000.png", "ground_truth/crack/000_mask.png"),
        ("test/ko/0003.bmp", "ground_truth/ko/0003.png"),
        ("Data/Images/Anomaly/000.JPG", "Data/Masks/Anomaly/000.png"),
        ("anomalous/a.png", "masks/a.png"),
        ("anomalous/a.png", "masks/anomalous/a_mask.png"),
        ("parts/anomalous/a.png", "parts/mask/a.png"),
        ("test/crack/000.png", None),
    ],
)
def test_masks_are_found_by_their_layout(tmp_path, monkeypatch, picture, mask):
    """A table's pictures have absolute paths, and the folder may have none."""
    for name in filter(None, (picture, mask, "ground_truth/other/000_mask.png")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = masks.find(tmp_path / picture, tmp_path)
    assert found == (None if mask is None else tmp_path / mask)
    monkeypatch.chdir(tmp_path)
    assert masks.find(tmp_path / picture, Path()) == found


def test_a_mask_that_can_not_be_read_is_told_and_the_others_count(tmp_path):
    for name in ("anomalous/a.png", "anomalous/b.png", "anomalous/c.png", "masks/a.png", "masks/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / name)
    (tmp_path / "masks/b.png").write_bytes(b"cut short")
    pictures = [tmp_path / f"anomalous/{name}.png" for name in "abc"]
    found, errors = masks.of_pictures(pictures, tmp_path, (8, 8, 3), "whole")
    assert {number: mask.all() for number, mask in found.items()} == {0: True}
    assert list(errors) == [tmp_path / "masks/b.png"]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [((255, 255), np.uint8), ((1, 1), np.uint8), ((1, 3), np.uint8), ((1, 3), np.uint16), ((257, 65535), np.uint16)],
)
def test_a_mask_is_what_is_not_black(tmp_path, values, dtype):
    """It may number its classes."""
    image = np.zeros((40, 80), dtype)
    image[10:20, 40:50], image[10:20, 50:60] = values
    Image.fromarray(image).save(tmp_path / "m.png")
    read = masks.read(tmp_path / "m.png", (20, 40, 3), "whole")
    assert read.shape == (20, 40)
    assert read[5:10, 20:30].all()
    assert read.sum() == 50


def test_noise_about_black_is_no_mask(tmp_path):
    image = np.zeros((40, 80), np.uint8)
    image[8:24, 40:60] = 255
    Image.fromarray(image).save(tmp_path / "m.jpg", quality=50)
    lossy = np.asarray(Image.open(tmp_path / "m.jpg"))
    assert ((lossy > 0) != (image > 0)).any()
    np.testing.assert_array_equal(masks.read(tmp_path / "m.jpg", (40, 80, 3), "whole"), image > 0)
