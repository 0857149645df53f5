"""Detectors of networks with arbitrary numbers, for tests of everything round a network: nothing is drawn by JAX, whose
random numbers take seconds to compile, and nothing is trained."""

from __future__ import annotations

import jax
import numpy as np

from adjax.augment import normalise_for
from adjax.detector import Detector, Spec, fit
from adjax.spec import resolve


def detector(spec: Spec, images: np.ndarray, labels: np.ndarray, held_out: np.ndarray | None = None) -> Detector:
    """Fitted to these images, its kernels as large as those of a network that is about to be trained."""
    method, rng = resolve(spec).method, np.random.default_rng(0)
    shapes = jax.eval_shape(method.init, jax.random.key(0), dict(method.hparams))["params"]

    def drawn(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else np.inf  # biases are zeros
        return rng.normal(0, np.sqrt(2 / fan_in), leaf.shape).astype(leaf.dtype)

    return fit(spec, jax.tree.map(drawn, shapes), normalise_for(method.input_range, images), images, labels, held_out)


def two_classes(shape: tuple[int, int, int]) -> Detector:
    """Dark and bright images, which any network tells apart; 80 fitted to, 40 held out."""
    images = np.random.default_rng(0).integers(0, 80, (120, *shape), np.uint8)
    labels = np.arange(120) % 2
    images[labels == 1] += 100
    spec = Spec("centerloss", "lenet5", "mahalanobis", shape, ("a", "b"))
    return detector(spec, images[40:], labels[40:], images[:40])


def with_places(shape: tuple[int, int, int]) -> Detector:
    """Dim images, scored by their places."""
    images = np.random.default_rng(0).integers(90, 130, (60, *shape), np.uint8)
    spec = Spec("gmm", "lenet5", "patchwise", shape, ("normal",), {"feature": "pool1"}, frame="whole")
    return detector(spec, images[:40], np.zeros(40, np.int32), images[40:])
