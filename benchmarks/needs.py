"""What algorithms need at least, whatever program does them: operations and bytes. A multiply-add is two operations.

Each input is read once from main memory and each result written once, in float32; what a scorer has fitted is small and
counts with the inputs.
"""

from __future__ import annotations

from typing import NamedTuple

_FLOAT = 4


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
