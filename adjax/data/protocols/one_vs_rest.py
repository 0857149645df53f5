"""One-vs-rest and one-vs-other protocols: one class is normal, all others or one other are its anomalies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from adjax.data.protocols.benchmark import Benchmark, Trial, check_options, known_class, make_benchmark, make_trial
from adjax.data.protocols.sampling import clusters_of, draw_evenly, row_keys
from adjax.data.split import DataError, Split


def one_vs_rest(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    supervision: str = "normal",
    validation: float = 0.1,
    anomalies_per_normal: float = 1.0,
    clusters: int = 3,
    normal_classes: Sequence[int] | None = None,
    balanced_test: bool = False,
) -> Benchmark:
    """Builds one-vs-rest trials: each class is normal once, and all others are its anomalies.

    Args:
      train, test: Splits of one set; `train` is the pool.
      classes: class names, in the order of the labels.
      seeds: each multiplies the trials.
      supervision: see `adjax.types.Method`. If anomalies are among it, they are drawn from the other classes
        by k-means sampling; else no trial holds a single anomaly.
      validation: share of the normal images and of the drawn anomalies that is held out of training; 0 ≤ share < 1.
      anomalies_per_normal: anomalies drawn for each normal image, before any are held out; 1 is published.
      clusters: of k-means on pixels; 1 draws at random instead.
      normal_classes: the classes that take their turn; None: all.
      balanced_test: test on as many anomalies as normal images, drawn evenly over the other classes,
        instead of on all test images.

    Returns:
      A `Benchmark` of one trial per seed and normal class.

    Raises:
      DataError: a class without training or test images, or fewer anomalies than wanted.
      ValueError: an option out of its range.
    """
    check_options(train, test, classes, supervision, validation)
    if clusters < 1:
        raise ValueError(f"clusters is {clusters}, but must be at least 1 (1: drawn at random)")
    if anomalies_per_normal <= 0:
        raise ValueError(f"anomalies_per_normal is {anomalies_per_normal}, but must be positive: 1 is published")
    turns = range(len(classes)) if normal_classes is None else normal_classes
    against = partial(_against, train, test, classes, supervision, validation, anomalies_per_normal, clusters)
    trials = []
    for seed in seeds:
        for normal in turns:
            others = np.flatnonzero(train.labels != known_class(normal, classes))
            every = np.arange(len(test.labels))
            tests = _balanced(test.labels, normal, seed, classes) if balanced_test else every
            trials.append(against(normal, others, tests, seed, {"class": classes[normal]}))
    return make_benchmark("one class against the rest", train, test, classes, trials)


def one_vs_other(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    supervision: str = "normal",
    validation: float = 0.1,
    normal: int = 1,
    anomalous: int = 7,
    anomalies_per_normal: float = 1.0,
    clusters: int = 1,
) -> Benchmark:
    """Builds one-vs-other trials: one class is normal, one other anomalous; the rest are not used.

    Args:
      train, test, classes, seeds, supervision, validation, clusters: as in `one_vs_rest`.
      normal, anomalous: numbers of two classes.
      anomalies_per_normal: as in `one_vs_rest`, but no more than there are.

    Returns:
      A `Benchmark` of one trial per seed.

    Raises:
      DataError, ValueError: as in `one_vs_rest`; or one class twice.
    """
    check_options(train, test, classes, supervision, validation)
    if known_class(normal, classes) == known_class(anomalous, classes):
        raise DataError(f"class {normal} can't be normal and anomalous: choose two")
    tests = np.flatnonzero(np.isin(test.labels, (normal, anomalous)))
    others = np.flatnonzero(train.labels == anomalous)
    if supervision.endswith("anomalies"):
        anomalies_per_normal = min(anomalies_per_normal, len(others) / max(1, (train.labels == normal).sum()))
    against = partial(_against, train, test, classes, supervision, validation, anomalies_per_normal, clusters)
    name = {"class": classes[normal], "against": classes[anomalous]}
    trials = [against(normal, others, tests, seed, name) for seed in seeds]
    return make_benchmark(f"{classes[normal]} against {classes[anomalous]}", train, test, classes, trials)


def _against(
    train: Split,
    test: Split,
    classes: Sequence[str],
    supervision: str,
    validation: float,
    per_normal: float,
    clusters: int,
    normal: int,
    others: np.ndarray,
    tests: np.ndarray,
    seed: int,
    name: dict[str, Any],
) -> Trial:
    """A trial with all normal images of a class, and anomalies drawn from `others` by k-means sampling if seen."""
    normals, truth = np.flatnonzero(train.labels == normal), test.labels[tests] != normal
    if not len(normals) or truth.all() or not truth.any():
        raise DataError(
            f"class {classes[normal]} has {len(normals)} training and {(~truth).sum()} test images, and its anomalies "
            f"{truth.sum()} test images, but each needs some: take another class out of `normal_classes`"
        )
    drawn = others[:0]
    if supervision.endswith("anomalies"):
        count = round(per_normal * len(normals))
        if not 0 < count <= len(others):
            raise DataError(
                f"{count:,} anomalies are needed beside {len(normals):,} images of {classes[normal]}, but there are "
                f"{len(others):,}: set anomalies_per_normal to at most {len(others) / len(normals):.3g}"
            )
        keys = row_keys(len(train.labels), seed, f"anomalies beside {classes[normal]}")
        groups = clusters_of(train.images[others], clusters, keys[others])
        drawn = draw_evenly(others, groups, count, keys)
    rows = np.concatenate([normals, drawn])
    return make_trial(train, test, name, seed, normal, rows, supervision, validation, tests)


def _balanced(labels: np.ndarray, normal: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """All test images of the normal class, and as many others (or all, if fewer), evenly over classes."""
    normals, others = np.flatnonzero(labels == normal), np.flatnonzero(labels != normal)
    keys = row_keys(len(labels), seed, f"balanced test of {classes[normal]}")
    drawn = draw_evenly(others, labels[others], min(len(normals), len(others)), keys)
    return np.sort(np.concatenate([normals, drawn]))
