"""`Benchmark`: training and test images, and many trials on them, as tables of row numbers.

A trial holds no image, only rows: which are trained on, held out, tested. So one program trains all trials of a
benchmark, on one copy of its images. Who is normal is said by the protocols in `adjax.data.protocols`; here is what
they have in common. In cross-validation a trial is a fold; seeds, classes and OOD pairs are trials, too, and `folds`
is the name of one protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from adjax.data.protocols.sampling import row_keys
from adjax.data.split import DataError, Split
from adjax.data.splitting import take_share

SUPERVISION = ("classes", "normal", "anomalies", "classes and anomalies")
"""As in `adjax.types.Method`; the last two see labelled anomalies."""


class Trial(NamedTuple):
    """One member's share of a benchmark: rows only, each array sorted in itself but for `validation`.

    Attributes:
      name: what tells it from the others: {"class": "Trouser", "seed": 0}, {"fold": 3, "seed": 0}.
      seed: of its draws, and for its training.
      rows: int32 [n], rows of the training images.
      labels: int32 [n], what training sees: 0 normal, 1 anomalous (which is also class K = 1); of an OOD pair with
        known classes, 0 … K−1 normal, K anomalous.
      held_out: int32 [m], *normal* rows of the training images that aren't trained on: for thresholds and p-values.
      validation: int32 [v], rows of the training images that aren't trained on, for choosing epochs: `held_out`, then
        labelled anomalies if training sees any.
      validation_truth: int32 [v], 0 normal, 1 anomalous.
      test: int32 [t], rows of the *test images*.
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


class Benchmark(NamedTuple):
    """Images, and the trials on them.

    Attributes:
      name: for headings: "one class against the rest".
      classes: class names of the data set.
      train: the images that trials train on, and hold out.
      test: the images that they are tested on. With `folds` and `holdout_fraction` it *is* `train`, and `Trial.test`
        names rows that the trial doesn't train on.
      trials: one for each member, those of one seed together.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    trials: tuple[Trial, ...]


def make_trial(
    train: Split,
    test: Split,
    name: dict[str, Any],
    seed: int,
    normal: int,
    rows: np.ndarray,
    supervision: str,
    validation: float,
    tests: np.ndarray,
) -> Trial:
    """Sets the validation share of `rows` aside, class by class; without labelled anomalies, drops them.

    Args:
      train, test: Splits of the benchmark.
      name: what tells the trial from others, by key.
      seed: of the draw.
      normal: number of the normal class.
      rows: int[n], training images to train on and hold out.
      supervision: as of `adjax.types.Method`.
      validation: share to hold out, in [0, 1).
      tests: int[m], rows of the test images.

    Returns:
      The `Trial`.
    """
    labels = train.labels
    if not supervision.endswith("anomalies"):
        rows = rows[labels[rows] == normal]
    aside = take_share(rows, labels, validation, row_keys(len(labels), seed, "validation"))
    kept = np.setdiff1d(rows, aside)
    held_out, anomalies = aside[labels[aside] == normal], aside[labels[aside] != normal]
    return Trial(
        name={**name, "seed": int(seed)},
        seed=int(seed),
        rows=kept.astype(np.int32),
        labels=(labels[kept] != normal).astype(np.int32),
        held_out=held_out.astype(np.int32),
        validation=np.concatenate([held_out, anomalies]).astype(np.int32),
        validation_truth=np.repeat(np.array([0, 1], np.int32), [len(held_out), len(anomalies)]),
        test=tests.astype(np.int32),
        truth=(test.labels[tests] != normal).astype(np.int32),
    )


def make_benchmark(name: str, train: Split, test: Split, classes: Sequence[str], trials: Sequence[Trial]) -> Benchmark:
    """Makes a benchmark of its trials.

    Args:
      name: for headings.
      train, test: Splits that trials train on, and are tested on.
      classes: names, in the order of the labels.
      trials: at least one.

    Returns:
      The `Benchmark`.

    Raises:
      ValueError: no trial.
    """
    if not trials:
        raise ValueError("no trials: give at least one seed and one class")
    return Benchmark(name, tuple(classes), train, test, tuple(trials))


def known_class(number: int, classes: Sequence[str]) -> int:
    """Checks the number of a class.

    Args:
      number: in 0 … K−1.
      classes: the K names.

    Returns:
      `number`.

    Raises:
      DataError: a number out of range.
    """
    if not 0 <= number < len(classes):
        raise DataError(f"there is no class {number}: the set has {len(classes)}, 0 to {len(classes) - 1}")
    return number


def check_options(train: Split, test: Split, classes: Sequence[str], supervision: str, validation: float) -> None:
    """Checks the options that all protocols take.

    Args:
      train, test: Splits of one set.
      classes: names, in the order of the labels.
      supervision: a value in `SUPERVISION`.
      validation: share in [0, 1).

    Raises:
      DataError: shapes that differ, or labels without a name.
      ValueError: an option out of range.
    """
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
    if supervision not in SUPERVISION:
        raise ValueError(f"supervision is {supervision!r}, but must be one of {', '.join(SUPERVISION)}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation is {validation}, but must be a share from 0, included, to 1, excluded")
