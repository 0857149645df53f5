"""What algorithms need at least, whatever program does them: operations and bytes. A multiply-add is two operations.

Each input is read once from main memory and each result written once, in float32; what a scorer has fitted is small and
counts with the inputs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_FLOAT = 4
_KEPT = 10_000, 1000
"""Rows that `knn` and `patchcore` keep, if not told otherwise."""


class Needs(NamedTuple):
    """`flop` and `bytes` of scoring rows of `dim` features."""

    flop: float
    bytes: float
    dim: int


def mahalanobis(n: int, dim: int, classes: int, covariances: int) -> Needs:
    """N rows whitened by each covariance, then a difference, square and sum per class and feature.

    Args:
      n, dim: rows and their features.
      classes: means that distances are taken from.
      covariances: 1 if tied, else as many as classes.
    """
    flop = 2 * n * dim**2 * covariances + 3 * n * dim * classes
    return Needs(flop, _FLOAT * (n * dim + covariances * dim**2 + classes * dim + n), dim)


def cosine(n: int, dim: int, classes: int) -> Needs:
    """A row's length, and its product with each class mean.

    Args:
      n, dim: rows and their features.
      classes: means.
    """
    return Needs(2 * n * dim * (classes + 1), _FLOAT * (n * dim + classes * dim + n), dim)


def gmm(n: int, dim: int, components: int) -> Needs:
    """Rows whitened by each component.

    Args:
      n, dim: rows and their features.
      components: each with a full covariance.
    """
    return Needs(components * (2 * n * dim**2 + 3 * n * dim), _FLOAT * (n * dim + components * dim**2 + n), dim)


def knn(n: int, dim: int, kept: int) -> Needs:
    """Products of each row with all that are kept.

    Args:
      n, dim: rows and their features.
      kept: rows that were fitted.
    """
    return Needs(2 * n * dim * kept, _FLOAT * (n * dim + kept * dim + n), dim)


def of_scorer(name: str, rows: tuple[int, ...], classes: int, **options: int) -> Needs | None:
    """What scoring takes by a scorer's name; None for one that isn't written down here.

    Args:
      name: as in `adjax.scorers.SCORERS`.
      rows: shape of the features, [N, D] or [N, h, w, C].
      classes: K.
      **options: of the scorer.
    """
    n, dim = math.prod(rows[:-1]), rows[-1]
    if name == "gmm":
        return gmm(n, dim, options["components"])
    known = {
        "mahalanobis": lambda: mahalanobis(n, dim, classes, 1),
        "mahalanobis_perclass": lambda: mahalanobis(n, dim, classes, classes),
        "cosine": lambda: cosine(n, dim, classes),
        "knn": lambda: knn(n, dim, options.get("capacity", _KEPT[0])),
        "patchcore": lambda: knn(n, dim, options.get("coreset", _KEPT[1])),
        "padim": lambda: mahalanobis(n, dim, 1, 1),
    }
    return known[name]() if name in known else None
