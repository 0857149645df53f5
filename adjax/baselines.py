"""Scores that nobody would call a detector: where one of them does better, a detector is not worth its time.

| name | high where |
|---|---|
| high-pass | the picture has a cell of another sharpness: too smooth or too rough |
| mean colour | the whole picture is lighter, darker or tinted |
| pixel PCA | the picture, 32 px wide, is no combination of 30 principal ones |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from adjax import metrics
from adjax.data.io.scratch import Images, blocks
from adjax.data.io.thumbnails import thumbnails

CELLS, SIDE_PX, COMPONENTS = 12, 32, 30
"""Cells each way that `high_pass` looks at; side of the pictures of `pixel_pca`, and how many components it takes."""
BLOCK = 256
MOST = 1000
"""Normal images that `aurocs` compares with, at most."""


def high_pass(images: Images, normal: Images) -> np.ndarray:
    """Computes how many deviations the oddest cell's mean absolute Laplacian, as a logarithm, lies from normal cells'.

    Args:
      images: uint8[N, H, W, C], to score.
      normal: uint8[M, H, W, C], normal ones to compare with, M ≥ 2.

    Returns:
      float32[N], higher = more anomalous.
    """

    def energy(images: np.ndarray) -> np.ndarray:
        edges = np.abs(ndimage.laplace(images.mean(-1, dtype=np.float32), axes=(1, 2)))
        return np.log(thumbnails(edges[..., None], CELLS) + 1)

    known = _each(energy, normal)
    mean, sd = known.mean(), max(float(known.std()), 1e-6)
    return _each(lambda block: np.abs((energy(block) - mean) / sd).max((1, 2, 3)), images)


def mean_colour(images: Images, normal: Images) -> np.ndarray:
    """Computes how many deviations the mean colour lies from that of normal pictures.

    Args:
      images, normal: as of `high_pass`.

    Returns:
      float32[N], higher = more anomalous.
    """
    colour, known = (_each(lambda block: block.mean((1, 2), dtype=np.float32), x) for x in (images, normal))
    return np.linalg.norm((colour - known.mean(0)) / np.maximum(known.std(0), 1e-6), axis=1)


def pixel_pca(images: Images, normal: Images) -> np.ndarray:
    """Computes the squared residual of the pixels outside of the normal pictures' principal components.

    Args:
      images, normal: as of `high_pass`.

    Returns:
      float32[N], higher = more anomalous.
    """

    def flat(images: np.ndarray) -> np.ndarray:
        return thumbnails(images, SIDE_PX).reshape(len(images), -1) / 255

    train = _each(flat, normal)
    mean = train.mean(0)
    train -= mean
    few, count = len(train) < train.shape[1], min(COMPONENTS, min(train.shape) - 1)
    values, vectors = np.linalg.eigh(train @ train.T if few else train.T @ train)
    basis = vectors[:, -count:]
    if few:  # the same, by way of the smaller matrix
        basis = train.T @ basis / np.sqrt(np.maximum(values[-count:], 1e-12))

    def residual(images: np.ndarray) -> np.ndarray:
        x = flat(images) - mean
        return np.square(x).sum(1) - np.square(x @ basis).sum(1)

    return _each(residual, images)


def _each(function: Callable[[np.ndarray], np.ndarray], images: Images) -> np.ndarray:
    """`function` of all images, a block at a time: as float32 they take four times as much as their pixels."""
    return np.concatenate([function(block) for block in blocks(images, BLOCK)])


BASELINES: Mapping[str, Callable[[Images, Images], np.ndarray]] = {
    "high-pass": high_pass,
    "mean colour": mean_colour,
    "pixel PCA": pixel_pca,
}
"""Name -> `(images, normal) -> float32[N]`."""


def aurocs(normal: Images, anomalous: Images, train: Images) -> dict[str, float]:
    """Computes the AUROC of each baseline.

    Args:
      normal, anomalous: uint8[n, H, W, C], at least one each, to tell apart.
      train: uint8[M, H, W, C], normal ones that a detector learned from, M ≥ 2.

    Returns:
      Name → AUROC.
    """
    if len(train) > MOST:
        train = train[np.arange(0, len(train), -(-len(train) // MOST))]
    truth, found = np.repeat([0, 1], [len(normal), len(anomalous)]), {}
    for name, score in BASELINES.items():
        both = np.concatenate([score(images, train) for images in (normal, anomalous)])
        found[name] = float(metrics.auroc(jnp.asarray(both), truth))
    return found
