"""All trained members to one table: figures of each, the summary, and what it is compared with."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from adjax.augment import Normalise
from adjax.data.protocols import Trial
from adjax.pipeline import Built, member
from adjax.train import Members
from adjax.types import PyTree
from experiments import evaluate, figures
from experiments.config import Config, of_preset
from experiments.console import member_name, setting_name
from experiments.members import fit, members, recipe
from experiments.study import Images, Loaded
from experiments.training import Trained

CEILING = "supervised classifier on the same images"
"""With labelled anomalies of every kind this is the honest ceiling, so a GAN's table has it: for the first seed, since
it costs as much as the GAN."""


class Outcome(NamedTuple):
    """What was found of all members.

    Attributes:
      judged: each member's detector and figures.
      rows: each member's line of results.json.
      groups: each setting's line: hyper-parameters and summary.
      kept: the setting whose detectors are kept: the method's own hyper-parameters, if they are among those trained.
      first: the first member of it.
      comparisons: name -> figures of what the kept setting is compared with.
    """

    judged: list[evaluate.Judged]
    rows: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    kept: int
    first: int
    comparisons: dict[str, Any]


class Others(NamedTuple):
    """Scorers beside the detector's own.

    Attributes:
      scorers: name -> (scorer, options).
      optional: those of them that only "all" asks for.
    """

    scorers: Mapping[str, Any]
    optional: frozenset[str]


NONE = Others({}, frozenset())


class Ceiling(NamedTuple):
    """A trained classifier, see `CEILING`, and the trials that it was trained on."""

    config: Config
    built: Built
    normalise: Normalise
    trained: Trained
    trials: tuple[Trial, ...]


class Setting(NamedTuple):
    """All that evaluation reads, made once per run; a `ceiling` of a GAN alone."""

    config: Config
    given: Images
    built: Built
    normalise: Normalise
    loaded: Loaded
    table: Members
    settings: list[dict[str, float]]
    others: Others
    trained: Trained
    ceiling: Ceiling | None = None

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(setting, trial) of each member."""
        return list(itertools.product(range(len(self.settings)), range(len(self.loaded.benchmark.trials))))


def others(config: Config, built: Built) -> Others:
    """What `--scorers` asks for, from the shapes of the network's outputs alone: it is refused before any training.

    Raises:
      ValueError: a scorer that they can't feed.
    """
    of_features: Mapping[str, Any] = evaluate.OF_FEATURES if config.method in ("centerloss", "ood_head") else {}
    if not config.scorers:
        return Others(of_features, frozenset())
    named = tuple(name for name in config.scorers if name != evaluate.ODIN)
    found = evaluate.further(built.spec, named, built.head_drawn)
    return Others({**of_features, **found}, frozenset(found) - frozenset(named))


def judge(run: Setting, console: Console) -> Outcome:
    """Evaluates one member after another, its outputs extracted once for all scorers; prints a line for each."""
    trials, judged = run.loaded.benchmark.trials, []
    for m, (s, t) in enumerate(run.pairs):
        judged.append(_judge(run, run.trained.params, m, run.others))
        name = " ".join(filter(None, (setting_name(run.settings[s], run.settings), member_name(trials[t].name))))
        console.print(f"{name}: {figures.brief(judged[-1].metrics)}", highlight=False)
    rows: list[dict[str, Any]] = [
        {"hparams": used(run, m), "seed": trials[t].seed, **trials[t].name}
        | {"metrics": judged[m].metrics, "scorers": judged[m].scorers}
        for m, (s, t) in enumerate(run.pairs)
    ]
    groups = [
        {"hparams": common(own), "summary": evaluate.summary(own)}
        for own in (rows[s * len(trials) : (s + 1) * len(trials)] for s in range(len(run.settings)))
    ]
    defaults = run.built.method.hparams
    kept = max(range(len(run.settings)), key=lambda s: sum(run.settings[s][k] == v for k, v in defaults.items()))
    return Outcome(judged, rows, groups, kept, kept * len(trials), {})


def used(run: Setting, m: int) -> dict[str, float]:
    """Member m's hyper-parameters: its setting's, with the class weights that balanced its own images."""
    weights = {k: float(v[m]) for k, v in run.table.hparams.items() if k in ("weight_normal", "weight_anomalous")}
    return {**run.settings[run.pairs[m][0]], **weights}


