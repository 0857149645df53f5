"""Protocols: one-vs-rest classes, folds and seeds as tables of row numbers.

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

from adjax.data.protocols.imbalanced import folds, holdout_fraction, imbalanced
from adjax.data.protocols.one_vs_rest import one_vs_other, one_vs_rest
from adjax.data.protocols.ood_pair import HOLDOUT as HOLDOUT
from adjax.data.protocols.ood_pair import OODPair as OODPair
from adjax.data.protocols.ood_pair import conform as conform
from adjax.data.protocols.ood_pair import holdout as holdout
from adjax.data.protocols.ood_pair import pair as pair
from adjax.data.protocols.ood_pair import task as task
from adjax.data.protocols.study import Study as Study
from adjax.data.protocols.study import Trial as Trial

PROTOCOLS: dict[str, Callable[..., Study]] = {
    "one_vs_rest": one_vs_rest,
    "one_vs_other": one_vs_other,
    "imbalanced": imbalanced,
    "holdout_fraction": holdout_fraction,
    "folds": folds,
}
"""Each: `(train, test, classes, *, seeds, supervision, validation, **options) -> Study`."""
