"""Normalising and the random changes, against NumPy."""

from functools import lru_cache

import jax
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from adjax.augment import Augment, Normalise, normalise_of, random_crop, random_shift, random_warp


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


def test_all_pixels_count_of_more_than_are_counted_at_a_time():
    images = np.random.default_rng(0).integers(0, 256, (2, 300, 301, 2), np.uint8)  # 180,600 of a channel
    images[1] //= 3
    normalise, share = normalise_of(images), images / 255
    np.testing.assert_allclose(normalise.mean, share.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(normalise.sd, share.std((0, 1, 2)), rtol=1e-6)


def test_a_constant_channel_is_not_blown_up():
    images = pictures()
    images[..., 1] = 200
    normalise = normalise_of(images)
    assert normalise.sd[1] == 1
    np.testing.assert_allclose(normalise(images)[..., 1], 0, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((0, 4, 4, 1), np.uint8), "images is empty"),
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
    moved = np.asarray(shift(keys, images, 2))
    assert moved.dtype == np.uint8
    expected = {shifted(images[0], dy, dx).tobytes() for dy in range(-2, 3) for dx in range(-2, 3)}
    seen = [m.tobytes() for m in moved]
    assert set(seen) == expected
    assert min(seen.count(e) for e in expected) > 6  # 24 expected each


def test_a_shift_depends_on_its_own_key_alone():
    images, keys = pictures(8), jax.random.split(jax.random.key(1), 8)
    whole, part = shift(keys, images, 3), shift(keys[3:5], images[3:5], 3)
    np.testing.assert_array_equal(np.asarray(whole)[3:5], part)


def test_no_radius_no_shift():
    images = pictures(4)
    assert random_shift(jax.random.split(jax.random.key(0), 4), images, 0) is images


def test_a_negative_radius_is_refused():
    with pytest.raises(ValueError, match="-1"):
        random_shift(jax.random.split(jax.random.key(0), 4), pictures(4), -1)


def test_normalising_differentiates():
    normalise = Normalise(np.float32([0.1]), np.float32([0.5]))
    slope = jax.jit(jax.grad(lambda x: normalise(x).sum()))(np.ones((1, 2, 2, 1), np.float32))
    np.testing.assert_allclose(slope, 1 / 255 / 0.5, rtol=1e-6)


# Mirrors, turns, crops ------------------------------------------------------------------------------------------


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


jitted = jax.jit(lambda augment, keys, images: augment(keys, images), static_argnums=0)
crop = jax.jit(random_crop, static_argnums=2)
shift = jax.jit(random_shift, static_argnums=2)


def counts(changed, originals):
    """How often each of the originals came out; fails if anything else did."""
    seen = [np.asarray(image).tobytes() for image in changed]
    assert set(seen) <= {o.tobytes() for o in originals}
    return np.array([seen.count(o.tobytes()) for o in originals])


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (Augment(flip_horizontal=True), lambda x: [x, x[:, ::-1]]),
        (Augment(flip_vertical=True), lambda x: [x, x[::-1]]),
        (Augment(flip_horizontal=True, flip_vertical=True), lambda x: [x, x[:, ::-1], x[::-1], x[::-1, ::-1]]),
        (Augment(rotate=True), lambda x: [np.rot90(x, k) for k in range(4)]),
    ],
)
def test_mirrors_and_turns_are_numpys_each_as_often(augment, expected):
    images = np.repeat(pictures(1, (5, 5), 3), 400, axis=0)
    changed = jitted(augment, keys(400), images)
    assert changed.dtype == np.uint8
    choices = expected(images[0])
    share = 400 / len(choices)
    assert np.abs(counts(changed, choices) - share).max() < 4 * np.sqrt(share)


def test_turns_and_mirrors_together_reach_all_eight_symmetries_alike():
    images = np.repeat(pictures(1, (4, 4), 1), 800, axis=0)
    changed = jitted(Augment(flip_horizontal=True, flip_vertical=True, rotate=True), keys(800), images)
    symmetries = [np.rot90(x, k) for k in range(4) for x in (images[0], images[0][:, ::-1])]
    assert np.abs(counts(changed, symmetries) - 100).max() < 40


