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
from adjax.data.io.thumbnails import thumbnails

CELLS, SIDE_PX, COMPONENTS = 12, 32, 30
"""Cells each way that `high_pass` looks at; side of the pictures of `pixel_pca`, and how many components it takes."""
MOST = 1000
"""Normal images that `aurocs` compares with, at most."""


def high_pass(images: np.ndarray, normal: np.ndarray) -> np.ndarray:
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

    known = energy(normal)
    return np.abs((energy(images) - known.mean()) / max(float(known.std()), 1e-6)).max((1, 2, 3))


def mean_colour(images: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Computes how many deviations the mean colour lies from that of normal pictures.

    Args:
      images, normal: as of `high_pass`.

    Returns:
      float32[N], higher = more anomalous.
    """
    colour, known = (x.mean((1, 2), dtype=np.float32) for x in (images, normal))
    return np.linalg.norm((colour - known.mean(0)) / np.maximum(known.std(0), 1e-6), axis=1)


def pixel_pca(images: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Computes the squared residual of the pixels outside of the normal pictures' principal components.

    Args:
      images, normal: as of `high_pass`.

    Returns:
      float32[N], higher = more anomalous.
    """

    def flat(images: np.ndarray) -> np.ndarray:
        return thumbnails(images, SIDE_PX).reshape(len(images), -1) / 255

    train = flat(normal)
    mean = train.mean(0)
    train -= mean
    few, count = len(train) < train.shape[1], min(COMPONENTS, min(train.shape) - 1)
    values, vectors = np.linalg.eigh(train @ train.T if few else train.T @ train)
    basis = vectors[:, -count:]
    if few:  # the same, by way of the smaller matrix
        basis = train.T @ basis / np.sqrt(np.maximum(values[-count:], 1e-12))
    x = flat(images) - mean
    return np.square(x).sum(1) - np.square(x @ basis).sum(1)


BASELINES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "high-pass": high_pass,
    "mean colour": mean_colour,
    "pixel PCA": pixel_pca,
}
"""Name -> `(images, normal) -> float32[N]`."""


def aurocs(normal: np.ndarray, anomalous: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """Computes the AUROC of each baseline.

    Args:
      normal, anomalous: uint8[n, H, W, C], at least one each, to tell apart.
      train: uint8[M, H, W, C], normal ones that a detector learned from, M ≥ 2.

    Returns:
      Name → AUROC.
    """
    train = train[:: -(-len(train) // MOST)]
    both, truth = np.concatenate([normal, anomalous]), np.repeat([0, 1], [len(normal), len(anomalous)])
    return {name: float(metrics.auroc(jnp.asarray(score(both, train)), truth)) for name, score in BASELINES.items()}
