"""A trained member to its figures: fit the scorer on its normal training features, then score the test images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import baselines, features, metrics, scorers, thresholds
from adjax import detector as detectors
from adjax._fitting import check_enough
from adjax.augment import Normalise
from adjax.data.protocols import Benchmark, Trial
from adjax.detector import Detector, Spec, read_by
from adjax.extraction import known, shapes, traced
from adjax.scorers._logits import answer
from adjax.spec import resolve
from adjax.types import Outputs, PyTree
from experiments.config import LIMITS

PAPER = "mahalanobis_perclass, shrinkage 0 (the paper's form)"
OF_FEATURES = {
    "mahalanobis, shrinkage 0.3 (features alone)": ("mahalanobis", (("shrinkage", 0.3),)),
    PAPER: ("mahalanobis_perclass", (("shrinkage", 0.0),)),
}
"""What center loss shapes, scored alone; the last is its paper's scorer, each class's plain covariance."""

LOGITS = "classifier", "ood_head"
"""Methods whose own score is the logit of an anomaly."""

BATCH = 4096
"""Images whose outputs are scored at a time."""

HELD_GIB = 4
"""Outputs that are kept in memory, at most, for the sake of one scorer that nobody asked for by name."""

ODIN = "odin"
"""Not a scorer, since it asks the network twice; reported beside them."""

score_outputs = jax.jit(detectors.score_outputs)
"""Scores from network outputs that lie in memory, compiled."""


class Judged(NamedTuple):
    """What is known of one trained member.

    Attributes:
      detector: fitted, with the held-out scores.
      metrics: its figures.
      scorers: figures of other scorers on the same features, by name.
      outputs: network outputs of the test images, in the order of the trial.
      scores: float32, of the test images.
      truth: int of the same length, 1 = anomalous.
      passed_over: scorers that could not be asked, and why.
      further: float32 scores of the test images by those of `scorers`, by name.
    """

    detector: Detector
    metrics: dict[str, float]
    scorers: dict[str, dict[str, float]]
    outputs: Outputs
    scores: np.ndarray
    truth: np.ndarray
    passed_over: Mapping[str, str] = MappingProxyType({})
    further: Mapping[str, np.ndarray] = MappingProxyType({})


class Rule(NamedTuple):
    """How scores become decisions: `--threshold` and `--quantile`, see `experiments.config.Config`.

    Attributes:
      name, quantile: as the options say.
      logit: for "logit": the score at which an image is as likely anomalous as not. 0 for a classifier of classes that
        weigh the same; of weighted ones the log of the anomalies' weight over that of the normal images (Elkan, "The
        foundations of cost-sensitive learning", 2001). "half" asks for the network's own answer: 0 in any case.
    """

    name: str
    quantile: float
    logit: float = 0.0


def check(rule: Rule, benchmark: Benchmark, classes: int) -> None:
    """Refuses, before anything is trained, a threshold that the images can't give.

    Args:
      rule, benchmark: what is asked for, and the images.
      classes: how many the normal ones are of.

    Raises:
      ValueError: too few held-out images for a conformal threshold, with a share that is enough; no labelled anomaly
        for the best F1.
    """
    held_out = min(len(trial.held_out) for trial in benchmark.trials)
    alpha = 1 - rule.quantile
    if rule.name == "conformal" and 0 < alpha < 1 and held_out < (least := thresholds.needed(round(alpha, 6))):
        normal = min(len(trial.held_out) + int((trial.labels < classes).sum()) for trial in benchmark.trials)
        share = math.ceil(100 * (least + classes) / normal) / 100  # of each class rounding takes less than one
        more = (
            f"hold out more, --validation {share:g} will do"
            if share <= LIMITS["validation"][1]
            else f"{normal} normal images are too few for it, give more"
        )
        raise ValueError(
            f"--threshold conformal at --quantile {rule.quantile:g} takes {least} held-out images, and there are "
            f"{held_out}: {more}, or take another --threshold"
        )
    if rule.name == "best_f1" and not all(trial.validation_truth.any() for trial in benchmark.trials):
        raise ValueError("--threshold best_f1 needs labelled anomalies to validate on: choose conformal")


def check_scorer(rule: Rule, spec: Spec, benchmark: Benchmark) -> None:
    """Refuses, before anything is trained, a scorer that can't be fitted, or have such a threshold.

    Args:
      rule, spec, benchmark: what is asked for, and the images.

    Raises:
      ValueError: a logit of a scorer that gives none; the deviation of several distances per image; too few images.
    """
    classes = len(spec.classes)
    rows = min((trial.rows[trial.labels < max(classes, 1)] for trial in benchmark.trials), key=len)
    check_enough(spec.names[-1], resolve(spec).scorer.fewest, benchmark.train.images[rows], None)
    if rule.name in ("logit", "half") and not (spec.scorer == "score" and spec.method in LOGITS):
        raise ValueError(
            f"--threshold {rule.name} is of a network's own probability, and scorer {spec.scorer!r} of method "
            f"{spec.method!r} gives none: choose quantile or conformal, or method {' or '.join(LOGITS)} with its scorer"
        )
    if rule.name == "mean_sigma" and (count := traced(spec).distances.shape[1]) > 1:
        raise ValueError(
            f"--threshold mean_sigma needs one distance per image, and scorer {spec.scorer!r} gives {count}, one for "
            f"each of the {classes} classes: choose quantile or conformal"
        )


def judge(
    spec: Spec,
    params: PyTree,
    normalise: Normalise,
    benchmark: Benchmark,
    trial: Trial,
    rule: Rule,
    prefix: str = "",
    others: Mapping[str, tuple[str, tuple[tuple[str, Any], ...]]] = MappingProxyType({}),
    optional: Collection[str] = (),
) -> Judged:
    """Extracts the outputs of every image once and scores them with the chosen scorer and with `others`.

    Args:
      spec, params, normalise: the trained member.
      benchmark, trial: its images.
      rule: how the threshold is set.
      prefix: of the names of the anomaly metrics: "ood_" where "accuracy" and "f1" are the classifier's own.
      others: name -> (scorer, options) of further scorers to report.
      optional: those of them to skip if they can't be fitted, or would take more than `HELD_GIB` of memory.

    Raises:
      ValueError: a scorer that can't be fitted, and is not optional.
    """
    classes = len(spec.classes)
    normal = trial.labels < max(classes, 1)
    rows = {"train": trial.rows[normal], "validation": trial.validation}
    images, labels = benchmark.train.images[rows["train"]], trial.labels[normal]
    specs = {
        name: dataclasses.replace(spec, scorer=scorer, scorer_options=options)
        for name, (scorer, options) in others.items()
    }
    said = shapes(spec)
    parts = {one: resolve(one).scorer for one in (spec, *specs.values())}
    reads = {one: read_by(scorer, said, classes) for one, scorer in parts.items()}
    count = sum(map(len, rows.values())) + len(trial.test)
    passed_over = {
        name: why
        for name, one in specs.items()
        if name in optional and (why := _too_large({k: said[k] for k in reads[one]}, parts[one].pools, count))
    }
    for name in passed_over:
        if (one := specs.pop(name)) != spec:
            del reads[one]
    also = frozenset().union(*reads.values())
    means = also.difference(*(names for one, names in reads.items() if not parts[one].pools))

    def extract(images: np.ndarray) -> Outputs:
        return detectors.extract(spec, params, normalise, images, also, means)

    outputs = {k: extract(benchmark.train.images[v]) for k, v in rows.items()}
    outputs["test"] = extract(benchmark.test.images[trial.test])

    def judged(one: Spec) -> tuple[Detector, dict[str, float], np.ndarray]:
        deviates = rule.name == "mean_sigma" and (one is spec or traced(one).distances.shape[1] == 1)
        sigma = 3.0 if deviates else None  # of several distances the quantile stays
        own = {k: {name: x for name, x in v.items() if name in reads[one]} for k, v in outputs.items()}
        fitted = detectors.fit(
            one, params, normalise, images, labels, quantile=rule.quantile, sigma=sigma, outputs=own["train"]
        )
        level = {k: _scores(fitted, v) for k, v in own.items() if k != "train"}
        level["held_out"] = level["validation"][: len(trial.held_out)]
        fitted = dataclasses.replace(fitted, calibration_scores=jnp.sort(jnp.asarray(level["held_out"])))
        answers = one is spec or rule.name not in ("logit", "half")  # a distance is no logit: its quantile stays
        if answers:
            fitted = with_threshold(fitted, rule, level["validation"], trial.validation_truth)
        return fitted, figures(fitted, level, trial.truth, rule.quantile, prefix), level["test"]

    detector, own, scores = judged(spec)
    if "logits" in outputs["test"] and classes > 1:
        own |= classification(outputs["test"], benchmark.test.labels[trial.test], trial.truth, classes)
    if spec.method == "regressor":
        own["r2"] = explained(np.asarray(outputs["test"]["score"]), trial.truth)
    further, scored = {}, {}
    for name, one in specs.items():
        try:
            _, further[name], scored[name] = judged(one)
        except detectors.NoDistance as error:
            if name not in optional:
                raise
            passed_over[name] = str(error)
    return Judged(detector, own, further, outputs["test"], scores, trial.truth, passed_over, scored)


def _scores(detector: Detector, outputs: Outputs) -> np.ndarray:
    """Scores a few thousand images at a time, so that one program does for any number; fewer as they are, since their
    outputs may be large."""
    size = max(min(len(next(iter(outputs.values()))), BATCH), 1)
    found = [score_outputs(detector, part)[:real] for part, real in features.outputs_in_batches(outputs, size)]
    return np.concatenate([np.zeros(0, np.float32), *map(np.asarray, found)])


def _too_large(said: Outputs, pooled: bool, count: int) -> str | None:
    """Why outputs of such shapes, or their means over all places, are too large to keep; None if they are not."""
    each = (math.prod(x.shape[1:][-1:] if pooled else x.shape[1:]) * x.dtype.itemsize for x in said.values())
    gib = count * sum(each) / 2**30
    if gib <= HELD_GIB:
        return None
    what = ", ".join(sorted(said))
    return f"{what} of {count:,} images would take {gib:.1f} GiB, more than {HELD_GIB}: ask for it by name"


def further(
    spec: Spec, names: tuple[str, ...], head_drawn: bool = False
) -> dict[str, tuple[str, tuple[tuple[str, Any], ...]]]:
    """`others` for `judge`: these scorers, or with "all" every one that the network's outputs can feed.

    Args:
      spec: names the network.
      names: of the scorers.
      head_drawn: as of `adjax.extraction.known`.

    Returns:
      Name -> (name, options).

    Raises:
      ValueError: a scorer that they can't feed.
    """
    fed = scorers.suite(scorers.SCORERS, known(spec, head_drawn), len(spec.classes))
    if "all" in names:
        names = tuple(fed)
    for name in names:
        if name not in fed:
            raise ValueError(f"--scorers {name}: this network's outputs can feed {', '.join(fed)}, or all")
    return {name: (name, tuple(fed[name].items())) for name in names}


def odin(spec: Spec, params: PyTree, normalise: Normalise, images: np.ndarray) -> np.ndarray:
    """ODIN scores float32[N] with the paper's step of 0.0014, for pixels from 0 to 1."""
    epsilon = 0.0014 / float(np.mean(np.asarray(normalise.sd)))

    @jax.jit
    def score(state: PyTree, images: jax.Array) -> jax.Array:
        return scorers.odin(resolve(spec).method.outputs, state[0], state[1](images), epsilon)

    return features.apply(score, (params, normalise), images)