def test_mirrors_take_images_that_are_not_square():
    images = pictures(20, (6, 5))
    changed = np.asarray(jitted(Augment(flip_horizontal=True, flip_vertical=True), keys(20), images))
    for image, now in zip(images, changed, strict=True):
        assert counts([now], [image, image[:, ::-1], image[::-1], image[::-1, ::-1]]).sum() == 1


def cropped(image, top, bottom, left, right):
    """NumPy, float64: bilinear by half-pixel centers, row by row, column by column."""
    image = image.astype(np.float64)[top : len(image) - bottom, left : image.shape[1] - right]
    for axis, size in ((0, len(image) + top + bottom), (1, image.shape[1] + left + right)):
        have = image.shape[axis]
        place = np.clip((np.arange(size) + 0.5) * have / size - 0.5, 0, have - 1)
        low = np.minimum(place.astype(int), have - 2)
        share = (place - low).reshape([-1 if a == axis else 1 for a in range(3)])
        image = (1 - share) * image.take(low, axis) + share * image.take(low + 1, axis)
    return image


def test_every_crop_occurs_and_is_bilinear():
    images = np.repeat(pictures(1, (6, 7), 2), 300, axis=0)
    changed = np.asarray(crop(keys(300), images, 1))
    assert changed.dtype == np.float32
    sides = [(t, b, l, r) for t in (0, 1) for b in (0, 1) for l in (0, 1) for r in (0, 1)]  # noqa: E741
    expected = np.stack([cropped(images[0], *s) for s in sides])
    off = np.abs(changed[:, None] - expected).max((2, 3, 4))
    assert off.min(1).max() < 1e-3
    seen = np.bincount(off.argmin(1), minlength=16)
    assert seen.min() > 5  # 19 expected each


def test_a_ramp_stays_a_ramp():
    """Bilinear interpolation of a plane is the plane, stretched: slopes shrink by what is left of the side."""
    y, x = np.mgrid[:12, :10].astype(np.float32)
    ramp = (3 * y + 5 * x)[..., None]
    changed = np.asarray(crop(keys(40), np.repeat(ramp[None], 40, 0), 2))[:, 3:-3, 3:-3, 0]
    down, across = np.diff(changed, axis=1), np.diff(changed, axis=2)
    for slopes, slope, size in ((down, 3, 12), (across, 5, 10)):
        np.testing.assert_allclose(slopes, np.broadcast_to(slopes[:, :1, :1], slopes.shape), atol=1e-4)
        left = slopes[:, 0, 0] / slope * size
        np.testing.assert_allclose(left, left.round(), atol=1e-3)
        assert set(left.round()) == {size - cut for cut in range(5)}


def test_a_crop_of_nothing_is_the_image():
    images = pictures(64, (6, 6))
    changed = np.asarray(crop(keys(64), images, 1))
    assert any(np.abs(c - i).max() < 1e-4 for c, i in zip(changed, images, strict=True))
    assert random_crop(keys(64), images, 0) is images


# Turns by any angle, stretches, bends -----------------------------------------------------------------------------

warp = jax.jit(random_warp, static_argnums=(2, 3, 4))
SIZE = (24, 20)
MIDDLE = (np.array(SIZE) - 1) / 2
GRID = np.stack(np.mgrid[: SIZE[0], : SIZE[1]], -1)
MANY, TURN_DEG, STRETCH, BEND_PX = 300, 30.0, 0.3, 1.5


@lru_cache
def places(rotation_deg=0.0, scale=0.0, elastic_px=0.0):
    """Where each pixel of `MANY` images comes from, float64[MANY, H, W, 2], NaN beyond the edges: seen by planes."""
    planes = np.concatenate([GRID, np.ones((*SIZE, 1))], -1).astype(np.float32)
    changed = warp(keys(MANY), np.repeat(planes[None], MANY, 0), rotation_deg, scale, elastic_px)
    changed = np.asarray(changed, np.float64)
    return np.where(np.abs(changed[..., 2:] - 1) < 1e-6, changed[..., :2], np.nan)


