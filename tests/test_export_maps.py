"""Anomaly maps of exported programs: those of the detector, at the size of the images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import daily

import adjax
from adjax import _numerics, export, localise
from adjax.detector import Detector

IMAGES = np.random.default_rng(0).integers(90, 130, (60, 16, 24, 1), np.uint8)
ODD = IMAGES[40:45].copy()
ODD[1, 4:8, 8:12] = 255
PLACED = {
    "padim": {"feature": "fine"},
    "patchcore": {"feature": "fine", "coreset": 20, "capacity": 100, "neighbours": 3},
    "patchwise": {"feature": "fine"},
    "subspace": {"feature": "fine", "components": 1},
    "fused": {
        "names": ("gmm", "patchwise", "patchwise"),
        "offsets": (1, 2, 3),
        "scales": (1, 2, 1),
        "options": ((), (("feature", "fine"),), (("feature", "coarse"),)),
    },
}


def network(params, images):
    """Places of 4 × 4 and of 8 × 8 px: their mean and spread."""

    def places(side):
        x = images.reshape(images.shape[0], images.shape[1] // side, side, images.shape[2] // side, side)
        return jnp.stack([x.mean((2, 4)), x.std((2, 4))], -1)

    images = images.astype(jnp.float32)[..., 0]
    return {"fine": places(4), "coarse": places(8), "features": images.mean((1, 2))[:, None]}


def made(scorer: str) -> Detector:
    options = PLACED[scorer]
    return adjax.detector_from(network, {}, scorer, IMAGES[:40], held_out=IMAGES[40:], scorer_options=options)


def agree(program: export.Exported, detector: Detector, images: np.ndarray) -> None:
    expected = detector.maps(images)
    found = program.maps(images)
    assert (found.shape, found.dtype) == (images.shape[:3], np.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(program.score(images), detector.score(images), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("symbolic")
@pytest.mark.parametrize("scorer", [*daily(list(PLACED), "fused")])
def test_the_maps_are_the_detectors(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_in_blocks", None)  # it is traced for any number of images
    detector = made(scorer)
    detector.export(tmp_path)
    program = export.load(tmp_path)
    assert program.map_kind == "score"
    agree(program, detector, ODD)
    assert set(program(ODD)) == {"score", "anomalous", "p_value"}  # maps of many images would fill the memory
    assert set(program.call(ODD)) == {"score", "anomalous", "p_value", "map"}


@pytest.mark.parametrize(("few", "many"), [(4, 16), (3, 7), (5, 5), (7, 3)])
def test_the_weights_are_those_of_jax_image_resize(few, many):
    expected = jax.image.resize(np.eye(few, dtype=np.float32), (many, few), "bilinear")
    np.testing.assert_allclose(_numerics._bilinear(few, many), expected, atol=1e-6)


def reconstructing(params, images):
    return {"reconstruction": images * params, "score": images.mean((1, 2, 3))}


def test_a_reconstruction_has_a_map_of_its_errors(tmp_path):
    detector = adjax.detector_from(reconstructing, jnp.float32(0.5), "score", IMAGES[:40])
    detector.export(tmp_path)
    program = export.load(tmp_path)
    assert program.map_kind == "reconstruction"
    agree(program, detector, ODD)
    np.testing.assert_allclose(program.maps(ODD), ODD[..., 0] / 2)
    assert program.maps(ODD[:0]).shape == (0, 16, 24)
    inside = jax.jit(lambda x: program.maps(x).max())(ODD)
    np.testing.assert_allclose(inside, 127.5)


def test_maps_of_what_goes_in_blocks(tmp_path):
    def rows(params, images):
        return reconstructing(params, images + np.zeros((int(images.shape[0]), 1, 1, 1), np.float32))

    detector = adjax.detector_from(rows, jnp.float32(0.5), "score", IMAGES[:40])
    detector.export(tmp_path)
    agree(export.load(tmp_path), detector, IMAGES[:35])


def test_a_program_without_maps_says_so(tmp_path):
    detector = adjax.detector_from(
        lambda params, images: images.mean((1, 2)),
        {},
        "patchcore",
        IMAGES[:40],
        scorer_options={"feature": "features", "coreset": 4, "capacity": 40},
    )
    assert localise.kind(detector) is None  # one patch per image is no place
    with pytest.raises(ValueError, match="scorer 'patchcore' has no places"):
        detector.maps(ODD)
    detector.export(tmp_path)
    program = export.load(tmp_path)
    assert program.map_kind is None
    assert "map" not in program.call(ODD)
    with pytest.raises(ValueError, match=r"no maps: .* export it again, or train with a scorer such as padim"):
        program.maps(ODD)


@pytest.mark.slow
@pytest.mark.usefixtures("symbolic")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scorer", ["fused", "padim", "patchwise", "subspace"])
def test_onnx_gives_the_map(scorer, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    from adjax import onnx

    detector = made(scorer)
    onnx.save(detector, tmp_path / "d.onnx")
    (found,) = runtime.InferenceSession(tmp_path / "d.onnx").run(["map"], {"images": ODD})
    np.testing.assert_allclose(found, detector.maps(ODD), rtol=1e-4, atol=1e-5)