def common(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The hyper-parameters that these members share; class weights that differ from fold to fold stand in each row."""
    first = rows[0]["hparams"]
    return {name: value for name, value in first.items() if all(row["hparams"][name] == value for row in rows)}


def compare(run: Setting, outcome: Outcome, console: Console) -> Outcome:
    """Adds the comparisons: other scorers and sets, the untrained network, pixel PCA, and the method's ceiling."""
    config, loaded, rows, judged, first = run.config, run.loaded, outcome.rows, outcome.judged, outcome.first
    trials = loaded.benchmark.trials
    own = range(first, first + len(trials))

    def summary(figures_of: Mapping[int, dict[str, float]]) -> Any:
        return evaluate.summary([{**rows[m], "metrics": found} for m, found in figures_of.items()])

    passed_over: dict[str, str] = {name: why for m in own for name, why in judged[m].passed_over.items()}
    for name, why in passed_over.items():
        console.print(f"skipped: {name}: {why}", highlight=False)
    found: dict[str, Any] = {
        name: summary({m: judged[m].scorers[name] for m in own})
        for name in judged[first].scorers
        if name not in passed_over
    }
    if {"all", evaluate.ODIN} & set(config.scorers) and _tells_classes(run, judged[first]):
        found[evaluate.ODIN] = summary({m: _odin(run, m) for m in own})
    for name, images in loaded.also.items():
        found[f"against {name}"] = summary({m: against(judged[m], images, loaded.prefix) for m in own})
    if run.built.method.step is not None:
        found["same network, untrained"] = summary({m: _judge(run, run.trained.untrained, m).metrics for m in own})
    pca = [
        {**rows[m], "metrics": evaluate.pixel_pca(loaded.benchmark, trial, len(run.built.spec.classes), loaded.prefix)}
        for m, trial in zip(own, trials, strict=True)
        if trial.seed == trials[0].seed
    ]
    found["pixel PCA, 30 components"] = evaluate.summary(pca) if len(pca) > 1 else pca[0]["metrics"]
    if config.protocol in ("folds", "holdout_fraction"):  # the official test images are no fold
        test = run.given.test
        truth = (test.labels != config.normal[0]).astype(np.int32)
        found["the same detectors on all official test images"] = summary(
            {m: on(judged[m], test.images, truth) for m in own}
        )
    if run.ceiling is not None:
        found[CEILING] = _ceiling(run.ceiling, loaded)
    return outcome._replace(comparisons=found)


def _judge(run: Setting, params: PyTree, m: int, others: Others = NONE) -> evaluate.Judged:
    config, loaded = run.config, run.loaded
    rule = evaluate.Rule(config.threshold, config.quantile, log_odds(run.table, m))
    trial = loaded.benchmark.trials[run.pairs[m][1]]
    return evaluate.judge(
        run.built.spec,
        member(params, m),
        run.normalise,
        loaded.benchmark,
        trial,
        rule,
        loaded.prefix,
        others.scorers,
        others.optional,
    )


def _tells_classes(run: Setting, judged: evaluate.Judged) -> bool:
    return "logits" in judged.outputs and len(run.built.spec.classes) > 1 and not run.built.head_drawn


def _odin(run: Setting, m: int) -> dict[str, float]:
    trial, params = run.loaded.benchmark.trials[run.pairs[m][1]], member(run.trained.params, m)
    scores = evaluate.odin(run.built.spec, params, run.normalise, run.loaded.benchmark.test.images[trial.test])
    return evaluate.ranking(scores[trial.truth == 0], scores[trial.truth == 1], run.loaded.prefix)


def log_odds(table: Members, m: int) -> float:
    """The offset that class weights add to member m's logits: the log of their ratio."""
    weights = [table.hparams.get(name, np.ones(m + 1))[m] for name in ("weight_anomalous", "weight_normal")]
    return float(np.log(weights[0] / weights[1]))


def against(judged: evaluate.Judged, images: np.ndarray, prefix: str) -> dict[str, float]:
    """A member's figures with the anomalies of its test replaced by those of a set it never saw."""
    normal = judged.scores[judged.truth == 0]
    scores = np.concatenate([normal, np.asarray(judged.detector.score(images))])
    truth = np.repeat([0, 1], [len(normal), len(images)])
    return evaluate.figures(judged.detector, {"test": scores, "held_out": np.zeros(0)}, truth, 1.0, prefix)


def on(judged: evaluate.Judged, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """A member's figures on other test images."""
    level = {"test": np.asarray(judged.detector.score(images)), "held_out": np.zeros(0)}
    return evaluate.figures(judged.detector, level, truth, 1.0, "")


def train_ceiling(config: Config, console: Console, loaded: Loaded, directory: Path) -> Ceiling:
    """Trains a plain supervised classifier on the trials of the first seed; all processes take part."""
    console.print(f"\n{CEILING}:")
    plain = of_preset("classifier_fashion_mnist")
    same = {name: getattr(config, name) for name in ("dataset", "normal", "seed", "validation", "data_dir")}
    plain = dataclasses.replace(plain, **same)
    asked, shape = recipe(plain), loaded.benchmark.train.images.shape[1:]
    hparams = dict(asked.build(shape, loaded.classes, steps=10).method.hparams)
    trials = tuple(t for t in loaded.benchmark.trials if t.seed == loaded.benchmark.trials[0].seed)
    loaded = loaded._replace(benchmark=loaded.benchmark._replace(trials=trials))
    table = members(plain, plain.settings(hparams), trials)
    plain = dataclasses.replace(plain, batch_size=min(plain.batch_size, int(table.count.min())))
    built = asked.build(shape, loaded.classes, steps=plain.steps(int(table.count.max())))
    normalise = built.normalise(loaded.benchmark.train.images)
    trained = fit(plain, console, built, normalise, loaded, table, directory / "ceiling")
    return Ceiling(plain, built, normalise, trained, trials)


def _ceiling(of: Ceiling, loaded: Loaded) -> dict[str, Any]:
    """What the classifier makes of the trials."""
    rule = evaluate.Rule(of.config.threshold, of.config.quantile)
    rows = []
    for m, trial in enumerate(of.trials):
        params = member(of.trained.params, m)
        found = evaluate.judge(of.built.spec, params, of.normalise, loaded.benchmark, trial, rule, loaded.prefix)
        rows.append({"seed": trial.seed, **trial.name, "metrics": found.metrics})
    return evaluate.summary(rows)
