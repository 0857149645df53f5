"""Drawing rows of a pool: reproducible on every machine, evenly over groups, or by k-means on pixels.

K-means sampling (of the Fashion-MNIST one-vs-rest protocol): cluster the pooled anomalies by their
pixels and draw the same number from each cluster, so that rare looks are not drowned by common ones.

Every draw takes the rows with the smallest of one 64-bit key per row. The keys are raw bits of NumPy's PCG64,
a stream promised for ever, seeded by a number and a word that says what the draw is for: two draws with one
seed are independent of each other and of the order in which they are made.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from adjax.data.splitting import smallest

FIT_VALUES = 1 << 22
"""Pixel values that k-means sees together, 5,248 images of 28×28; below it, the least number of images."""
MIN_FIT_IMAGES = 2048
"""All images are then put to the nearest center."""
SAME_PROGRAM = 128
"""Images that k-means sees come in multiples of it: classes of about one size share one compiled program."""
CHUNK_VALUES = 1 << 20  # float32 values at a time when distances are taken: they stay in the cache
ITERATIONS = 20


def row_keys(count: int, seed: int, purpose: str) -> np.ndarray:
    """Draws a random key per row.

    Args:
      count: rows of the pool, N.
      seed: not negative.
      purpose: what the draw is for, for example "anomalies beside Trouser".

    Returns:
      uint64 [N], the same on every machine.

    Raises:
      ValueError: a negative seed.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}, but must not be negative: take 0, 1, 2, …")
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return np.random.PCG64([seed, word]).random_raw(count)


def share(sizes: np.ndarray, count: int) -> np.ndarray:
    """Divides `count` over groups: the same number for each, as far as its size allows.

    What a small group lacks is drawn from the others, evenly; what doesn't divide goes to the first groups.

    Args:
      sizes: integers [G].
      count: at most their sum.

    Returns:
      int64 [G], each at most its size; they sum to `count`.

    Raises:
      ValueError: fewer rows than `count`.

    Example:
      >>> share(np.array([100, 2, 100]), 10).tolist()
      [4, 2, 4]
    """
    sizes = np.asarray(sizes, np.int64)
    if count > sizes.sum():
        raise ValueError(f"{count:,} rows are needed, but there are only {sizes.sum():,}: ask for fewer")
    taken = np.zeros_like(sizes)
    while left := count - taken.sum():
        open_ = np.flatnonzero(taken < sizes)
        if left < len(open_):  # all open groups have given the same so far
            taken[open_[:left]] += 1
            break
        taken[open_] = np.minimum(taken[open_] + left // len(open_), sizes[open_])
    return taken


def draw_evenly(rows: np.ndarray, groups: np.ndarray, count: int, keys: np.ndarray) -> np.ndarray:
    """Draws `count` rows, evenly over the groups that they are of.

    Args:
      rows: integers [n], rows of the pool.
      groups: integers [n], the group of each; groups are numbered as they please.
      count: how many.
      keys: uint64 [N], of the whole pool; see `row_keys`.

    Returns:
      Rows, sorted, `count` of them.

    Raises:
      ValueError: fewer rows than `count`.
    """
    numbers, sizes = np.unique(groups, return_counts=True)
    counts = share(sizes, count)
    drawn = [smallest(rows[groups == number], keys, take) for number, take in zip(numbers, counts, strict=True)]
    return np.sort(np.concatenate([*drawn, np.empty(0, rows.dtype)])).astype(rows.dtype)


def clusters_of(images: np.ndarray, clusters: int, keys: np.ndarray) -> np.ndarray:
    """The cluster of each image, by k-means on its pixels.

    Args:
      images: uint8 [n, H, W, C].
      clusters: how many, at least 1; with fewer images than that, as many as images.
      keys: uint64 [n]; the images that k-means sees are those with the smallest keys.

    Returns:
      int32 [n], values 0..clusters-1.
    """
    clusters = min(clusters, len(images))
    if clusters < 2:
        return np.zeros(len(images), np.int32)
    import jax

    from adjax._kmeans import kmeans

    flat = images.reshape(len(images), -1)
    count = min(len(flat), max(FIT_VALUES // flat.shape[1], MIN_FIT_IMAGES))
    if count > SAME_PROGRAM:
        count -= count % SAME_PROGRAM
    seen = smallest(np.arange(len(flat)), keys, count)
    key = jax.random.key(int(keys[seen].min() >> np.uint64(33)))
    compiled = jax.jit(kmeans, static_argnums=(2, 3))  # once a shape: JAX knows the function again
    centers, _ = compiled(key, flat[seen].astype(np.float32) / 255, clusters, ITERATIONS)
    return _nearest(flat, np.asarray(centers, np.float32) * 255)


def _nearest(flat: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """argmin over centers of |x − c|² = |x|² − 2 x·c + |c|², of which |x|² is the same for all centers."""
    labels = np.empty(len(flat), np.int32)
    half = (centers**2).sum(1) / 2
    step = math.ceil(CHUNK_VALUES / flat.shape[1])
    for start in range(0, len(flat), step):
        part = flat[start : start + step].astype(np.float32)
        labels[start : start + step] = np.argmin(half - part @ centers.T, axis=1)
    return labels
