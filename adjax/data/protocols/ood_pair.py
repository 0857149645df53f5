"""The pair protocol: all images of one set are normal, and those of another are OOD (Hendrycks and Gimpel 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adjax.data.protocols.benchmark import Benchmark, Trial, check_options, make_benchmark
from adjax.data.split import Split
from adjax.data.splitting import validation_split


def ood_pair(
    train: Split,
    test: Split,
    classes: Sequence[str],
    *,
    ood: Split,
    ood_train: np.ndarray | None = None,
    seeds: Sequence[int] = (0,),
    supervision: str = "classes",
    validation: float = 0.1,
    name: str = "one set against another",
) -> Benchmark:
    """Builds trials of an OOD pair, whose images `adjax.data.protocols.task` loads.

    Args:
      train, test: Splits of the in-distribution set, all of which is normal.
      classes: its class names, in the order of the labels.
      ood: Split of OOD images to test on; their labels in the benchmark are -1.
      ood_train: uint8 [N, H, W, C], labelled anomalies to train on; needed if `supervision` has anomalies.
      seeds: of the trials, one each.
      supervision: see `adjax.types.Method`; without "classes" all normal images are of class 0.
      validation: share of each class that is held out of training; 0 ≤ share < 1.
      name: for headings.

    Returns:
      A `Benchmark` of one trial per seed.

    Raises:
      DataError: shapes that differ, or labels without a name.
      ValueError: an option out of its range, or no `ood_train` where it is needed.
    """
    check_options(train, test, classes, supervision, validation)
    labels = train.labels if "classes" in supervision else np.zeros_like(train.labels)
    anomalous = len(classes) if "classes" in supervision else 1
    images = train.images
    if "anomalies" in supervision:
        if ood_train is None:
            raise ValueError(
                f"supervision is {supervision!r}, but ood_train is None: give labelled anomalies to train on"
            )
        images = np.concatenate([images, ood_train])
        labels = np.concatenate([labels, np.full(len(ood_train), anomalous, np.int32)])
    tests = Split(
        np.concatenate([test.images, ood.images]),
        np.concatenate([test.labels, np.full(len(ood.images), -1, np.int32)]),
    )
    truth = np.repeat([0, 1], [len(test.images), len(ood.images)]).astype(np.int32)
    everything, trials = np.arange(len(labels), dtype=np.int32), []
    for seed in seeds:
        rows, aside = validation_split(labels, validation, seed) if validation else (everything, everything[:0])
        seen = (labels[aside] == anomalous).astype(np.int32)
        every = np.arange(len(truth), dtype=np.int32)
        trials.append(Trial({"seed": seed}, seed, rows, labels[rows], aside[seen == 0], aside, seen, every, truth))
    return make_benchmark(name, Split(images, labels), tests, classes, trials)
