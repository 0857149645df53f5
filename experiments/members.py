"""What the options ask for: a recipe, the table of its members, and their training in a run directory."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from adjax import data, extraction, methods, train
from adjax import detector as detectors
from adjax.augment import Normalise
from adjax.data.protocols import Trial
from adjax.methods.classifier import class_weights
from adjax.pipeline import Built, Recipe
from adjax.train import Members, initial
from adjax.types import PyTree
from experiments import training
from experiments.config import Config
from experiments.console import member_name, setting_name
from experiments.rundir import environment, write_json
from experiments.study import Loaded


def recipe(config: Config) -> Recipe:
    """What the options ask for, by name."""
    scorer = config.scorer or methods.entry(config.method).scorer
    scorer_options = dataclasses.replace(config, scorer=scorer).options("scorer")
    model_options, method_options = config.options("model"), config.options("method")
    return Recipe(
        config.method,
        config.model,
        config.scorer,
        method_options,
        model_options,
        scorer_options,
        config.weights,
        precision=config.precision,
    )


def members(config: Config, settings: list[dict[str, float]], trials: tuple[Trial, ...]) -> Members:
    """Every setting with every trial; a trial splits, initialises and shuffles alike under every setting.

    Class weights that the options leave open balance the classes.
    """
    pairs = list(itertools.product(settings, trials))
    hparams = {name: np.array([s[name] for s, _ in pairs], np.float32) for name in settings[0]}
    given = {text.partition("=")[0] for text in config.hparams}
    for name in ("weight_normal", "weight_anomalous"):
        if name in hparams and name not in given:
            counts = [np.bincount(t.labels, minlength=2).tolist() for _, t in pairs]
            hparams[name] = np.array([class_weights(*count)[name] for count in counts])
    return train.members(hparams, [t.seed for _, t in pairs], [t.rows for _, t in pairs], [t.labels for _, t in pairs])


def member_names(table: Members, trials: tuple[Trial, ...]) -> list[str]:
    """What tells the members apart: hyper-parameters that differ, then class, fold or seed."""
    settings = [{k: float(v[m]) for k, v in table.hparams.items()} for m in range(len(table.seed))]
    named = [setting_name(s, settings).replace("λ", "lam") for s in settings]
    return [" ".join(filter(None, (own, member_name(trials[m % len(trials)].name)))) for m, own in enumerate(named)]


def fit(
    config: Config,
    console: Console,
    built: Built,
    normalise: Normalise,
    loaded: Loaded,
    table: Members,
    directory: Path,
) -> training.Trained:
    """Trains the table in a run directory; of a method without a step, the parameters as they are."""
    if built.method.step is None:
        if jax.process_index() == 0:
            directory.mkdir(parents=True, exist_ok=True)
            write_json(directory / "config.json", config.json())
            write_json(directory / "environment.json", environment("experiments.run"))
        params = initial(built.method, table)
        return training.Trained(params, params, 0, 0, 0.0, 0.0, 0.0, {}, None)
    validate = None
    if config.patience is not None:
        if config.validation == 0:
            raise ValueError(
                f"--patience {config.patience} chooses an epoch by held-out images, and --validation 0 holds out none: "
                "raise --validation, or take --patience None"
            )
        trials = loaded.benchmark.trials * (len(table.seed) // len(loaded.benchmark.trials))

        def score(params: PyTree, m: int) -> np.ndarray:
            images = loaded.benchmark.train.images[trials[m].validation]
            return np.asarray(detectors.extract(built.spec, params, normalise, images)["score"])

        truths = [t.validation_truth for t in trials]
        if all(truth.any() for truth in truths):
            validate = training.Validation("auroc", training.validation_auroc(score, truths))
        elif "reconstruction" in extraction.shapes(built.spec) and all(map(len, truths)):
            validate = training.Validation("error", training.validation_error(score, len(trials)))
        else:
            raise ValueError(
                "--patience needs labelled anomalies to validate on, and this method sees none; without them it takes "
                "a method that reconstructs, and --validation above 0: leave --patience out"
            )
    digest = data.digest(loaded.benchmark.train)
    names = member_names(table, loaded.benchmark.trials)
    images = loaded.benchmark.train.images
    return training.run(config, console, built, images, table, normalise, directory, digest, validate, names)
