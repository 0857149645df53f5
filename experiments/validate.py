"""How the defaults of center loss were chosen: on validation data alone. `python -m experiments.validate`.

Each setting is trained on 90 % of MNIST's training images. The other 10 % are the normal images; what doesn't belong is
made from them, or cut from the two photographs inside scikit-learn: no image of any test set is touched, and nothing of
Fashion-MNIST is. Chosen is the setting and scorer with the highest mean OOD AUROC (over seeds and kinds) among those
whose mean classification F1 is within 0.0005 of the best; so written before the grid ran.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax import data, extraction, pipeline, process, scorers, surface
from adjax import detector as detectors
from adjax.augment import Augment
from adjax.data.datasets.synthetic import outliers
from adjax.data.split import Split
from adjax.data.splitting import validation_split
from adjax.pipeline import Built, Recipe, member
from adjax.train import Members
from adjax.types import Outputs, PyTree
from experiments import evaluate
from experiments.rundir import environment, write_json

F1_MARGIN = 0.0005
CLASSES = tuple("0123456789")
SETTING = "gain", "schedule", "scale", "lam", "weight_decay", "learning_rate"
"""What tells settings apart; the first three are part of the program, the others arrays of its members."""


CANDIDATES: dict[str, tuple[str, dict[str, str]]] = {
    "mahalanobis": ("mahalanobis", {}),
    "mahalanobis_perclass": ("mahalanobis_perclass", {}),
    "layers": ("layers", {}),
    "layers_perclass": ("layers", {"scorer": "mahalanobis_perclass"}),
}
"""Scorers to choose from: name in `adjax.scorers.SCORERS` and options, beside the shrinkage."""


def choose(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule: highest `mean_auroc` at an `f1` within the margin of the best; NaN never is."""
    settings = [x for x in settings if math.isfinite(x["f1"] + x["mean_auroc"])]
    best_f1 = max(line["f1"] for line in settings)
    return max((x for x in settings if x["f1"] >= best_f1 - F1_MARGIN), key=lambda x: x["mean_auroc"])


def main() -> None:
    """Trains the grid, evaluates every setting, writes the table and what it chose."""
    args = parsed()
    process.prepare()
    whole = data.load("mnist", "train")
    splits = {seed: validation_split(whole.labels, 0.1, seed) for seed in range(args.seeds)}
    made = {seed: outliers(whole.images[split[1]], seed) for seed, split in splits.items()}
    found: dict[tuple, list[dict[str, Any]]] = {}
    programs = list(itertools.product(args.gain, args.schedule, args.scale))
    for number, program in enumerate(programs, 1):
        for setting, seed, built, normalise, own in trained(program, args, whole, splits):
            train_rows, held = splits[seed]
            images = {"train": whole.images[train_rows], "held_out": whole.images[held], **made[seed]}
            layers = frozenset(extraction.shapes(built.spec))
            outputs = {k: detectors.extract(built.spec, own, normalise, v, layers) for k, v in images.items()}
            f1 = evaluate.classification(outputs["held_out"], whole.labels[held], np.zeros(len(held)), 10)["f1"]
            for scorer, shrinkage in itertools.product(CANDIDATES, args.shrinkage):
                line = {"f1": f1, "auroc": aurocs(scorer, shrinkage, outputs, whole.labels[train_rows])}
                found.setdefault((*setting, scorer, shrinkage), []).append(line)
            print(f"program {number} of {len(programs)}: {dict(zip(SETTING, setting, strict=True))}, ", end="")
            print(f"seed {seed}: F1 {f1:.4f}", flush=True)
    lines = [summary(dict(zip((*SETTING, "scorer", "shrinkage"), key, strict=True)), x) for key, x in found.items()]
    chosen = choose(lines)
    for line in sorted(lines, key=lambda x: -np.nan_to_num(x["mean_auroc"]))[:20]:
        print(" ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in line.items() if k != "auroc"))
    print("chosen:", chosen)
    result = {"rule": __doc__, "seeds": args.seeds, "chosen": chosen, "settings": lines}
    result["environment"] = environment("experiments.validate")
    write_json(args.out, result)


def parsed() -> argparse.Namespace:
    """The grid: every combination of the options' values is a setting."""
    parser = argparse.ArgumentParser(prog="python -m experiments.validate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each setting: split, weights, order, made images")
    parser.add_argument("--gain", type=float, nargs="+", default=[2.0, 1 / 3], help="of LeNet's first weights")
    parser.add_argument(
        "--schedule", nargs="+", default=["8x64", "11x128"], help="epochs x batch size; the defaults take the same time"
    )
    parser.add_argument("--scale", type=float, nargs="+", default=[0.0], help="augmentation, beside shifts of 1 px")
    parser.add_argument("--lam", type=float, nargs="+", default=[0.1])
    parser.add_argument("--weight-decay", type=float, nargs="+", default=[0.3])
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[3e-3])
    parser.add_argument("--shrinkage", type=float, nargs="+", default=[0.0, 0.1, 0.3])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "centerloss_validation.json")
    return parser.parse_args()


