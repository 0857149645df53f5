"""A trained member to its figures: fit the scorers on its training features, then judge both sides of the test set."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import detector as detectors
from adjax import metrics, thresholds
from adjax.augment import Normalise
from adjax.data.protocols import Task
from adjax.detector import Detector, Spec
from adjax.types import Outputs, PyTree

PAPER_FORM = ("mahalanobis_perclass", (("shrinkage", 0.0),))
"""The center-loss paper's scorer, each class's plain covariance: always reported beside the chosen one."""


levels = jax.jit(detectors.levels)
"""Scores from network outputs that lie in memory, compiled."""


class Judged(NamedTuple):
    """What is known of one trained member.

    Attributes:
      detector: fitted, with the held-out scores.
      metrics: its figures.
      scorers: figures of other scorers on the same features, by name.
      test, ood: network outputs of the two test sets.
      scores: float32, test images first.
      labels: int32 of the same length, 1 = anomalous.
    """

    detector: Detector
    metrics: dict[str, float]
    scorers: dict[str, dict[str, float]]
    test: Outputs
    ood: Outputs
    scores: np.ndarray
    labels: np.ndarray


def judge(
    spec: Spec,
    params: PyTree,
    normalise: Normalise,
    task: Task,
    train_rows: np.ndarray,
    held_out_rows: np.ndarray,
    quantile: float,
) -> Judged:
    """Extracts the features of every image once and scores them with the chosen scorer and the paper's."""
    everything = {
        "train": task.train.images[train_rows],
        "held_out": task.train.images[held_out_rows],
        "test": task.test.images,
        "ood": task.ood.images,
    }
    outputs = {k: detectors.extract(spec, params, normalise, v) for k, v in everything.items()}
    labels = task.train.labels[train_rows]

    def judged(spec: Spec) -> tuple[Detector, dict[str, float], np.ndarray]:
        fitted = detectors.fit(
            spec, params, normalise, everything["train"], labels, quantile=quantile, outputs=outputs["train"]
        )
        level = {k: np.asarray(levels(fitted, outputs[k])) for k in ("held_out", "test", "ood")}
        fitted = dataclasses.replace(fitted, normal_levels=jnp.sort(jnp.asarray(level["held_out"])))
        return fitted, figures(level, quantile), np.concatenate([level["test"], level["ood"]])

    detector, own, scores = judged(spec)
    own |= classification(outputs["test"], task.test.labels, len(task.classes))
    paper = dataclasses.replace(spec, scorer=PAPER_FORM[0], scorer_options=PAPER_FORM[1])
    others = {"mahalanobis_perclass, shrinkage 0 (the paper's form)": judged(paper)[1]}
    truth = np.repeat([0, 1], [len(task.test.images), len(task.ood.images)])
    return Judged(detector, own, others, outputs["test"], outputs["ood"], scores, truth)


def figures(level: dict[str, np.ndarray], quantile: float) -> dict[str, float]:
    """Detection figures from the scores of `test`, `ood` and `held_out` images.

    FPR95 is published in two conventions, so both are given: `ood_fpr95`, the share of OOD images accepted where 95 %
    of the normal images are; `ood_fpr95_ood_positive` (OpenOOD since 1.5), the share of normal images flagged where
    95 % of the OOD images are.
    """
    scores = np.concatenate([level["test"], level["ood"]])
    truth = np.repeat([0, 1], [len(level["test"]), len(level["ood"])])
    flagged = np.asarray(thresholds.is_anomalous(scores, quantile))
    result = {
        "ood_auroc": metrics.auroc(scores, truth),
        "ood_fpr95": metrics.fpr_at_tpr(scores, truth),
        "ood_fpr95_ood_positive": metrics.fpr_at_tpr(scores, truth, positive="anomalous"),
        "ood_aupr": metrics.aupr(scores, truth),
        "ood_f1": metrics.f1(flagged, truth),
        "id_rejected": flagged[truth == 0].mean(),
    }
    alpha = round(1 - quantile, 6)
    if alpha > 0 and len(level["held_out"]) >= 1 / alpha - 1:
        flagged = np.asarray(thresholds.is_anomalous(scores, thresholds.conformal(level["held_out"], alpha)))
        result["ood_f1_conformal"] = metrics.f1(flagged, truth)
        result["id_rejected_conformal"] = flagged[truth == 0].mean()
    return {name: float(value) for name, value in result.items()}


def classification(outputs: Outputs, labels: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy and macro F1 of the classifier itself."""
    predicted = np.asarray(outputs["logits"]).argmax(-1)
    return {
        "accuracy": float(metrics.accuracy(predicted, labels)),
        "f1": float(metrics.macro_f1(predicted, labels, classes)),
    }


def pixel_pca(task: Task, train_rows: np.ndarray, components: int = 30) -> dict[str, float]:
    """The trivial baseline: squared residual of raw pixels outside of the training images' principal components."""

    def flat(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1).astype(np.float32) / 255

    train = flat(task.train.images[train_rows])
    mean = train.mean(0)
    train -= mean
    _, vectors = np.linalg.eigh(train.T @ train)
    basis = vectors[:, -min(components, train.shape[1] - 1) :]

    def residual(images: np.ndarray) -> np.ndarray:
        x = flat(images) - mean
        return np.square(x).sum(1) - np.square(x @ basis).sum(1)

    normal, anomalous = residual(task.test.images), residual(task.ood.images)
    scores = np.concatenate([normal, anomalous])
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return {
        "ood_auroc": float(metrics.auroc(scores, truth)),
        "ood_fpr95": float(metrics.fpr_at_tpr(scores, truth)),
        "ood_aupr": float(metrics.aupr(scores, truth)),
    }


def summary(members: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation (n − 1; 0 for n = 1) and n of each metric over members."""
    names = members[0]["metrics"]
    values = {name: np.array([m["metrics"][name] for m in members]) for name in names}
    return {
        name: {"mean": float(v.mean()), "sd": float(v.std(ddof=1)) if len(v) > 1 else 0.0, "n": len(v)}
        for name, v in values.items()
    }
