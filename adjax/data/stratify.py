"""Setting a share of the images aside, class by class, the same on every machine."""

from __future__ import annotations

import numpy as np


def validation_split(labels: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits image numbers into (train, validation), stratified by class, deterministic by seed.

    Each class of n images gives round(fraction * n) of them to validation, but at least one and not all; a
    class of one image stays in training.

    Args:
      labels: integers [N].
      fraction: share of each class to set aside, 0 < fraction < 1.
      seed: of NumPy's PCG64.

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
    # Raw bits: NumPy promises a bit generator's stream for ever, but not what Generator.permutation makes of
    # it.
    keys = np.random.PCG64(seed).random_raw(len(labels))
    taken = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(keys[members], kind="stable")]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        taken[members[:count]] = True
    return np.flatnonzero(~taken).astype(np.int32), np.flatnonzero(taken).astype(np.int32)


OWN_TEST_FRACTION = 0.2
OWN_SEED = 0


def own_split(labels: np.ndarray, split: str) -> np.ndarray:
    """Rows of "train" or "test" for a set that has no such halves: a fifth of each class is for testing.

    It is `validation_split(labels, OWN_TEST_FRACTION, OWN_SEED)`, the same each time for the same labels.
    """
    train, test = validation_split(labels, OWN_TEST_FRACTION, OWN_SEED)
    return train if split == "train" else test
