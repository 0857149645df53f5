"""Stratified splits: a share of each class set aside, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


def copies(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Groups rows that are exact copies of one another.

    Args:
      rows: images or features, [N, ...], gone through once.

    Returns:
      int64[N]: for each row the number of the first one that equals it, byte for byte; its own if there is none before.

    Example:
      >>> copies(np.array([[1, 2], [3, 4], [1, 2]])).tolist()
      [0, 1, 0]
    """
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(digest(row), i) for i, row in enumerate(rows)], np.int64)


def digest(row: np.ndarray) -> bytes:
    """16 bytes by which a row, an image or features, is told from those that differ."""
    return hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=16).digest()


def folds(labels: np.ndarray, count: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Deals rows out into folds of about the same size and mixture of classes, deterministic by seed.

    Args:
      labels: integers [N].
      count: how many folds, from 2 to the number of groups.
      seed: of NumPy's PCG64.
      groups: integers [N]; rows of one group, such as `copies`, go into one fold, as the first of them does. None:
        each row is a group of its own.

    Returns:
      int32[N], 0 … count−1.

    Raises:
      ValueError: fewer than 2 folds, or more than groups.
    """
    labels = np.asarray(labels)
    _, first, member = np.unique(
        np.arange(len(labels)) if groups is None else groups, return_index=True, return_inverse=True
    )
    if not 2 <= count <= len(first):
        raise ValueError(f"{count} folds of {len(first)} different rows: must be from 2 to as many")
    keys = np.random.PCG64(seed).random_raw(len(first))
    dealt = np.empty(len(first), np.int32)
    dealt[np.lexsort((keys, labels[first]))] = np.arange(len(first)) % count
    return dealt[member]


def validation_split(
    labels: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Splits image numbers into (train, validation), stratified by class, deterministic by seed.

    Each class of n images gives round(fraction * n) of them to validation, but at least one and not all; a
    class of one image stays in training.

    Args:
      labels: integers [N].
      fraction: share of each class to set aside, 0 < fraction < 1.
      seed: of NumPy's PCG64.
      groups: integers [N]; rows of one group, such as `copies`, stay together, and count as the first of them. None:
        each row is a group of its own.

    Returns:
      (train_index, val_index), int32, sorted, disjoint, together 0..N-1.

    Raises:
      ValueError: labels that aren't [N], or a fraction outside (0, 1).

    Example:
      >>> train, val = validation_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
      >>> len(train), len(val)
      (6, 2)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels have shape {labels.shape}, but must be [N] with N > 0")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}, but must lie between 0 and 1, both excluded: 0.1 keeps a tenth")
    if groups is not None:
        _, first, member = np.unique(groups, return_index=True, return_inverse=True)
        taken = np.isin(member, validation_split(labels[first], fraction, seed)[1])
        return np.flatnonzero(~taken).astype(np.int32), np.flatnonzero(taken).astype(np.int32)
    # Raw bits: NumPy promises a bit generator's stream for ever, but not what Generator.permutation makes of
    # it.
    keys = np.random.PCG64(seed).random_raw(len(labels))
    rows = np.arange(len(labels), dtype=np.int32)
    aside = take_share(rows, labels, fraction, keys)
    return np.setdiff1d(rows, aside), aside


def take_share(rows: np.ndarray, labels: np.ndarray, fraction: float, keys: np.ndarray) -> np.ndarray:
    """Draws a share of each class, at least one row and not all; none of a class of one image.

    Args:
      rows: int[n], rows of the pool.
      labels: int[N] of the pool.
      fraction: in [0, 1).
      keys: uint64[N], a random key per row of the pool.

    Returns:
      Rows, sorted.
    """
    if fraction == 0:
        return rows[:0]
    taken = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        taken.append(smallest(members, keys, min(max(round(fraction * len(members)), 1), len(members) - 1)))
    return np.sort(np.concatenate(taken))


def smallest(rows: np.ndarray, keys: np.ndarray, count: int) -> np.ndarray:
    """Takes the rows with the smallest keys.

    Args:
      rows: int[n], row numbers.
      keys: uint64, a key per row of the pool.
      count: rows to take; at least n takes all.

    Returns:
      int[min(count, n)], sorted.
    """
    order = np.argsort(keys[rows], kind="stable")
    return np.sort(rows[order[:count]])


OWN_TEST_FRACTION = 0.2
OWN_SEED = 0


def own_split(labels: np.ndarray, split: str) -> np.ndarray:
    """Splits a set that has no halves: a fifth of each class is for testing.

    It is `validation_split(labels, OWN_TEST_FRACTION, OWN_SEED)`, the same each time for the same labels.

    Args:
      labels: int[N], classes.
      split: "train" or "test".

    Returns:
      The rows of that half.
    """
    train, test = validation_split(labels, OWN_TEST_FRACTION, OWN_SEED)
    return train if split == "train" else test