def with_threshold(fitted: Detector, rule: Rule, validation: np.ndarray, truth: np.ndarray) -> Detector:
    """The detector with the threshold that the rule asks for; `quantile` and `mean_sigma` are set by `fit`.

    Raises:
      ValueError: a rule that needs images which the protocol doesn't give.
    """
    if rule.name == "conformal":
        return fitted.with_false_positive_rate(round(1 - rule.quantile, 6))
    if rule.name == "best_f1":
        if not np.any(truth):
            raise ValueError("--threshold best_f1 needs labelled anomalies to validate on: choose conformal")
        return dataclasses.replace(fitted, threshold=thresholds.best_f1(validation, truth))
    if rule.name in ("logit", "half"):
        logit = rule.logit if rule.name == "logit" else 0.0
        level = thresholds.classwise_quantile(fitted.calibration, jnp.full((1, 1), logit))[0]
        return dataclasses.replace(fitted, threshold=level)
    return fitted


def figures(
    detector: Detector, level: dict[str, np.ndarray], truth: np.ndarray, quantile: float, prefix: str
) -> dict[str, float]:
    """Detection figures from the scores of `test` and `held_out` images.

    `auroc_low` and `auroc_high` are DeLong's 95 % limits: what these test images leave open, not another training.
    FPR95 is published in two conventions, so both are given: `fpr95`, the share of anomalies accepted where 95 % of the
    normal images are; `fpr95_ood_positive` (OpenOOD since 1.5), the share of normal images flagged where 95 % of the
    anomalies are.
    """
    scores = level["test"]
    flagged = np.asarray(thresholds.is_anomalous(scores, detector.threshold))
    interval = metrics.auroc_interval(scores, truth)
    result = {
        "auroc": interval.value,
        "auroc_low": interval.low,
        "auroc_high": interval.high,
        "fpr95": metrics.fpr_at_tpr(scores, truth),
        "fpr95_ood_positive": metrics.fpr_at_tpr(scores, truth, positive="anomalous"),
        "aupr": metrics.aupr(scores, truth),
        "f1": metrics.f1(flagged, truth),
    }
    if not prefix:
        result["accuracy"] = metrics.accuracy(flagged, truth)
    result = {f"{prefix}{name}": value for name, value in result.items()}
    result["id_rejected"] = flagged[truth == 0].mean()
    alpha = round(1 - quantile, 6)
    if alpha > 0 and len(level["held_out"]) >= thresholds.needed(alpha):
        flagged = np.asarray(thresholds.is_anomalous(scores, thresholds.conformal(level["held_out"], alpha)))
        result[f"{prefix}f1_conformal"] = metrics.f1(flagged, truth)
        result["id_rejected_conformal"] = flagged[truth == 0].mean()
    return {name: float(value) for name, value in result.items()}


