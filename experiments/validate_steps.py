"""How many steps center loss takes of few images: on validation data alone. `python -m experiments.validate_steps`.

As `experiments.validate`, whose splits, made outliers and scorer these are: one digit is left out, a tenth of the
others held out, and of the rest at most 1,000 or 5,000 images are trained on. No image of a test set is touched. Chosen
is the number of steps with the highest mean OOD AUROC, over seeds and kinds and then over the sets; so written before
the grid ran.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from adjax import data, extraction, pipeline, process, surface
from adjax import detector as detectors
from adjax.augment import Augment
from adjax.data.datasets.synthetic import outliers
from adjax.data.split import Split
from adjax.pipeline import Recipe, member
from experiments import evaluate, validate
from experiments.console import spread
from experiments.rundir import environment, write_json

SETS: dict[str, tuple[str, int | None]] = {
    "1,000 of mnist": ("mnist", 1000),
    "5,000 of mnist": ("mnist", 5000),
    "digits, 8 px": ("digits", None),
}
"""Set -> its name in `adjax.data`, and most images to train on."""
STEPS = 250, 500, 1000, 2000, 4000
BATCH_SIZE = 128
SCORER, SHRINKAGE = "layers_partial and logits", 0.0


def cell(whole: Split, most: int | None, steps: int, seeds: int) -> list[dict[str, float]]:
    """Trains a network a seed: the F1 and the mean AUROC of each."""
    parts = [validate.shown(whole.labels, seed) for seed in range(seeds)]
    rows = [np.sort(np.random.default_rng(seed).permutation(part.train)[:most]) for seed, part in enumerate(parts)]
    built = Recipe("centerloss").build(whole.images.shape[1:], validate.CLASSES, steps=steps)
    table = built.members(rows, [part.labels[own] for part, own in zip(parts, rows, strict=True)], range(seeds), {})
    normalise, shift = built.normalise(whole.images), Augment(shift_px=1)
    params = pipeline.train_members(
        built, whole.images, table, normalise, steps, batch_size=BATCH_SIZE, augment=shift
    ).params
    layers, found = frozenset(extraction.shapes(built.spec)), []
    for seed, (part, own) in enumerate(zip(parts, rows, strict=True)):
        held = whole.images[part.held]
        odd = {**outliers(held, seed), "a digit left out": whole.images[part.labels < 0]}
        images = {"train": whole.images[own], "held_out": held, **odd}
        outputs = {
            name: detectors.extract(built.spec, member(params, seed), normalise, x, layers)
            for name, x in images.items()
        }
        labels = part.labels[part.held]
        f1 = evaluate.classification(outputs["held_out"], labels, np.zeros(len(labels)), len(validate.CLASSES))["f1"]
        each = validate.aurocs(SCORER, SHRINKAGE, outputs, part.labels[own])
        found.append({"f1": float(f1), "auroc": float(np.mean(list(each.values())))})
    return found


def choose(cells: list[dict[str, Any]]) -> int:
    """The rule: the steps whose mean AUROC over the sets is the highest."""
    means = {s: np.mean([x["auroc"]["mean"] for x in cells if x["steps"] == s]) for s in {x["steps"] for x in cells}}
    return max(means, key=lambda s: means[s])


def main() -> None:
    """Trains the grid, writes the table and what it chose."""
    parser = argparse.ArgumentParser(prog="python -m experiments.validate_steps", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each cell: split, weights, order, made images")
    parser.add_argument("--steps", type=int, nargs="+", default=list(STEPS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "centerloss_steps.json")
    args = parser.parse_args()
    process.prepare()
    cells = []
    for name, (dataset, most) in SETS.items():
        whole = data.load(dataset, "train")
        for steps in args.steps:
            runs = cell(whole, most, steps, args.seeds)
            figures = {key: spread([run[key] for run in runs]) for key in ("f1", "auroc")}
            cells.append({"set": name, "steps": steps, **figures})
            told = ", ".join(f"{key} {x['mean']:.4f} ± {x['sd']:.4f}" for key, x in figures.items())
            print(f"{name}, {steps} steps: {told}", flush=True)
    chosen = choose(cells)
    print("chosen:", chosen)
    result = {
        "rule": __doc__,
        "chosen": chosen,
        "cells": cells,
        "environment": environment("experiments.validate_steps"),
    }
    write_json(args.out, result)


if __name__ == "__main__":
    surface.script(main)
