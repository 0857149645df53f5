"""Where in a picture: features of several layers, scorers of patches, maps, boxes, and what a picture is brought to."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import adjax
from adjax import detector as detectors
from adjax import localise, models, scorers
from adjax._numerics import top_mean
from adjax.auto import fit
from adjax.data import defects
from adjax.data.io import pixels, upload
from adjax.models._patches import aligned
from adjax.models._statistics import statistics
from adjax.predict import regions
from adjax.spec import Spec

RNG = np.random.default_rng(0)
N, H, W, C = 30, 3, 4, 5
X = RNG.normal(size=(N, H, W, C)).astype(np.float32) * np.arange(1, C + 1, dtype=np.float32)
ODD = X[:8].copy()
ODD[:, 1, 2] += 20
Y = np.zeros(N, np.int32)


def fit_to(scorer, outputs):
    """One program, which compiles sooner than all its operations one by one."""
    return jax.jit(lambda outputs: scorers.fit(scorer, outputs, Y, 1, batch_size=7))(outputs)


def fitted(name, **options):
    """A scorer whose functions are compiled, and its fit."""
    scorer = scorers.make(name, **options)
    maps = scorer.maps and jax.jit(scorer.maps)
    return scorer._replace(score=jax.jit(scorer.score), maps=maps), fit_to(scorer, {"patches": X})


# Patches of several layers


class _Maps:
    """A network that says two maps."""

    def __init__(self, fine, coarse):
        self.said = {"fine": jnp.asarray(fine), "coarse": jnp.asarray(coarse), "features": jnp.zeros((len(fine), 2))}
        self.network = models.network(lambda rngs: models.MODELS["lenet5"]((8, 8, 1), 1, rngs=rngs))
        self.network = self.network._replace(apply=lambda params, images: self.said)


def test_maps_of_layers_are_averaged_and_aligned_to_the_first_named():
    fine, coarse = RNG.normal(size=(2, 4, 6, 3)), RNG.normal(size=(2, 2, 3, 5))
    network = _Maps(fine, coarse).network
    patches = np.asarray(
        jax.jit(lambda: aligned(network, ("fine", "coarse")).apply(None, jnp.zeros((2, 32, 48, 3)))["patches"])()
    )
    assert patches.shape == (2, 4, 6, 8)
    np.testing.assert_allclose(patches[0, 1, 1, :3], fine[0, :3, :3].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(patches[0, 0, 0, :3], fine[0, :2, :2].sum((0, 1)) / 9, rtol=1e-5)
    np.testing.assert_allclose(patches[0, 0, 0, 3:], coarse[0, :2, :2].sum((0, 1)) / 9, rtol=1e-5)
    turned = jax.eval_shape(lambda: aligned(network, ("coarse", "fine")).apply(None, jnp.zeros((2, 32, 48, 3))))
    assert turned["patches"].shape == (2, 2, 3, 8)


def test_overall_is_what_a_picture_is_like_as_a_whole():
    fine, coarse = RNG.normal(size=(2, 4, 6, 3)), RNG.normal(size=(2, 2, 3, 5))
    images = RNG.normal(size=(2, 16, 24, 3)).astype(np.float32)
    said = jax.jit(aligned(_Maps(fine, coarse).network, ("coarse", "fine")).apply)(None, images)
    wanted = np.concatenate([x.mean((1, 2)) for x in (coarse, fine, np.asarray(said["statistics"]))], -1)
    assert wanted.shape == (2, 5 + 3 + 13)
    np.testing.assert_allclose(said["overall"], wanted, rtol=1e-4, atol=1e-5)


def test_a_layer_that_is_no_map_is_refused_with_those_there_are():
    network = _Maps(np.zeros((1, 2, 2, 3)), np.zeros((1, 1, 1, 3))).network
    with pytest.raises(
        ValueError, match="patch_layers 'features': this network has no such map; it gives fine, coarse"
    ):
        aligned(network, ("features",)).apply(None, jnp.zeros((2, 32, 48, 3)))


def test_statistics_are_those_of_scipy():
    from scipy import ndimage

    images = RNG.normal(size=(2, 22, 16, 3)).astype(np.float32)  # 22 is no multiple of 4: the edge is repeated
    found = np.asarray(jax.jit(statistics)(images))
    assert found.shape == (2, 6, 4, 13)
    grey = 58 * images.mean(-1, dtype=np.float64)
    blur = lambda x, step: ndimage.convolve(x, np.outer(*[kernel(step)] * 2)[None], mode="nearest")  # noqa: E731
    scales = [grey, blur(blur(grey, 1), 1), blur(blur(blur(grey, 1), 1), 2)]
    slope = np.array([-0.5, 0, 0.5])
    edges = [
        np.abs(x)
        for g in scales
        for x in (
            ndimage.laplace(g, mode="nearest", axes=(1, 2)),
            *(ndimage.correlate1d(g, slope, axis=axis, mode="nearest") for axis in (1, 2)),
        )
    ]
    cell = lambda x: np.pad(x, ((0, 0), (0, 2), (0, 0)), mode="edge").reshape(2, 6, 4, 4, 4).mean((2, 4))  # noqa: E731
    sd = np.sqrt(np.maximum(cell(grey**2) - cell(grey) ** 2, 0))
    wanted = [*(cell(images[..., c]) for c in range(3)), np.log1p(sd), *(np.log1p(cell(e)) for e in edges)]
    np.testing.assert_allclose(found, np.stack(wanted, -1), rtol=1e-4, atol=1e-4)


def kernel(step):
    weights = np.zeros(2 * step + 1)
    weights[[0, step, 2 * step]] = 0.25, 0.5, 0.25
    return weights


# Scorers of patches


def test_patchwise_is_its_scorer_on_all_patches():
    scorer, state = fitted("patchwise", shrinkage=0.0)
    rows = X.reshape(-1, C).astype(np.float64)
    rest = ODD.reshape(-1, C) - rows.mean(0)
    inverse = np.linalg.inv(np.cov(rows.T, bias=True))
    expected = np.sqrt(np.einsum("nc,cd,nd->n", rest, inverse, rest)).reshape(ODD.shape[:3])
    found = np.asarray(scorer.maps(state, {"patches": ODD}))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(scorer.score(state, {"patches": ODD}), expected.max((1, 2)), rtol=1e-4)


def test_subspace_is_what_lies_outside_of_the_leading_directions():
    scorer, state = fitted("subspace", components=2)
    rows = X.reshape(-1, C).astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(rows.T))
    outside = (ODD.reshape(-1, C) - rows.mean(0)) @ vectors[:, : C - 2]
    expected = np.linalg.norm(outside, axis=1).reshape(ODD.shape[:3])
    np.testing.assert_allclose(scorer.maps(state, {"patches": ODD}), expected, rtol=1e-3, atol=1e-3)


def test_the_mean_of_the_highest_places():
    scorer, state = fitted("patchwise", top=0.25)
    maps = np.asarray(scorer.maps(state, {"patches": ODD})).reshape(len(ODD), -1)
    np.testing.assert_allclose(scorer.score(state, {"patches": ODD}), np.sort(maps, 1)[:, -3:].mean(1), rtol=1e-5)
    broken = ODD.copy()
    broken[0, 0, 0, 0] = np.nan
    assert np.isnan(scorer.score(state, {"patches": broken})).tolist() == [True] + [False] * 7
    signed = np.ones((2, 2, 4), np.float32)
    signed[0, 1, 2] = -np.float32(np.nan)  # which a device sorts below all numbers
    assert np.isnan(top_mean(jnp.asarray(signed), 0.25)).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"top=1\.5: must be a share"):
        scorers.make("patchwise", top=1.5)


def test_padim_takes_the_grid_of_the_map():
    own, grid = fitted("padim"), fitted("padim", grid=(H, W), dim=C)
    np.testing.assert_array_equal(own[0].score(own[1], {"patches": ODD}), grid[0].score(grid[1], {"patches": ODD}))
    with pytest.raises(ValueError, match="has no places: give a network with maps, or padim grid"):
        scorers.fit(scorers.make("padim", feature="features"), {"features": X[:, 0, 0]}, Y, 1)


def test_a_smoothed_map_is_averaged_over_neighbours():
    plain, state = fitted("patchwise", shrinkage=0.0)
    smooth = scorers.make("patchwise", shrinkage=0.0, smooth=True)
    one, other = (np.asarray(s.maps(state, {"patches": ODD})) for s in (plain, smooth))
    np.testing.assert_allclose(other[0, 1, 2], one[0, :3, 1:4].mean(), rtol=1e-5)
    np.testing.assert_allclose(other[0, 0, 0], one[0, :2, :2].mean(), rtol=1e-5)
    np.testing.assert_allclose(smooth.score(state, {"patches": ODD}), other.max((1, 2)), rtol=1e-5)


def test_fused_maps_lie_on_the_finest_grid_and_keep_their_maximum():
    fine = RNG.normal(size=(N, 2 * H, 2 * W, 3)).astype(np.float32)
    options = (("shrinkage", 0.0),), (("feature", "statistics"), ("shrinkage", 0.0))
    one = scorers.make("fused", names=("patchwise",) * 2, options=options, offsets=(1, 2), scales=(1, 2))
    outputs = {"patches": X, "statistics": fine}
    state = fit_to(one, outputs)
    maps = np.asarray(one.maps(state, outputs))
    assert maps.shape == (N, 2 * H, 2 * W)
    np.testing.assert_allclose(one.score(state, outputs), maps.max((1, 2)), rtol=1e-5)
    parts = [scorers.make("patchwise", **dict(o)) for o in options]
    coarse, finest = (np.asarray(p.maps(own, outputs)) for p, own in zip(parts, state, strict=True))
    wanted = np.maximum((coarse - 1).repeat(2, 1).repeat(2, 2), (finest - 2) / 2)
    np.testing.assert_allclose(maps, wanted, rtol=1e-4, atol=1e-5)


def test_what_has_one_patch_per_image_counts_in_a_fusion_and_has_no_places():
    outputs = {"patches": X, "overall": X.mean((1, 2))}
    one_each = {"feature": "overall", "coreset": N, "capacity": N}
    options = ({"shrinkage": 0.2}, one_each)
    one = scorers.make("fused", names=("patchwise", "patchcore"), options=options, offsets=(0, 0), scales=(1, 1e-3))
    state = fit_to(one, outputs)
    odd = {"patches": X, "overall": outputs["overall"] + 1}
    parts = [scorers.make(name, **o) for name, o in zip(("patchwise", "patchcore"), options, strict=True)]
    np.testing.assert_allclose(one.score(state, odd), 1e3 * parts[1].score(state[1], odd), rtol=1e-4)
    np.testing.assert_allclose(one.maps(state, odd), parts[0].maps(state[0], odd), rtol=1e-4)
    alone = scorers.make("fused", names=("patchcore",), options=(one_each,), offsets=(0,), scales=(1,))
    assert alone.maps(fit_to(alone, outputs), odd).shape == (N,)


def test_fused_is_the_highest_of_scores_made_alike():
    outputs = {"patches": X, "features": X.mean((1, 2))}
    odd = {"patches": ODD, "features": ODD.mean((1, 2))}
    options = ({"shrinkage": 0.2}, {"components": 2})
    one = scorers.make("fused", names=("gmm", "subspace"), options=options, offsets=(1.5, 4), scales=(0.5, 2))
    state = fit_to(one, outputs)
    each = []
    for name, option, m, d in zip(("gmm", "subspace"), options, (1.5, 4), (0.5, 2), strict=True):
        part = scorers.make(name, **option)
        each.append((np.asarray(jax.jit(part.score)(fit_to(part, outputs), odd)) - m) / d)
    np.testing.assert_allclose(jax.jit(one.score)(state, odd), np.maximum(*each), rtol=1e-5)
    places = scorers.make("subspace", components=2)
    expected = (np.asarray(jax.jit(places.maps)(fit_to(places, outputs), odd)) - 4) / 2
    np.testing.assert_allclose(jax.jit(one.maps)(state, odd), expected, rtol=1e-5)
    plain = {"names": ("gmm", "pca"), "offsets": (0, 0), "scales": (1, 1)}
    assert scorers.make("fused", **plain).maps is None
    assert scorers.make("fused", **plain | {"options": ({"components": 3}, {})}).fewest == 3
    for wrong, said in ({"scales": (1, 0)}, "scales positive"), ({"offsets": (1,)}, "must be as many"):
        with pytest.raises(ValueError, match=said):
            scorers.make("fused", **plain | wrong)
    with pytest.raises(
        ValueError, match="'fused' needs the options offsets, scales"
    ):  # unscaled, one would drown the other
        scorers.make("fused", names=("gmm", "pca"))


# Maps of a detector


def network(params, images):
    """Places of 4 × 4 px: their mean and spread."""
    x = images.reshape(images.shape[0], images.shape[1] // 4, 4, images.shape[2] // 4, 4).astype(jnp.float32)
    return {"patches": jnp.stack([x.mean((2, 4)), x.std((2, 4))], -1), "features": x.mean((1, 2, 3, 4))[:, None]}


@pytest.fixture(scope="module")
def placed():
    rng = np.random.default_rng(1)
    images = rng.integers(90, 160, (60, 16, 24, 1), np.uint8)
    made = adjax.detector_from(network, {}, "patchwise", images[:40], held_out=images[40:])
    return made.with_false_positive_rate(0.05), images


def test_a_map_is_in_the_unit_of_the_score(placed):
    detector, images = placed
    odd = images[:3].copy()
    odd[1, 4:8, 8:12] = 255
    assert localise.kind(detector) == "score"
    maps, scores = np.asarray(detector.maps(odd)), np.asarray(detector.score(odd))
    assert maps.shape == (3, 16, 24)
    cells = np.asarray(localise.cells(detector, detectors.outputs_of(detector, jnp.asarray(odd))))
    np.testing.assert_allclose(cells.max((1, 2)), scores, rtol=1e-6)
    assert (maps.max((1, 2)) <= scores * (1 + 1e-6)).all()
    assert maps[1].argmax() // 24 in range(4, 8)
    assert maps[1].argmax() % 24 in range(8, 12)
    assert scores[1] > float(detector.threshold) >= scores[0]


def test_a_detector_without_places_says_so(placed):
    _, images = placed
    flat = adjax.detector_from(network, {}, "mahalanobis", images[:40])
    assert localise.kind(flat) is None
    with pytest.raises(ValueError, match="scorer 'mahalanobis' has no places: try patchcore, padim or patchwise"):
        flat.maps(images[:2])


def test_fitting_by_batches_is_fitting_at_once(placed, monkeypatch):
    """Maps are never kept: the statistics are of one batch after another, the last one padded."""
    detector, images = placed
    monkeypatch.setattr(detectors.features, "batch_size_for", lambda shape: 16)
    again = adjax.detector_from(network, {}, "patchwise", images[:40], held_out=images[40:])
    np.testing.assert_allclose(again.score(images), detector.score(images), rtol=1e-3)
    np.testing.assert_allclose(again.calibration.knots, detector.calibration.knots, rtol=1e-4)


def test_masks_tell_how_well_maps_show_where(placed):
    detector, images = placed
    odd, masks = images[:4].copy(), np.zeros((4, 16, 24), bool)
    odd[:, 4:8, 8:12], masks[:, 4:8, 8:12] = 255, True
    judged = fit.evaluate(detector, images[40:], odd, {0: masks[0], 2: masks[2]})
    assert (judged.pixels.masks, judged.pixels.empty) == (2, 0)
    assert judged.pixels.auroc > 0.9
    assert judged.pixels.aupro > 0.9
    assert judged.pixels.aupro_small > 0.5
    empty = np.zeros_like(masks[0])
    assert fit.evaluate(detector, images[40:], odd, {0: masks[0], 1: empty}).pixels[::4] == (2, 1)
    assert fit.evaluate(detector, images[40:], odd, {1: empty}).pixels is None
    assert fit.evaluate(detector, images[40:], odd).pixels is None
    flat = adjax.detector_from(network, {}, "mahalanobis", images[:40], held_out=images[40:])
    assert fit.evaluate(flat, images[40:], odd, {0: masks[0]}).pixels is None


# Boxes and overlays

SPEC = Spec("gmm", "efficientnet_lite0", "padim", (16, 24, 1), ["normal"], frame="whole")


def test_boxes_are_px_of_the_picture_highest_first():
    places = np.zeros((4, 6), np.float32)
    places[0, 0], places[2, 3], places[3, 4] = 2, 3, 5  # the last two touch at a corner
    assert regions.boxes(places, 1.0, (40, 120), SPEC) == [(60, 20, 40, 20, 5.0), (0, 0, 20, 10, 2.0)]
    middle = dataclasses.replace(SPEC, frame="middle")  # of 40 × 120 px it sees 60, between 30 and 90
    (box,) = regions.boxes(places, 2.5, (40, 120), middle)
    assert box == (60, 20, 20, 20, 5.0)
    assert regions.boxes(np.full((4, 6), np.nan, np.float32), 1.0, (40, 120), SPEC)[0].peak == np.inf
    assert regions.told(regions.boxes(places, 1.0, (40, 120), SPEC)) == "60,20,40,20,5; 0,0,20,10,2"


def test_the_peak_of_a_ring_is_not_that_of_the_spot_within():
    places = np.full((5, 6), 2, np.float32)
    places[1:4, 1:4] = 0
    places[2, 2] = 5
    assert regions.boxes(places, 1.0, (50, 60), SPEC) == [(20, 20, 10, 10, 5.0), (0, 0, 60, 50, 2.0)]


def test_what_is_flagged_as_a_whole_is_boxed_and_outlined_as_a_whole(tmp_path):
    places = np.zeros((4, 6), np.float32)
    places[1, 1], places[1, 2], places[3, 5] = 0.8, 0.6, 0.3
    assert regions.boxes(places, 1.0, (40, 120), SPEC, 1.5) == [(0, 0, 120, 40, 1.5)]
    assert regions.boxes(places, None, (40, 120), SPEC, 1.5) == [(20, 10, 40, 10, pytest.approx(0.8))]
    middle = dataclasses.replace(SPEC, frame="middle")
    assert regions.boxes(places, 1.0, (40, 120), middle) == [(30, 0, 60, 40, pytest.approx(0.8))]
    Image.fromarray(np.full((240, 720), 100, np.uint8)).save(tmp_path / "a.png")
    for spec, left, right in (SPEC, 0, 719), (middle, 180, 539):
        _, painted = regions.drawn(tmp_path / "a.png", places, 1.0, (240, 720), spec)
        red = (painted == (255, 40, 40)).all(-1)
        assert red[:, [left, right]].all()
        assert red[[0, -1], left : right + 1].all()
        assert red.sum() == 2 * (240 + right - left + 1) - 4


def test_a_map_and_an_overlay_are_written_at_full_size(tmp_path):
    import tifffile

    Image.fromarray(np.full((40, 120), 100, np.uint8)).save(tmp_path / "a.png")
    places = np.zeros((4, 6), np.float32)
    places[1, 1] = 3
    regions.write(tmp_path / "a.png", tmp_path / "maps" / "a.png", places, 1.0, (40, 120), SPEC)
    scores = tifffile.imread(tmp_path / "maps" / "a.png.map.tif")
    assert (scores.shape, scores.dtype) == ((40, 120), np.float32)
    assert 10 <= scores.argmax() // 120 < 20
    assert 20 <= scores.argmax() % 120 < 40
    shown = np.asarray(Image.open(tmp_path / "maps" / "a.png.overlay.png"))
    assert shown.shape == (40, 120, 3)
    assert (shown == (255, 40, 40)).all(-1).any()  # the outline
    assert (shown[30:, 80:] == 100).all()
    half = regions.enlarged(places, (40, 120), dataclasses.replace(SPEC, frame="middle"))
    assert np.isnan(half[:, :29]).all()
    assert np.isfinite(half[:, 31:89]).all()


# What a picture is brought to


def test_a_whole_picture_is_seen_to_its_edges(tmp_path):
    wide = np.full((64, 256, 3), 90, np.uint8)
    wide[20:40, :30] = 250
    Image.fromarray(wide).save(tmp_path / "wide.png")
    middle, whole = (upload.read(tmp_path / "wide.png", (32, 32, 3), frame).pixels for frame in ("middle", "whole"))
    assert middle.max() == 90
    assert whole[:, :3].max() > 200
    assert pixels.unseen(64, 256, (32, 32, 3), "middle") == 0.75
    assert pixels.unseen(64, 256, (32, 32, 3), "whole") == 0
    assert pixels.unseen(64, 256, (16, 64, 3), "middle") == 0
    with pytest.raises(ValueError, match="frame='half': must be one of middle, whole, letterbox"):
        dataclasses.replace(SPEC, frame="half")


# Made defects

PICTURE = RNG.integers(60, 190, (48, 64, 3), np.uint8)


@pytest.mark.parametrize("kind", list(defects.KINDS))
def test_a_defect_lies_where_its_mask_says(kind):
    image = np.repeat(np.repeat(PICTURE[:12, :16], 4, 0), 4, 1)
    made, mask = defects.defect(image, kind, 0.05, np.random.default_rng(3), PICTURE)
    again, _ = defects.defect(image, kind, 0.05, np.random.default_rng(3), PICTURE)
    np.testing.assert_array_equal(made, again)
    assert made.dtype == np.uint8
    assert 0.005 < mask.mean() < 0.15
    assert np.abs(made[mask].astype(int) - image[mask]).mean() >= defects.LEAST
    assert np.abs(made[~mask].astype(int) - image[~mask]).mean() < 1.5  # soft edges


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_where_nothing_can_be_seen_it_is_a_spot(grey):
    flat = np.full((8, 32, 32, 1), grey, np.uint8)
    made, masks, kinds = defects.defects(flat, 0.05, kinds=("blur",))
    assert masks.any((1, 2)).all()
    assert (made != flat).any((1, 2, 3)).all()
    assert set(kinds) == {"spot"}


def test_defects_take_the_kinds_in_turn_and_refuse_what_they_cannot_do():
    images = np.stack([PICTURE] * 9)
    made, masks, kinds = defects.defects(images, (0.01, 0.05), seed=1)
    assert kinds == [*defects.KINDS, "cutpaste"]
    assert masks.any((1, 2)).all()
    assert (made != images).any((1, 2, 3)).all()
    for (kind, share), said in (("dent", 0.1), "no defect 'dent'"), (("spot", 0.5), "share 0.5"):
        with pytest.raises(ValueError, match=said):
            defects.defect(PICTURE, kind, share, RNG)
    with pytest.raises(ValueError, match=r"images float64\[9, 48, 64, 3\]: must be uint8"):
        defects.defects(images / 255, 0.1)
    with pytest.raises(ValueError, match="8×8 px"):
        defects.defect(PICTURE[:8, :8], "spot", 0.1, RNG)
    assert defects.foreign(3, (20, 30, 1)).shape == (3, 20, 30, 1)
