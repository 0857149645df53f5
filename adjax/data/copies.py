"""Pictures that are copies of one another, exactly or nearly: a saved-again JPEG, the next frame of a still camera.

Copies break a promise that is made by counting pictures: a threshold set by twelve pictures, four times each, is one of
twelve, not of 48; and a picture whose copy was trained on is no fresh one.

Pictures are *near* copies if they differ by no more than `CAP` grey levels (root mean square, of thumbnails), and each
by a fraction of how far it is from the next picture that is none: 1/`GAP`. The second condition is what tells copies
from pictures that are merely alike, such as those of one product under one lamp, which all lie as far from each other.
Where something else lies among them, they are as near to each other as copies are, and only more: so no picture has
more than `MOST` near copies. Turned, mirrored or shifted copies are not found, nor ten frames or more of one scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from adjax.data.io.scratch import Images, blocks
from adjax.data.io.thumbnails import thumbnails
from adjax.data.splitting import copies, digest

THUMBNAIL_PX = 16
CAP, GAP, NOISE = 4.0, 4.0, 0.25
"""Grey levels that near copies differ by at most; how many times further the next picture is; and what difference is
taken for nothing."""
MOST = 8
"""Near copies that a picture may have. 50 parts in a fixture, with serial numbers, were within 0.3 to 1.1 grey levels
of most others; one black picture beside them made 49 of them copies of the first."""
MOST_PICTURES = 10_000
"""Of more pictures only exact copies are looked for: all are compared with all."""
_BLOCK = 1024


def near_copies(images: Images) -> np.ndarray:
    """Groups of pictures that are copies of one another, exactly or nearly.

    Args:
      images: uint8[N, H, W, C].

    Returns:
      int64[N]: for each the number of the first picture of its group; its own, if it has no copy before.

    Example:
      >>> images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
      >>> brighter = np.clip(images[:1].astype(int) + 1, 0, 255).astype(np.uint8)
      >>> near_copies(np.concatenate([images, brighter, images[1:2]])).tolist()
      [0, 1, 2, 0, 1]
    """
    exact = copies(images)
    firsts = np.unique(exact)
    if not 1 < len(firsts) <= MOST_PICTURES:
        return exact
    small = [thumbnails(block, THUMBNAIL_PX) for block in blocks(images[firsts])]
    rows = np.concatenate(small).reshape(len(firsts), -1)
    near = _linked(rows - rows.mean(0))
    return firsts[near][np.searchsorted(firsts, exact)]


def copied(images: Iterable[np.ndarray], others: Iterable[np.ndarray]) -> int:
    """Counts images that are exact copies of others.

    Args:
      images: uint8[N, H, W, C].
      others: uint8[M, H, W, C].

    Returns:
      How many of `images` equal one of `others`, byte for byte.

    Example:
      >>> images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
      >>> copied(images, images[1:])
      2
    """
    known = set(map(digest, others))
    return sum(digest(image) in known for image in images)


def copied_files(files: Sequence[Path], others: Sequence[Path]) -> int:
    """Counts files that are copies of others; only those of equal size are read.

    Args:
      files: to look at.
      others: to compare with.

    Returns:
      How many of `files` have the same bytes as one of `others`.
    """
    sizes, other_sizes = [file.stat().st_size for file in files], [file.stat().st_size for file in others]
    both = set(sizes) & set(other_sizes)
    known = {_sha256(file) for file, size in zip(others, other_sizes, strict=True) if size in both}
    return sum(size in both and _sha256(file) in known for file, size in zip(files, sizes, strict=True))


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _linked(rows: np.ndarray) -> np.ndarray:
    """int[n]: the first row of each row's group; rows float32[n, D], centred."""
    n, most = len(rows), min(MOST, len(rows) - 2)  # others, the furthest of which is none of the copies
    own, other = [], []
    squares = (rows**2).sum(1)
    for start in range(0, n, _BLOCK):
        block = rows[start : start + _BLOCK]
        squared = squares[start : start + _BLOCK, None] + squares[None] - 2 * block @ rows.T
        distance = np.sqrt(np.maximum(squared, 0) / rows.shape[1])  # root mean square, in grey levels
        distance[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        for i in np.flatnonzero((distance <= CAP).any(1)):
            nearest = np.argpartition(distance[i], most)[: most + 1]
            nearest = nearest[np.argsort(distance[i, nearest])]
            d = distance[i, nearest]
            apart = (d[:-1] <= CAP) & (d[1:] >= GAP * np.maximum(d[:-1], NOISE))
            if apart.any():
                found = nearest[: np.flatnonzero(apart)[-1] + 1]
                own += [start + i] * len(found)
                other += found.tolist()
    graph = coo_array((np.ones(len(own), bool), (own, other)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    return first[member]
