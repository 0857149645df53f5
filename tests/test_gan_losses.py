"""The GAN's losses against plain float64 loops, their gradients against central differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax.losses.abc import abc
from adjax.losses.patch import patch


def images(seed, shape=(3, 20, 18, 2)):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def slow_patch(x, y, size, stride, largest):
    """Image by image, patch by patch."""
    result = []
    for a, b in zip(np.asarray(x, np.float64), np.asarray(y, np.float64), strict=True):
        rows, columns = (range(0, side - size + 1, stride) for side in a.shape[:2])
        means = [np.abs(a - b)[i : i + size, j : j + size].mean() for i in rows for j in columns]
        result.append(np.mean(sorted(means)[-largest:]))
    return np.array(result)


@pytest.mark.parametrize(("size", "stride", "largest"), [(16, 8, 3), (5, 3, 4), (18, 1, 2), (4, 7, 100)])
def test_patch_is_the_mean_of_the_worst_patches(size, stride, largest):
    x, y = images(0), images(1)
    ours = jax.jit(partial(patch, patch_px=size, stride_px=stride, largest=largest))(np.float32(x), np.float32(y))
    np.testing.assert_allclose(ours, slow_patch(x, y, size, stride, largest), rtol=1e-5)


def test_nine_patches_at_32_px():
    x = np.zeros((1, 32, 32, 1), np.float32)
    y = x.copy()
    y[0, :8, :8] = 1  # a quarter of one patch alone
    all_nine, worst = jax.jit(lambda x, y: (patch(x, y, largest=9), patch(x, y)))(x, y)
    np.testing.assert_allclose(all_nine, [0.25 / 9], rtol=1e-6)
    np.testing.assert_allclose(worst, [0.25 / 3], rtol=1e-6)


def test_patch_has_the_gradient_of_the_worst_patches():
    """A published implementation detaches it: then this is zero."""
    x, y = images(0), images(1)
    total = lambda y: patch(np.float32(x), y, patch_px=5, stride_px=3, largest=2).sum()  # noqa: E731
    gradient = np.asarray(jax.jit(jax.grad(total))(np.float32(y)))
    assert np.abs(gradient).sum() > 1
    rng, h = np.random.default_rng(2), 1e-7
    for _ in range(5):
        step = rng.normal(size=y.shape)
        up, down = (slow_patch(x, y + s * h * step, 5, 3, 2).sum() for s in (1, -1))
        np.testing.assert_allclose((gradient * step).sum(), (up - down) / (2 * h), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch_px": 19}, "patches of 19 px: must be from 1 to the 18 px"),
        ({"patch_px": 0}, "patches of 0 px"),
        ({"patch_px": 4, "stride_px": 0}, "stride of 0 px"),
        ({"patch_px": 4, "largest": 0}, "0 largest patches"),
    ],
)
def test_patch_refuses_by_value_and_limit(options, message):
    with pytest.raises(ValueError, match=message):
        patch(images(0), images(1), **options)
    with pytest.raises(ValueError, match="must be the same"):
        patch(images(0), images(1)[:2])


def test_abc_is_the_cross_entropy_of_an_anomaly():
    d = np.array([1e-3, 0.01, 0.2, 1.0, 2.0, 30.0])
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(abc)))(np.float32(d))
    np.testing.assert_allclose(value, -np.log(1 - np.exp(-d)), rtol=1e-5, atol=1e-7)
    h = 1e-6 * d
    np.testing.assert_allclose(
        slope, (np.log(1 - np.exp(h - d)) - np.log(1 - np.exp(-d - h))) / (2 * h), rtol=1e-3, atol=1e-7
    )


def test_abc_is_finite_at_zero_and_still_pushes():
    value, slope = jax.jit(jax.value_and_grad(abc))(jnp.float32(0))
    np.testing.assert_allclose(value, 1 - np.log(1 - np.exp(-1e-3)), rtol=1e-3)
    np.testing.assert_allclose(slope, -1 / np.expm1(1e-3), rtol=1e-4)
    assert np.isfinite(jax.jit(jax.grad(jax.grad(abc)))(jnp.float32(0)))
    np.testing.assert_allclose(
        abc(jnp.float32(0), floor=0.1), 0.1 / np.expm1(0.1) - np.log(1 - np.exp(-0.1)), rtol=1e-5
    )
