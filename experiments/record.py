"""What a run leaves behind: results.json, the kept detectors with their cards, probabilities of a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax import data
from adjax import detector as detectors
from adjax.data.datasets.table import read_unlabelled
from adjax.data.io.probabilities import write_probabilities
from adjax.data.protocols import Trial
from experiments import card, evaluate
from experiments.config import Config, of_preset, own_ood
from experiments.judging import Outcome, Setting
from experiments.references import REFERENCES
from experiments.rundir import SCHEMA


def results(run: Setting, outcome: Outcome, note: str) -> dict[str, Any]:
    """The contents of results.json, but for `timing` and `environment`."""
    config, given, loaded, weights = run.config, run.given, run.loaded, run.built.weights
    first = loaded.benchmark.trials[0]
    kept = outcome.groups[outcome.kept]
    return {
        "schema": SCHEMA,
        "preset": config.preset,
        "method": config.method,
        "model": config.model,
        "note": note,
        "dataset": {
            "name": config.dataset,
            "sha256": {"train": data.digest(given.train), "test": data.digest(given.test)},
            "counts": {
                "train": int(run.table.count.max()),
                "held_out": len(first.held_out),
                "test": int((first.truth == 0).sum()),
            },
            "classes": list(given.classes),
        },
        "ood": {
            "name": loaded.ood_name,
            "sha256": {"test": data.digest(given.task.ood)} if given.task else {},
            "counts": {"test": int((first.truth == 1).sum())},
        },
        "weights": weights and {name: getattr(weights, name) for name in ("source", "sha256", "licence")},
        "config": portable(config),
        "members": outcome.rows,
        "groups": outcome.groups,
        "summary": kept["summary"],
        "kept": {"member": outcome.first, "hparams": kept["hparams"]},
        "comparisons": outcome.comparisons,
        "early_stopping": run.trained.best,
        "references": published(config),
    }


def portable(config: Config) -> dict[str, Any]:
    """The options as JSON values, without the folder of the user's weights; config.json in the run has it."""
    return config.json() | ({"weights": Path(config.weights).name} if config.weights else {})


def timing(run: Setting, score_images_per_s: float, elapsed_s: float) -> dict[str, Any]:
    """How long it took; `elapsed_s` in this process."""
    trained = run.trained
    seen = len(run.table.seed) * run.config.batch_size * trained.steps
    return {
        "compile_s": trained.compile_s,
        "train_s": trained.train_s,
        "train_images_per_s": seen / trained.train_s if trained.train_s else None,
        "resumed_from_step": trained.resumed_from_step,
        "score_images_per_s": score_images_per_s,
        "total_s": elapsed_s + trained.earlier_s,
    }


def published(config: Config) -> list[dict[str, Any]]:
    """Others' figures for this experiment; none if the options have made it another one."""
    own = of_preset(config.preset)
    own = dataclasses.replace(own, dataset=own.dataset or "mnist", ood=own.ood or own_ood(own.dataset or "mnist"))
    subject = ("method", "protocol", "dataset", "model", "normal", "anomalous", *(("ood",) if config.ood else ()))
    same = all(getattr(config, name) == getattr(own, name) for name in subject)
    return REFERENCES.get(config.preset, []) if same else []


def save(
    directory: Path, results: dict[str, Any], judged: list[evaluate.Judged], trials: tuple[Trial, ...], first: int
) -> list[Path]:
    """The kept detector with its card; where members are classes or folds, one each."""
    named = [{k: v for k, v in t.name.items() if k != "seed"} for t in trials]
    if not named[0]:
        judged[first].detector.save(directory / "detector")
        card.write(directory / "detector", results, first, judged[first])
        return [directory / "detector"]
    for m, name in enumerate(named):
        if trials[m].seed == trials[0].seed:
            label = "_".join(str(v) for v in name.values()).lower()
            clean = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
            judged[first + m].detector.save(directory / "detectors" / clean)
            card.write(directory / "detectors" / clean, results, first + m, judged[first + m])
    return [directory / "detectors"]


def score_table(config: Config, detector: detectors.Detector, directory: Path) -> Path:
    """Writes a CSV of probabilities for a CSV of images; 1 − p-value if the method gives none."""
    assert config.score_table is not None
    names, images = read_unlabelled(config.score_table, config.side_px)
    said = jax.eval_shape(detector.outputs, jax.ShapeDtypeStruct((1, *images.shape[1:]), np.uint8))
    if "probability" in said:
        found = np.asarray(detector.outputs(images, {"probability"})["probability"])
    else:
        found = 1 - np.asarray(detector.p_value(images))
    write_probabilities(directory / "probabilities.csv", names, found)
    return directory / "probabilities.csv"
