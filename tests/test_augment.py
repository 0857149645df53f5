"""Normalising and random shifts, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax.augment import Normalise, normalise_of, random_shift


def pictures(n=50, size=(6, 5), channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *size, channels)).astype(np.uint8)


def test_mean_and_deviation_are_exact():
    images = pictures() // np.uint8([1, 2, 5])
    normalise = normalise_of(images)
    scaled = images.astype(np.float64) / 255
    np.testing.assert_allclose(normalise.mean, scaled.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(normalise.sd, scaled.std((0, 1, 2)), rtol=1e-6)
    assert normalise.mean.dtype == normalise.sd.dtype == np.float32
    seen = np.asarray(jax.jit(lambda n, x: n(x))(normalise, images), np.float64)
    assert np.asarray(normalise(images)).dtype == np.float32
    np.testing.assert_allclose(seen.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std((0, 1, 2)), 1, rtol=1e-5)


def test_float_images_in_the_same_range_are_normalised_alike():
    images = pictures()
    normalise = normalise_of(images)
    np.testing.assert_array_equal(normalise(images), normalise(images.astype(np.float32)))


def test_a_constant_channel_is_not_blown_up():
    images = pictures()
    images[..., 1] = 200
    normalise = normalise_of(images)
    assert normalise.sd[1] == 1
    np.testing.assert_allclose(normalise(images)[..., 1], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((0, 4, 4, 1), np.uint8), "no image"),
        (np.zeros((2, 4, 4, 1), np.float32), "float32.*uint8"),
        (np.zeros((2, 4, 4), np.uint8), r"\[2, 4, 4\]"),
    ],
)
def test_what_has_no_pixel_statistics_is_refused(images, told):
    with pytest.raises(ValueError, match=told):
        normalise_of(images)


def shifted(image, dy, dx):
    """NumPy: the image moved down by dy and right by dx."""
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y - dy < height and 0 <= x - dx < width:
                result[y, x] = image[y - dy, x - dx]
    return result


def test_every_shift_within_the_radius_occurs_and_no_other():
    images = np.repeat(pictures(1, (5, 5), 1) | 1, 600, axis=0)
    keys = jax.random.split(jax.random.key(0), 600)
    moved = np.asarray(jax.jit(random_shift, static_argnums=2)(keys, images, 2))
    assert moved.dtype == np.uint8
    expected = {shifted(images[0], dy, dx).tobytes() for dy in range(-2, 3) for dx in range(-2, 3)}
    seen = [m.tobytes() for m in moved]
    assert set(seen) == expected
    assert min(seen.count(e) for e in expected) > 6  # 24 expected each


def test_a_shift_depends_on_its_own_key_alone():
    images, keys = pictures(8), jax.random.split(jax.random.key(1), 8)
    whole = random_shift(keys, images, 3)
    np.testing.assert_array_equal(whole[3:5], random_shift(keys[3:5], images[3:5], 3))


def test_no_radius_no_shift():
    images = pictures(4)
    assert random_shift(jax.random.split(jax.random.key(0), 4), images, 0) is images


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="-1"):
        random_shift(jax.random.split(jax.random.key(0), 4), pictures(4), -1)


def test_normalising_differentiates():
    normalise = Normalise(np.float32([0.1]), np.float32([0.5]))
    slope = jax.grad(lambda x: normalise(x).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(slope, 1 / 255 / 0.5, rtol=1e-6)
