"""The steps of `adjax.detector.fit`: scorer and calibration from training images, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from adjax import features, scorers, thresholds
from adjax.augment import Normalise
from adjax.data.io.scratch import Images
from adjax.data.splitting import copies
from adjax.extraction import extractor, pooled_by
from adjax.spec import FunctionSpec, Spec, resolve
from adjax.types import Outputs, PyTree, Scorer

MOST_CALIBRATING, KEPT_BYTES = 10_000, 128 * 2**20
"""Where a fit streams: images whose distances make the class thresholds, and outputs that are held for them."""


def check_enough(name: str, fewest: int, images: Images, folds: int | None) -> None:
    """Refuses more components than different images, which would lie on single ones."""
    if fewest == 1:
        return
    different = len(np.unique(copies(images)))
    left = different if folds is None else different - math.ceil(different / min(folds, different))
    if left < fewest:
        fits = "" if left == different else f", {left} in each fit of {folds} folds"
        raise ValueError(
            f"scorer {name!r}: {fewest} components take at least as many different images, and there are "
            f"{different}{fits}"
        )


@partial(jax.jit, static_argnames="spec")
def fit_outputs(outputs, labels, spec):
    scorer = resolve(spec).scorer
    stats = scorers.gather(scorer, outputs, labels, len(spec.classes))
    state = scorer.finalize(stats)
    distances = calibrating(scorer, stats, state, outputs, labels)
    return state, thresholds.calibrate(distances, labels), distances[:, 0]


def calibrating(scorer: Scorer, stats: PyTree, state: PyTree, outputs: Outputs, labels: jax.Array) -> jax.Array:
    """Distances float32[N, K] of the training images, from which the class thresholds are taken: each by the fit
    without that image, where the scorer has it in closed form and float32 can tell; otherwise by the fit to all.

    A scorer knows what it was fitted to better than it knows others, so thresholds of its own distances flag too many:
    43 % of fresh rows of 64 features instead of 5, of `layers` fitted to 300 (`experiments.calibration_features`).
    """
    if scorer.unseen is None:
        return scorer.distances(state, outputs)
    left_out = scorer.unseen(stats, state, outputs, labels)
    told = jnp.isfinite(left_out)

    def with_all() -> jax.Array:
        return jnp.where(told, left_out, scorer.distances(state, outputs))

    return lax.cond(told.all(), lambda: left_out, with_all)


def fit_streamed(
    spec: Spec | FunctionSpec,
    params: PyTree,
    normalise: Normalise | None,
    images: Images,
    labels: np.ndarray,
    outputs: Outputs | None = None,
) -> tuple[PyTree, thresholds.Calibration, jax.Array]:
    """As `fit_outputs`, but a batch of outputs at a time: those of a scorer of maps take far more memory than their
    images, and those of images in a file grow with their number. So the network sees images twice, unless their
    `outputs` are given or take no more than `KEPT_BYTES`: to fit the scorer, and at most `MOST_CALIBRATING` of them,
    evenly spaced in each class, for the class thresholds."""
    scorer, classes = resolve(spec).scorer, len(spec.classes)
    size = features.batch_size_for(spec.seen_shape)
    extract = extractor(spec, means=pooled_by(spec))
    shapes = jax.eval_shape(extract, (params, normalise), jax.ShapeDtypeStruct((size, *spec.image_shape), spec.dtype))
    on_device = jax.device_put((params, normalise))
    each = sum(math.prod(x.shape[1:]) * x.dtype.itemsize for x in shapes.values())
    keep, kept = outputs is None and len(images) * each <= KEPT_BYTES, list[tuple[Outputs, int]]()

    def said(images: Images) -> Iterator[tuple[Outputs, int]]:
        if outputs is not None:
            yield from features.outputs_in_batches(outputs, size)
        elif kept:
            yield from kept
        else:
            for batch, real in features.batches(images, size):
                found = extract(on_device, batch), real
                if keep:
                    kept.append(found)
                yield found

    padded = _padded(labels, size)
    batches = ((outputs, own) for (outputs, _), own in zip(said(images), padded, strict=True))
    stats = scorers.statistics(scorer, batches, scorer.row(shapes), classes, size)
    state = jax.jit(scorer.finalize)(stats)
    if len(images) > MOST_CALIBRATING:
        rows = _evenly(labels, classes)
        if kept:
            parts = ({name: np.asarray(x[name])[:real] for name in x} for x, real in kept)
            outputs, kept = jax.tree.map(lambda *x: np.concatenate(x), *parts), []
        images, labels = images[rows], labels[rows]
        outputs = outputs and {name: x[rows] for name, x in outputs.items()}
        padded = _padded(labels, size)
    far = jax.jit(partial(calibrating, scorer))  # fetched at once, so that no outputs wait in memory
    distances = np.concatenate(
        [
            np.asarray(far(stats, state, outputs, own))[:real]
            for (outputs, real), own in zip(said(images), padded, strict=True)
        ]
    )
    return state, thresholds.calibrate(distances, labels), jnp.asarray(distances[:, 0])


def _padded(labels: np.ndarray, size: int) -> np.ndarray:
    """Labels by batches, int[⌈N / size⌉, size]; after the last one −1, which is no class."""
    return np.append(labels, np.full(-len(labels) % size, -1)).reshape(-1, size)


def _evenly(labels: np.ndarray, classes: int) -> np.ndarray:
    """Rows evenly spaced in each class, of all together at most `MOST_CALIBRATING`."""
    most = max(MOST_CALIBRATING // classes, 1)
    each = (np.flatnonzero(labels == k) for k in range(classes))
    return np.concatenate([own[np.linspace(0, len(own) - 1, min(len(own), most)).astype(int)] for own in each])


def sigma_level(
    calibration: thresholds.Calibration, distances: jax.Array, sigma: float, spec: Spec | FunctionSpec
) -> jax.Array:
    """The class-wise quantile of the distance `sigma` standard deviations above the mean one."""
    if not np.isfinite(sigma):
        raise ValueError(f"sigma {sigma}: must be a finite number of standard deviations")
    if len(calibration.knots) > 1:
        raise ValueError(
            f"sigma={sigma:g} needs one distance per image, and {spec.names[-1]!r} gives {len(calibration.knots)}, "
            "one per class: set the thresholds by `quantile`"
        )
    limit = thresholds.mean_sigma(distances, sigma)
    return thresholds.classwise_quantile(calibration, limit.reshape(1, 1))[0]


def no_distance(scorer: str, outputs: Outputs) -> str:
    """Why no training image has a finite distance, and what to do."""
    what = f"no training image has a finite {scorer} distance"
    if not outputs:
        return f"{what}: the network has diverged, or choose another scorer"
    finite = np.all([np.isfinite(np.asarray(x)).reshape(len(x), -1).all(1) for x in outputs.values()], 0)
    if not finite.any():
        return f"{what}: the network has diverged"
    if scorer in scorers.WITH_HEAD:
        return (
            f"{what}: it needs logits that are linear in the features, and those of this network are not. Scorers that "
            "need no such layer are mahalanobis, knn, pca, energy and others"
        )
    return f"{what}, though all that the network says of {finite.sum()} of them is finite: choose another scorer"