@lru_cache
def matrices(**options):
    """The linear map about the middle that pixels come from, [MANY, 2, 2]; fails if it is another kind of map."""
    found = []
    for place in places(**options):
        inside = ~np.isnan(place).any(-1)
        p, q = GRID[inside] - MIDDLE, place[inside] - MIDDLE
        matrix = np.linalg.lstsq(p, q, rcond=None)[0].T
        np.testing.assert_allclose(q, p @ matrix.T, atol=1e-4)
        found.append(matrix)
    return np.array(found)


def spread(draws, most):
    """Holds if `draws` fill ±most evenly and leave it nowhere."""
    assert np.abs(draws).max() <= most * (1 + 1e-4)
    assert draws.max() > 0.9 * most
    assert draws.min() < -0.9 * most
    share = np.histogram(draws, 4, (-most, most))[0] / draws.size
    assert np.abs(share - 0.25).max() < 4 * np.sqrt(0.19 / draws.size)


def test_turns_are_rotations_by_any_angle_within_the_range():
    found = matrices(rotation_deg=TURN_DEG)
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), np.broadcast_to(np.eye(2), found.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(found), 1, atol=1e-5)
    spread(np.rad2deg(np.arctan2(found[:, 1, 0], found[:, 0, 0])), TURN_DEG)


def test_stretches_are_linear_maps_near_the_identity():
    entries = (matrices(scale=STRETCH) - np.eye(2)).reshape(-1, 4)
    for draws in entries.T:
        spread(draws, STRETCH)
    assert np.abs(np.corrcoef(entries.T) - np.eye(4)).max() < 0.25


def test_bends_are_bilinear_between_sixteen_points_within_the_range():
    place = places(elastic_px=BEND_PX) - GRID
    assert np.nanmax(np.abs(place)) <= BEND_PX + 1e-4
    at = (np.arange(SIZE[0]) * 3 / (SIZE[0] - 1), np.arange(SIZE[1]) * 3 / (SIZE[1] - 1))
    down, across = (np.maximum(0, 1 - np.abs(a[:, None] - np.arange(4))) for a in at)
    weights = np.einsum("hk,wl->hwkl", down, across).reshape(*SIZE, 16)
    knots = []
    for image in place:
        inside = ~np.isnan(image).any(-1)
        fitted = np.linalg.lstsq(weights[inside], image[inside], rcond=None)[0]
        np.testing.assert_allclose(weights[inside] @ fitted, image[inside], atol=1e-4)
        knots.append(fitted.reshape(4, 4, 2)[1:3, 1:3].ravel())
    for draws in np.array(knots).T:
        spread(draws, BEND_PX)
    assert np.abs(np.corrcoef(np.array(knots).T) - np.eye(8)).max() < 0.25


def test_a_turn_and_a_stretch_are_scipys_with_zeros_beyond_the_edges():
    images = pictures(MANY, SIZE, 2)
    changed = np.asarray(warp(keys(MANY), images, TURN_DEG, STRETCH, 0.0))
    assert changed.dtype == np.float32
    for i, matrix in enumerate(matrices(rotation_deg=TURN_DEG, scale=STRETCH)):
        at = np.moveaxis((GRID - MIDDLE) @ matrix.T + MIDDLE, -1, 0)
        for c in range(2):
            expected = map_coordinates(images[i, ..., c].astype(float), at, order=1, mode="grid-constant")
            np.testing.assert_allclose(changed[i, ..., c], expected, atol=0.05)  # of 255


def test_a_warp_turns_what_was_stretched_and_then_adds_the_bend():
    turned = matrices(rotation_deg=TURN_DEG) @ matrices(scale=STRETCH)
    np.testing.assert_allclose(matrices(rotation_deg=TURN_DEG, scale=STRETCH), turned, atol=1e-5)
    bend = places(elastic_px=BEND_PX) - GRID
    added = places(rotation_deg=TURN_DEG, scale=STRETCH, elastic_px=BEND_PX) - places(
        rotation_deg=TURN_DEG, scale=STRETCH
    )
    known = ~np.isnan(bend + added)
    assert known.mean() > 0.3
    np.testing.assert_allclose(added[known], bend[known], atol=1e-4)


