"""HOG against scikit-image's."""

import jax
import numpy as np
import pytest
from skimage.feature import hog
from sklearn.datasets import load_sample_image

from adjax import data, detector, models, serialization
from adjax.augment import normalise_for
from adjax.detector import Spec

DIGITS = data.load("digits", "train").images
PHOTO = load_sample_image("china.jpg")[100:164, 200:290]


def reference(images, cell_px, block_cells, orientations):
    """In float64, of whole grey levels: scikit-image's bins feel rounding at their edges, and ours don't."""
    cells, blocks = (cell_px, cell_px), (block_cells, block_cells)
    return np.stack([hog(x.astype(np.float64), orientations, cells, blocks, channel_axis=-1) for x in images])


def ours(images, cell_px, block_cells, orientations):
    options = {"cell_px": cell_px, "block_cells": block_cells, "orientations": orientations}
    network = models.make("hog", images.shape[1:], 1, **options)
    return np.asarray(jax.jit(network.apply)(network.init(jax.random.key(0)), images)["features"])


@pytest.mark.parametrize("options", [(4, 2, 9), (2, 2, 8), (3, 1, 4), (1, 3, 5)])
def test_digits_are_described_as_by_scikit_image(options):
    images = DIGITS[:40]
    np.testing.assert_allclose(ours(images.astype(np.float32), *options), reference(images, *options), atol=1e-5)


@pytest.mark.parametrize("options", [(8, 2, 9), pytest.param((7, 3, 12), marks=pytest.mark.slow)])
@pytest.mark.parametrize("channels", [slice(None), slice(1, 2)], ids=["colours", "green"])
def test_photographs_are_described_as_by_scikit_image(options, channels):
    images = np.stack([PHOTO, PHOTO[:, ::-1], PHOTO[::-1]])[..., channels]
    np.testing.assert_allclose(ours(images.astype(np.float32), *options), reference(images, *options), atol=1e-5)


@pytest.mark.parametrize("options", [(8, 2, 8), pytest.param((6, 2, 9), marks=pytest.mark.slow)])
def test_rounding_moves_no_gradient_to_another_bin(options):
    """Grey levels as they are, and as multiples of 1/255, which are none in float32: ties of channels, edges of bins.

    scikit-image's own features differ by up to 0.1 between the two.
    """
    whole = PHOTO[None].astype(np.float32)
    np.testing.assert_allclose(ours(whole / np.float32(255), *options), ours(whole, *options), atol=1e-3)


def test_flat_images_have_no_direction_and_a_finite_gradient():
    network = models.make("hog", (8, 8, 1), 1)
    flat = np.full((2, 8, 8, 1), 0.5, np.float32)
    assert np.all(np.asarray(jax.jit(network.apply)({}, flat)["features"]) == 0)
    slope = jax.jit(jax.grad(lambda x: network.apply({}, x)["features"].sum()))(flat)
    assert np.isfinite(slope).all()


def test_a_module_without_parameters_is_a_network_all_the_same():
    network = models.make("hog", (8, 8, 1), 1)
    assert network.init(jax.random.key(0)) == {}
    assert network.trainable == {}
    images = DIGITS[:3].astype(np.float32)
    outputs, params = network.train({}, images, jax.random.key(0))
    assert params == {}
    np.testing.assert_array_equal(outputs["features"], jax.jit(network.apply)({}, images)["features"])


@pytest.mark.parametrize(
    ("shape", "options", "told"),
    [
        ((8, 8, 1), {"cell_px": 5}, "at least 10 px a side, not 8×8: take smaller cells"),
        ((8, 8, 1), {"orientations": 0}, "orientations=0: must all be at least 1"),
    ],
)
def test_images_too_small_are_refused(shape, options, told):
    with pytest.raises(ValueError, match=told):
        models.make("hog", shape, 1, **options)


@pytest.mark.slow
def test_hog_and_a_one_class_svm_make_a_detector(tmp_path):
    """Trained on zeros alone, digits that are none stand out; and it can be saved."""
    split = data.load("digits", "train")
    zeros = split.images[split.labels == 0]
    spec = Spec("hog_ocsvm", "hog", "ocsvm", (8, 8, 1), ("0",), {"capacity": 100}, {}, {"cell_px": 2})
    parts = detector.resolve(spec).method
    params = parts.init(jax.random.key(0), {})["params"]
    fitted = detector.fit(
        spec, params, normalise_for(parts.input_range, zeros), zeros[:100], np.zeros(100, np.int32), zeros[100:]
    )
    assert np.mean(fitted.score(zeros[100:]) > np.median(fitted.score(split.images[split.labels > 0]))) < 0.02
    fitted.save(tmp_path / "d")
    np.testing.assert_array_equal(serialization.load(tmp_path / "d").score(zeros), fitted.score(zeros))
