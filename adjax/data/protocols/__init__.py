"""Protocols: which images are normal, as tables of row numbers. Each makes a `Benchmark` of the images of a set.

    pair               all of one set is normal, and another is OOD (MNIST against Fashion-MNIST)
    one_vs_rest        each class normal once, all others anomalies (the Fashion-MNIST protocol)
    one_vs_other       one class normal, one other class the anomalies ("1" against "7")
    imbalanced         many normal, few labelled anomalies; tested on the official test images
    holdout_fraction   the same set; tested on a share of it
    folds              the same set, cross-validated: each part of it is tested on once

All are pure and reproducible: the same seed draws the same rows, whatever other classes or seeds are asked
for. What is tested on is never trained on, nor used to choose epochs or thresholds.
"""

from __future__ import annotations

from collections.abc import Callable

from adjax.data.protocols.benchmark import Benchmark as Benchmark
from adjax.data.protocols.benchmark import Trial as Trial
from adjax.data.protocols.imbalanced import folds, holdout_fraction, imbalanced
from adjax.data.protocols.one_vs_rest import one_vs_other, one_vs_rest
from adjax.data.protocols.ood_images import HOLDOUT as HOLDOUT
from adjax.data.protocols.ood_images import OODPair as OODPair
from adjax.data.protocols.ood_images import conform as conform
from adjax.data.protocols.ood_images import holdout as holdout
from adjax.data.protocols.ood_images import pair as pair
from adjax.data.protocols.ood_images import task as task
from adjax.data.protocols.ood_pair import ood_pair
from adjax.data.splitting import validation_split as validation_split

PROTOCOLS: dict[str, Callable[..., Benchmark]] = {
    "pair": ood_pair,
    "one_vs_rest": one_vs_rest,
    "one_vs_other": one_vs_other,
    "imbalanced": imbalanced,
    "holdout_fraction": holdout_fraction,
    "folds": folds,
}
"""Each: `(train, test, classes, *, seeds, supervision, validation, **options) -> Benchmark`."""