def test_the_draws_of_a_warp_are_independent():
    turn, stretch = matrices(rotation_deg=TURN_DEG)[:, 1, 0], matrices(scale=STRETCH).reshape(-1, 4)
    bend = (places(elastic_px=BEND_PX) - GRID)[:, 2::9, 2::7].reshape(MANY, -1)
    drawn = np.column_stack([turn, stretch, bend])
    assert drawn.shape == (MANY, 1 + 4 + 3 * 3 * 2)
    assert np.abs(np.corrcoef(drawn.T)[:5] - np.eye(23)[:5]).max() < 0.25


def test_no_warp_no_change():
    images = pictures(4)
    assert random_warp(keys(4), images, 0.0, 0.0, 0.0) is images


EVERYTHING = Augment(
    shift_px=1,
    flip_horizontal=True,
    flip_vertical=True,
    rotate=True,
    crop_px=2,
    rotation_deg=20,
    scale=0.2,
    elastic_px=1,
)


@pytest.mark.slow
def test_any_change_depends_on_its_own_key_alone():
    images, own = pictures(30, (7, 7)), keys(30)
    whole = np.asarray(jitted(EVERYTHING, own, images))
    assert whole.shape == images.shape
    assert whole.dtype == np.float32
    order, stays = np.random.default_rng(0).permutation(30), np.arange(30) % 2 == 0
    strangers = pictures(30, (7, 7), seed=1)
    mixed = np.where(stays[:, None, None, None], images, strangers)[order]
    among_strangers = np.asarray(jitted(EVERYTHING, own[order], mixed))[np.argsort(order)]
    np.testing.assert_allclose(among_strangers[stays], whole[stays], atol=1e-3)
    assert np.abs(among_strangers[~stays] - whole[~stays]).max() > 1


@pytest.mark.slow
def test_switching_one_change_on_alters_no_other():
    images, own = pictures(30, (7, 7)), keys(30)
    np.testing.assert_array_equal(jitted(Augment(shift_px=2), own, images), shift(own, images, 2))
    turned = np.asarray(jitted(Augment(rotate=True), own, images))
    mirrored = jitted(Augment(rotate=True, flip_vertical=True), own, images)
    assert all(counts([m], [t, t[::-1]]).sum() == 1 for m, t in zip(mirrored, turned, strict=True))
    steps = [
        Augment(rotate=True, flip_vertical=True, flip_horizontal=True),
        Augment(crop_px=2),
        Augment(rotation_deg=20, scale=0.2, elastic_px=1),
        Augment(shift_px=1),
    ]
    one_by_one = images
    for augment in steps:
        one_by_one = jitted(augment, own, one_by_one)
    np.testing.assert_allclose(jitted(EVERYTHING, own, images), one_by_one, atol=1e-2)


def test_changes_draw_independently():
    """Mirrored or not says nothing about shifted where, though both come of one key."""
    images = np.repeat(pictures(1, (5, 5), 1) | 1, 900, axis=0)
    moved = np.asarray(jitted(Augment(shift_px=1, flip_vertical=True), keys(900), images))
    choices = [shifted(x, dy, dx) for x in (images[0], images[0][::-1]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    assert np.abs(counts(moved, choices) - 50).max() < 30


@pytest.mark.parametrize(
    ("augment", "size", "told"),
    [
        (Augment(rotate=True), (6, 5), "6×5 px can't be rotated"),
        (Augment(crop_px=-1), (6, 5), "crop of -1 px"),
        (Augment(crop_px=3), (9, 6), "crop of 3 px from each side leaves nothing of 9×6 px"),
        (Augment(rotation_deg=180), (6, 5), "rotation_deg 180: must be at least 0 and below 180"),
        (Augment(scale=0.5), (6, 5), "scale 0.5: must be at least 0 and below 0.5"),
        (Augment(elastic_px=-0.5), (6, 5), "elastic_px -0.5: must be at least 0"),
        (Augment(elastic_px=float("nan")), (6, 5), "elastic_px nan"),
    ],
)
def test_what_can_not_be_changed_so_is_refused(augment, size, told):
    with pytest.raises(ValueError, match=told):
        augment(keys(2), pictures(2, size))