def classification(outputs: Outputs, labels: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, float]:
    """Accuracy and macro F1 of the classifier itself, on the normal images."""
    normal = truth == 0
    predicted = np.asarray(answer(jnp.asarray(outputs["logits"])))
    return {
        "accuracy": float(metrics.accuracy(predicted, labels, normal)),
        "f1": float(metrics.macro_f1(predicted, labels, classes, normal)),
    }


def explained(score: np.ndarray, truth: np.ndarray) -> float:
    """R², a regressor's own measure: the share of the labels' variance that it explains."""
    from sklearn.metrics import r2_score  # when called: it takes half a second

    return float(r2_score(truth, score))


def ranking(normal: np.ndarray, anomalous: np.ndarray, prefix: str = "") -> dict[str, float]:
    """AUROC, FPR95 and AUPR of two groups of scores."""
    scores = np.concatenate([normal, anomalous])
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    return {
        f"{prefix}auroc": float(metrics.auroc(scores, truth)),
        f"{prefix}fpr95": float(metrics.fpr_at_tpr(scores, truth)),
        f"{prefix}fpr95_ood_positive": float(metrics.fpr_at_tpr(scores, truth, positive="anomalous")),
        f"{prefix}aupr": float(metrics.aupr(scores, truth)),
    }


def pixel_pca(benchmark: Benchmark, trial: Trial, classes: int, prefix: str = "") -> dict[str, float]:
    """The trivial baseline, see `adjax.baselines`."""
    train = benchmark.train.images[trial.rows[trial.labels < max(classes, 1)]]
    scores = baselines.pixel_pca(benchmark.test.images[trial.test], train)
    return ranking(scores[trial.truth == 0], scores[trial.truth == 1], prefix)


def summary(members: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each metric over members: mean, standard deviation (n − 1; 0 for n = 1) and n.

    Where every seed has several members (classes, folds), also `sd_seeds` and `seeds`: the deviation, from seed to
    seed, of the mean over its members, and how many seeds there are.
    """
    result = {}
    seeds = [m.get("seed", 0) for m in members]
    for name in members[0]["metrics"]:
        values = np.array([m["metrics"][name] for m in members])
        means = [values[np.array(seeds) == s].mean() for s in dict.fromkeys(seeds)]
        result[name] = {"mean": float(values.mean()), "sd": _sd(values), "n": len(values)}
        if len(means) < len(values):
            result[name] |= {"sd_seeds": _sd(np.array(means)), "seeds": len(means)}
    return result


def _sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0
