"""Imbalanced protocols: many normal images and few labelled anomalies, tested on test images, a share, or folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjax.data.protocols.benchmark import Benchmark, check_options, known_class, make_benchmark, make_trial
from adjax.data.protocols.sampling import draw_evenly, row_keys
from adjax.data.split import DataError, Split
from adjax.data.splitting import smallest, take_share


def imbalanced(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    supervision: str = "anomalies",
    validation: float = 0.1,
    normal: int = 0,
    counts: tuple[int, int] = (5923, 504),
) -> Benchmark:
    """Builds an imbalanced set: all of it is trained on, and all test images are tested.

    Args:
      train, test, classes, seeds, supervision, validation: as in `one_vs_rest`.
      normal: the class that is normal.
      counts: (normal images, anomalies) of the set, drawn from `train`, the anomalies evenly over all other
        classes. The default is MNIST's: every zero of its training set, and 56 of each other digit.

    Returns:
      A `Benchmark` of one trial per seed.

    Raises:
      DataError: fewer images than `counts` wants.
      ValueError: an option out of its range.
    """
    check_options(train, test, classes, supervision, validation)
    tests = np.arange(len(test.labels))
    trials = []
    for seed in seeds:
        rows = _draw_set(train, normal, counts, seed, classes)
        name = {"class": classes[normal]}
        trials.append(make_trial(train, test, name, seed, normal, rows, supervision, validation, tests))
    return make_benchmark(_counted(normal, counts, classes), train, test, classes, trials)


def holdout_fraction(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    supervision: str = "anomalies",
    validation: float = 0.1,
    normal: int = 0,
    counts: tuple[int, int] = (5923, 504),
    fraction: float = 0.1,
) -> Benchmark:
    """Builds the set of `imbalanced`, a share of which is tested on instead of being trained on.

    Without labelled anomalies in training, *all* anomalies are tested on: `counts=(5000, 500)` and
    `fraction=0.1` train an autoencoder on 4,500 normal images and test on 500 and 500 anomalies.

    Args:
      train, test, classes, seeds, supervision, validation, normal, counts: as in `imbalanced`; `test` is not
        used: the test pool is the pool.
      fraction: the share of each class to test on, 0 < fraction < 1.

    Returns:
      A `Benchmark` of one trial per seed.

    Raises:
      DataError, ValueError: as in `imbalanced`.
    """
    check_options(train, test, classes, supervision, validation)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}, but must lie between 0 and 1, both excluded")
    trials = []
    for seed in seeds:
        rows = _draw_set(train, normal, counts, seed, classes)
        tests = take_share(rows, train.labels, fraction, row_keys(len(train.labels), seed, "held-out fraction"))
        kept = np.setdiff1d(rows, tests)
        if not supervision.endswith("anomalies"):
            kept = kept[train.labels[kept] == normal]
            tests = np.setdiff1d(rows, kept)
        name = {"class": classes[normal]}
        trials.append(make_trial(train, train, name, seed, normal, kept, supervision, validation, tests))
    return make_benchmark(f"{_counted(normal, counts, classes)}, {fraction:g} held out", train, train, classes, trials)


def folds(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    supervision: str = "anomalies",
    validation: float = 0.1,
    normal: int = 0,
    counts: tuple[int, int] = (5923, 504),
    folds: int = 10,
) -> Benchmark:
    """Builds the set of `imbalanced`, cross-validated: each trial tests on one fold and trains on the others.

    Each class is spread over the folds as evenly as it goes. Results on the official test images are another
    benchmark, `imbalanced`: they are no further fold, and must not enter the mean over folds. Pixels are normalised by
    mean and deviation of the whole set, those of the fold that is tested too: two numbers a channel.

    Args:
      train, test, classes, seeds, supervision, validation, normal, counts: as in `imbalanced`; `test` is not
        used: the test pool is the pool. `validation` is a share of the other folds.
      folds: how many, at least 2.

    Returns:
      A `Benchmark` of one trial per seed and fold.

    Raises:
      DataError: fewer images than `counts` wants, or fewer anomalies or normal images than folds.
      ValueError: an option out of its range.
    """
    check_options(train, test, classes, supervision, validation)
    if not 2 <= folds <= min(counts):
        raise DataError(f"folds is {folds}, but must be at least 2 and at most {min(counts)}, the smaller of {counts}")
    trials = []
    for seed in seeds:
        rows = _draw_set(train, normal, counts, seed, classes)
        keys = row_keys(len(train.labels), seed, "folds")
        ordered = rows[np.lexsort((keys[rows], train.labels[rows]))]
        for fold in range(folds):
            tests = np.sort(ordered[fold::folds])
            kept = np.setdiff1d(rows, tests)
            name = {"fold": fold}
            trials.append(make_trial(train, train, name, seed, normal, kept, supervision, validation, tests))
    return make_benchmark(f"{_counted(normal, counts, classes)}, {folds} folds", train, train, classes, trials)


def _draw_set(train: Split, normal: int, counts: tuple[int, int], seed: int, classes: Sequence[str]) -> np.ndarray:
    """Rows of the imbalanced set, sorted."""
    normals = np.flatnonzero(train.labels == known_class(normal, classes))
    others = np.flatnonzero(train.labels != normal)
    if min(counts) < 1 or counts[0] > len(normals) or counts[1] > len(others):
        raise DataError(
            f"counts is {tuple(counts)}, but the training set has {len(normals):,} images of {classes[normal]} and "
            f"{len(others):,} others: choose at most that, and at least one of each"
        )
    keys = row_keys(len(train.labels), seed, f"imbalanced set of {classes[normal]}")
    drawn = draw_evenly(others, train.labels[others], counts[1], keys)
    return np.sort(np.concatenate([smallest(normals, keys, counts[0]), drawn]))


def _counted(normal: int, counts: tuple[int, int], classes: Sequence[str]) -> str:
    return f"{counts[0]:,} of {classes[normal]} and {counts[1]:,} others"