def trained(
    program: tuple, args: argparse.Namespace, whole: Split, splits: dict[int, tuple[np.ndarray, np.ndarray]]
) -> Iterator[tuple[tuple, int, Built, Any, PyTree]]:
    """Trains all members of one program: setting, seed, what was built, normalisation and weights of each."""
    gain, schedule, scale = program
    epochs, batch_size = map(int, schedule.split("x"))
    grid = list(itertools.product(args.lam, args.weight_decay, args.learning_rate, splits))
    rows = [splits[seed][0] for *_, seed in grid]
    steps = epochs * (max(map(len, rows)) // batch_size)
    built = Recipe("centerloss", model_options={"gain": gain}).build(whole.images.shape[1:], CLASSES, steps=steps)
    hparams = dict(zip(SETTING[3:], map(list, zip(*[own for *own, _ in grid], strict=True)), strict=True))
    table: Members = built.members(rows, [whole.labels[r] for r in rows], [seed for *_, seed in grid], hparams)
    normalise = built.normalise(whole.images)
    params = pipeline.train_members(
        built,
        whole.images,
        table,
        normalise,
        steps,
        batch_size=batch_size,
        augment=Augment(shift_px=1, scale=scale),
        report=lambda step, m: print(step, "of", steps, m["loss"].mean(), flush=True),
    ).params
    for m, (*own, seed) in enumerate(grid):
        yield (*program, *own), seed, built, normalise, member(params, m)


def aurocs(candidate: str, shrinkage: float, outputs: dict[str, Outputs], labels: np.ndarray) -> dict[str, float]:
    """OOD AUROC of each made kind against the held-out images, of a scorer fitted to the training images."""
    name, options = CANDIDATES[candidate]
    needed = scorers.needed(name, scorers.SCORERS[name], outputs["train"])
    made = scorers.make(name, **(needed or {}), **options, shrinkage=shrinkage)
    state = jax.jit(lambda rows, labels: scorers.fit(made, rows, labels, len(CLASSES)))(outputs["train"], labels)
    score = jax.jit(made.score)
    normal = np.asarray(score(state, outputs["held_out"]))
    return {
        kind: evaluate.ranking(normal, np.asarray(score(state, x)))["auroc"]
        for kind, x in outputs.items()
        if kind not in ("train", "held_out")
    }


def summary(setting: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A setting's line: means over its seeds."""
    means = {name: float(np.mean([run["auroc"][name] for run in runs])) for name in runs[0]["auroc"]}
    return {
        **setting,
        "f1": float(np.mean([run["f1"] for run in runs])),
        "mean_auroc": float(np.mean(list(means.values()))),
        "auroc": means,
        "seeds": len(runs),
    }


if __name__ == "__main__":
    surface.script(main)
