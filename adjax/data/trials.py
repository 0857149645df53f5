"""Who is normal, many times over: one-vs-rest classes, folds and seeds as tables of row numbers.

A study is one pool of images and many trials on it. A trial holds no image, only rows of the pool: which are
trained on, held out, tested. So one program trains all trials of a study, on one copy of its images.

    one_vs_rest        each class normal once, all others anomalies (the Fashion-MNIST protocol)
    one_vs_other       one class normal, one other class the anomalies ("1" against "7")
    imbalanced         many normals, few labelled anomalies; tested on the official test images
    holdout_fraction   the same set; tested on a share of it
    folds              the same set, cross-validated: each part of it is tested on once

All are pure and reproducible: the same seed draws the same rows, whatever other classes or seeds are asked
for. What is tested on is never trained on, nor used to choose epochs or thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from adjax.data.sampling import clusters_of, draw_evenly, row_keys, smallest
from adjax.data.split import DataError, Split

LEARNS_FROM = ("classes", "normal", "anomalies", "classes and anomalies")
"""As in `adjax.types.Method`; the last two see labelled anomalies."""


class Trial(NamedTuple):
    """One member's share of a task: rows only, each array sorted in itself but for `validation`.

    Attributes:
      name: what tells it from the others: {"class": "Trouser", "seed": 0}, {"fold": 3, "seed": 0}.
      seed: of its draws, and for its training.
      rows: int32 [n], training rows of the pool.
      labels: int32 [n], what training sees: 0 normal, 1 anomalous (which is also class K = 1).
      held_out: int32 [m], *normal* rows of the pool that aren't trained on: for thresholds and p-values.
      validation: int32 [v], rows of the pool that aren't trained on, for choosing epochs: `held_out`, then
        labelled anomalies if training sees any.
      validation_truth: int32 [v], 0 normal, 1 anomalous.
      test: int32 [t], rows of the *test pool*.
      truth: int32 [t], 0 normal, 1 anomalous.
    """

    name: dict[str, Any]
    seed: int
    rows: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    validation: np.ndarray
    validation_truth: np.ndarray
    test: np.ndarray
    truth: np.ndarray


class Study(NamedTuple):
    """A pool of images and the trials on it.

    Attributes:
      name: what is studied, for headings: "one class against the rest".
      classes: class names of the data set.
      images, labels: uint8 [N, H, W, C] and int32 [N], the pool.
      test_images, test_labels: the test pool. With `folds` and `holdout_fraction` it *is* the pool, the same
        arrays, and `test` names rows that the trial doesn't train on.
      trials: one for each member, those of one seed together.
    """

    name: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    trials: tuple[Trial, ...]


def one_vs_rest(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    learns_from: str = "normal",
    validation: float = 0.1,
    anomalies_per_normal: float = 1.0,
    clusters: int = 3,
    normal_classes: Sequence[int] | None = None,
    balanced_test: bool = False,
) -> Study:
    """Each class is normal once, and all others are its anomalies.

    Args:
      train, test: Splits of one set; `train` is the pool.
      classes: class names, in the order of the labels.
      seeds: each multiplies the trials.
      learns_from: see `adjax.types.Method`. If anomalies are among it, they are drawn from the other classes
        by k-means sampling; else no trial holds a single anomaly.
      validation: share of the normals and of the drawn anomalies that is held out of training; 0 ≤ share < 1.
      anomalies_per_normal: anomalies drawn for each normal image, before any are held out; 1 is published.
      clusters: of k-means on pixels; 1 draws at random instead.
      normal_classes: the classes that take their turn; None: all.
      balanced_test: test on as many anomalies as there are normals, drawn evenly over the other classes,
        instead of on all test images.

    Raises:
      DataError: a class without training or test images, or fewer anomalies than wanted.
      ValueError: an option out of its range.
    """
    _check(train, test, classes, learns_from, validation)
    if clusters < 1:
        raise ValueError(f"clusters is {clusters}, but must be at least 1 (1: drawn at random)")
    if anomalies_per_normal <= 0:
        raise ValueError(f"anomalies_per_normal is {anomalies_per_normal}, but must be positive: 1 is published")
    turns = range(len(classes)) if normal_classes is None else normal_classes
    trials = []
    for seed in seeds:
        for normal in turns:
            others = np.flatnonzero(train.labels != _known(normal, classes))
            tests = np.arange(len(test.labels))
            if balanced_test:
                tests = _balanced(test.labels, normal, seed, classes)
            trials.append(
                _against(
                    train,
                    normal,
                    others,
                    classes,
                    seed=seed,
                    name={"class": classes[normal]},
                    learns_from=learns_from,
                    validation=validation,
                    per_normal=anomalies_per_normal,
                    clusters=clusters,
                    test=tests,
                    truth=test.labels[tests] != normal,
                )
            )
    return _study("one class against the rest", train, test, classes, trials)


def one_vs_other(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    learns_from: str = "normal",
    validation: float = 0.1,
    normal: int = 1,
    anomalous: int = 7,
    anomalies_per_normal: float = 1.0,
    clusters: int = 1,
) -> Study:
    """One class is normal and one other the anomalies; the remaining classes are used nowhere.

    Args:
      train, test, classes, seeds, learns_from, validation, clusters: as in `one_vs_rest`.
      normal, anomalous: numbers of two classes.
      anomalies_per_normal: as in `one_vs_rest`, but no more than there are.

    Raises:
      DataError, ValueError: as in `one_vs_rest`; or one class twice.
    """
    _check(train, test, classes, learns_from, validation)
    if _known(normal, classes) == _known(anomalous, classes):
        raise DataError(f"class {normal} can't be normal and anomalous: choose two")
    tests = np.flatnonzero(np.isin(test.labels, (normal, anomalous)))
    others = np.flatnonzero(train.labels == anomalous)
    if learns_from.endswith("anomalies"):
        anomalies_per_normal = min(anomalies_per_normal, len(others) / max(1, (train.labels == normal).sum()))
    trials = [
        _against(
            train,
            normal,
            others,
            classes,
            seed=seed,
            name={"class": classes[normal], "against": classes[anomalous]},
            learns_from=learns_from,
            validation=validation,
            per_normal=anomalies_per_normal,
            clusters=clusters,
            test=tests,
            truth=test.labels[tests] != normal,
        )
        for seed in seeds
    ]
    return _study(f"{classes[normal]} against {classes[anomalous]}", train, test, classes, trials)


def imbalanced(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    learns_from: str = "anomalies",
    validation: float = 0.1,
    normal: int = 0,
    counts: tuple[int, int] = (5923, 504),
) -> Study:
    """Many normals, few anomalies: trained on the whole of such a set, tested on all test images.

    Args:
      train, test, classes, seeds, learns_from, validation: as in `one_vs_rest`.
      normal: the class that is normal.
      counts: (normals, anomalies) of the set, drawn from `train`, the anomalies evenly over all other
        classes. The default is MNIST's: every zero of its training set, and 56 of each other digit.

    Raises:
      DataError: fewer images than `counts` wants.
      ValueError: an option out of its range.
    """
    _check(train, test, classes, learns_from, validation)
    tests = np.arange(len(test.labels))
    truth = test.labels != normal
    trials = []
    for seed in seeds:
        rows = _draw_set(train, normal, counts, seed, classes)
        name = {"class": classes[normal]}
        trials.append(_trial(train.labels, name, seed, normal, rows, learns_from, validation, tests, truth))
    return _study(_counted(normal, counts, classes), train, test, classes, trials)


def holdout_fraction(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    learns_from: str = "anomalies",
    validation: float = 0.1,
    normal: int = 0,
    counts: tuple[int, int] = (5923, 504),
    fraction: float = 0.1,
) -> Study:
    """The set of `imbalanced`, a share of which is tested on instead of being trained on.

    Without labelled anomalies in training, *all* anomalies are tested on: `counts=(5000, 500)` and
    `fraction=0.1` train an autoencoder on 4,500 normals and test on 500 normals and 500 anomalies.

    Args:
      train, test, classes, seeds, learns_from, validation, normal, counts: as in `imbalanced`; `test` is not
        used: the test pool is the pool.
      fraction: the share of each class to test on, 0 < fraction < 1.

    Raises:
      DataError, ValueError: as in `imbalanced`.
    """
    _check(train, test, classes, learns_from, validation)
    if not 0 < fraction < 1:
        raise ValueError(f"fraction is {fraction}, but must lie between 0 and 1, both excluded")
    trials = []
    for seed in seeds:
        rows = _draw_set(train, normal, counts, seed, classes)
        tests = _take(rows, train.labels, fraction, row_keys(len(train.labels), seed, "held-out fraction"))
        kept = np.setdiff1d(rows, tests)
        if not learns_from.endswith("anomalies"):
            kept = kept[train.labels[kept] == normal]
            tests = np.setdiff1d(rows, kept)
        truth = train.labels[tests] != normal
        name = {"class": classes[normal]}
        trials.append(_trial(train.labels, name, seed, normal, kept, learns_from, validation, tests, truth))
    return _study(f"{_counted(normal, counts, classes)}, {fraction:g} held out", train, train, classes, trials)


def folds(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    learns_from: str = "anomalies",
    validation: float = 0.1,
    normal: int = 0,
    counts: tuple[int, int] = (5923, 504),
    folds: int = 10,
) -> Study:
    """The set of `imbalanced`, cross-validated: each trial tests on one fold and trains on the others.

    Each class is spread over the folds as evenly as it goes. Results on the official test images are another
    study, `imbalanced`: they are no further fold, and must not enter the mean over folds.

    Args:
      train, test, classes, seeds, learns_from, validation, normal, counts: as in `imbalanced`; `test` is not
        used: the test pool is the pool. `validation` is a share of the other folds.
      folds: how many, at least 2.

    Raises:
      DataError: fewer images than `counts` wants, or fewer anomalies or normals than folds.
      ValueError: an option out of its range.
    """
    _check(train, test, classes, learns_from, validation)
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
            truth = train.labels[tests] != normal
            name = {"fold": fold}
            trials.append(_trial(train.labels, name, seed, normal, kept, learns_from, validation, tests, truth))
    return _study(f"{_counted(normal, counts, classes)}, {folds} folds", train, train, classes, trials)


PROTOCOLS: dict[str, Callable[..., Study]] = {
    "one_vs_rest": one_vs_rest,
    "one_vs_other": one_vs_other,
    "imbalanced": imbalanced,
    "holdout_fraction": holdout_fraction,
    "folds": folds,
}
"""Each: `(train, test, classes, *, seeds, learns_from, validation, **options) -> Study`."""


def _against(
    train: Split,
    normal: int,
    others: np.ndarray,
    classes: Sequence[str],
    *,
    seed: int,
    name: dict[str, Any],
    learns_from: str,
    validation: float,
    per_normal: float,
    clusters: int,
    test: np.ndarray,
    truth: np.ndarray,
) -> Trial:
    """A trial with all normals of a class, and anomalies drawn from `others` by k-means sampling if seen."""
    normals = np.flatnonzero(train.labels == normal)
    if not len(normals) or truth.all() or not truth.any():
        raise DataError(
            f"class {classes[normal]} has {len(normals)} training and {(~truth).sum()} test images, and its anomalies "
            f"{truth.sum()} test images, but each needs some: take another class out of `normal_classes`"
        )
    drawn = others[:0]
    if learns_from.endswith("anomalies"):
        count = round(per_normal * len(normals))
        if not 0 < count <= len(others):
            raise DataError(
                f"{count:,} anomalies are wanted beside {len(normals):,} images of {classes[normal]}, but there are "
                f"{len(others):,}: set anomalies_per_normal to at most {len(others) / len(normals):.3g}"
            )
        keys = row_keys(len(train.labels), seed, f"anomalies beside {classes[normal]}")
        groups = clusters_of(train.images[others], clusters, keys[others])
        drawn = draw_evenly(others, groups, count, keys)
    rows = np.concatenate([normals, drawn])
    return _trial(train.labels, name, seed, normal, rows, learns_from, validation, test, truth)


def _trial(
    labels: np.ndarray,
    name: dict[str, Any],
    seed: int,
    normal: int,
    rows: np.ndarray,
    learns_from: str,
    validation: float,
    test: np.ndarray,
    truth: np.ndarray,
) -> Trial:
    """Sets the validation share of `rows` aside, class by class; without labelled anomalies, drops them."""
    if not learns_from.endswith("anomalies"):
        rows = rows[labels[rows] == normal]
    aside = _take(rows, labels, validation, row_keys(len(labels), seed, "validation"))
    kept = np.setdiff1d(rows, aside)
    held_out, anomalies = aside[labels[aside] == normal], aside[labels[aside] != normal]
    return Trial(
        name={**name, "seed": int(seed)},
        seed=int(seed),
        rows=kept.astype(np.int32),
        labels=(labels[kept] != normal).astype(np.int32),
        held_out=held_out.astype(np.int32),
        validation=np.concatenate([held_out, anomalies]).astype(np.int32),
        validation_truth=np.repeat(np.int32([0, 1]), [len(held_out), len(anomalies)]),
        test=test.astype(np.int32),
        truth=truth.astype(np.int32),
    )


def _take(rows: np.ndarray, labels: np.ndarray, fraction: float, keys: np.ndarray) -> np.ndarray:
    """A share of each class of `rows`, sorted: at least one and not all, none of a class of one image."""
    if fraction == 0:
        return rows[:0]
    taken = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        taken.append(smallest(members, keys, min(max(round(fraction * len(members)), 1), len(members) - 1)))
    return np.sort(np.concatenate(taken))


def _draw_set(train: Split, normal: int, counts: tuple[int, int], seed: int, classes: Sequence[str]) -> np.ndarray:
    """Rows of the imbalanced set, sorted."""
    normals = np.flatnonzero(train.labels == _known(normal, classes))
    others = np.flatnonzero(train.labels != normal)
    if min(counts) < 1 or counts[0] > len(normals) or counts[1] > len(others):
        raise DataError(
            f"counts is {tuple(counts)}, but the training set has {len(normals):,} images of {classes[normal]} and "
            f"{len(others):,} others: ask for at most that, and for at least one of each"
        )
    keys = row_keys(len(train.labels), seed, f"imbalanced set of {classes[normal]}")
    drawn = draw_evenly(others, train.labels[others], counts[1], keys)
    return np.sort(np.concatenate([smallest(normals, keys, counts[0]), drawn]))


def _balanced(labels: np.ndarray, normal: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """All test images of the normal class, and as many others (or all, if fewer), evenly over classes."""
    normals, others = np.flatnonzero(labels == normal), np.flatnonzero(labels != normal)
    keys = row_keys(len(labels), seed, f"balanced test of {classes[normal]}")
    drawn = draw_evenly(others, labels[others], min(len(normals), len(others)), keys)
    return np.sort(np.concatenate([normals, drawn]))


def _study(name: str, pool: Split, test: Split, classes: Sequence[str], trials: Sequence[Trial]) -> Study:
    if not trials:
        raise ValueError("no trial is asked for: give at least one seed and one class")
    return Study(name, tuple(classes), pool.images, pool.labels, test.images, test.labels, tuple(trials))


def _counted(normal: int, counts: tuple[int, int], classes: Sequence[str]) -> str:
    return f"{counts[0]:,} of {classes[normal]} and {counts[1]:,} others"


def _known(number: int, classes: Sequence[str]) -> int:
    if not 0 <= number < len(classes):
        raise DataError(f"there is no class {number}: the set has {len(classes)}, 0 to {len(classes) - 1}")
    return number


def _check(train: Split, test: Split, classes: Sequence[str], learns_from: str, validation: float) -> None:
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"training images are {train.images.shape[1:]}, test images {test.images.shape[1:]}: both must be of one "
            "set and one shape"
        )
    if max(train.labels.max(), test.labels.max()) >= len(classes):
        raise DataError(
            f"labels go up to {max(train.labels.max(), test.labels.max())}, but there are names for {len(classes)} "
            "classes: name them all"
        )
    if learns_from not in LEARNS_FROM:
        raise ValueError(f"learns_from is {learns_from!r}, but must be one of {', '.join(LEARNS_FROM)}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation}, but must be a share from 0, included, to 1, excluded")
