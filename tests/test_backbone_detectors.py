"""Detectors round the ImageNet networks, at one small size: fitted to a middle layer, saved, loaded, exported."""

from functools import partial

import jax
import numpy as np
import pytest

import adjax
from adjax import detector as detectors
from adjax import export, features, models
from adjax.augment import normalise_for
from adjax.detector import Spec
from adjax.models import resnet, vit

SHAPE = (32, 48, 3)
NETWORKS = {
    "resnet_short": (128, {}),  # of two blocks, which show what ResNets have in common
    "resnet18": (128, {}),
    "resnet50": (512, {}),
    "convnext_tiny": (192, {}),
    "dinov2_vits14": (384, {"registers": 4}),
    "squeezenet": (128, {}),
    "vgg16": (256, {"layer": "block4_conv1"}),
}
"""Name -> channels of `layer2`, options."""
apply = features.apply


def fitted(name, images):
    """Of arbitrary numbers: to draw them by JAX takes seconds to compile."""
    dim, options = NETWORKS[name]
    scorer = {"feature": "layer2", "dim": dim, "coreset": 8, "capacity": 50}
    spec = Spec("gmm", name, "patchcore", SHAPE, ("normal",), scorer, {}, options)
    method, rng = detectors.resolve(spec).method, np.random.default_rng(0)

    def drawn(leaf):
        if leaf.ndim == 1:
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(method.init, jax.random.key(0), dict(method.hparams))["params"]
    params = jax.tree.map(drawn, shapes)
    normalise = normalise_for(method.input_range, images)
    return detectors.fit(spec, params, normalise, images[:16], np.zeros(16, np.int32), images[16:])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_detector_round_it_is_saved_loaded_and_exported(name, tmp_path, monkeypatch):
    monkeypatch.setattr(vit, "DEPTH", 4)
    monkeypatch.setitem(models.MODELS, "resnet_short", partial(resnet.ResNet, plan=resnet.Plan((1, 1), False)))
    monkeypatch.setattr(features, "apply", lambda f, state, x, batch_size=8: apply(f, state, x, min(batch_size, 8)))
    monkeypatch.setattr(features, "batch_size_for", lambda shape: 8)
    contrast = np.linspace(0.2, 1, 24)[:, None, None, None]  # of near ties a level would tell roundings apart
    images = (128 + contrast * np.random.default_rng(0).integers(-128, 128, (24, *SHAPE))).astype(np.uint8)
    detector = fitted(name, images)
    scores = detector.score(images)
    assert np.isfinite(scores).all()
    assert np.ptp(scores) > 0
    detector.save(tmp_path / "saved")
    np.testing.assert_array_equal(adjax.load(tmp_path / "saved").score(images), scores)
    detector.export(tmp_path / "exported")
    np.testing.assert_allclose(export.load(tmp_path / "exported").score(images), scores, rtol=1e-3, atol=1e-5)
