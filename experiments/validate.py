"""How the defaults of center loss were chosen: on validation data alone. `python -m experiments.validate`.

Each setting is trained on 90 % of MNIST's training images, without one digit: 1, 3, 5, 7, 9 by seed, never 0, which the
experiments leave out. The other 10 %, without that digit, are the normal images. What doesn't belong is made from them,
or cut from the two photographs inside scikit-learn, or it is the digit left out: no image of any test set is touched,
and nothing of Fashion-MNIST is. Chosen is the shortest training that is no worse than `BEFORE`, the defaults until this
grid, in mean classification F1 and in mean OOD AUROC (over seeds and kinds); of several that with the highest AUROC.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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

CLASSES = tuple(f"digit {i}" for i in range(9))
"""The nine digits that a network is shown, in their order."""
PROGRAM = "optimizer", "gain", "schedule", "scale"
SETTING = (*PROGRAM, "lam", "weight_decay", "learning_rate")
"""What tells settings apart; the first are part of the program, the others arrays of its members."""
NAMES = (*SETTING, "scorer", "shrinkage")


BEFORE: dict[str, Any] = {
    "optimizer": "adamw",
    "gain": 1 / 3,
    "schedule": "11x128",
    "scale": 0.0,
    "lam": 0.1,
    "weight_decay": 0.3,
    "learning_rate": 3e-3,
    "scorer": "layers_partial and logits",
    "shrinkage": 0.0,
}
_LAYERS = {"names": ("features", "hidden", "pool1", "pool2"), "dims": (84, 120, 6, 16)}
_LOGITS = {"names": (*_LAYERS["names"], "logits"), "dims": (*_LAYERS["dims"], len(CLASSES))}
CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {
    "mahalanobis": ("mahalanobis", {}),
    "mahalanobis_perclass": ("mahalanobis_perclass", {}),
    "mahalanobis_partial": ("mahalanobis_partial", {}),
    "layers and logits": ("layers", _LOGITS),
    "layers_perclass and logits": ("layers_perclass", _LOGITS),
    "layers_partial and logits": ("layers_partial", _LOGITS),
}
"""Scorers to choose from: name in `adjax.scorers.SCORERS` and options, beside the shrinkage."""


class Shown(NamedTuple):
    """What a seed's networks are shown: rows to train on, rows held out, and the class of every row (of the digit left
    out, whose rows are in neither, -1)."""

    train: np.ndarray
    held: np.ndarray
    labels: np.ndarray


def shown(digits: np.ndarray, seed: int) -> Shown:
    """All but one digit, a tenth of them held out."""
    left_out = (2 * seed + 1) % 10
    labels = np.where(digits == left_out, -1, digits - (digits > left_out))
    known = np.flatnonzero(labels >= 0)
    train, held = (known[rows] for rows in validation_split(labels[known], 0.1, seed))
    return Shown(train, held, labels)


def choose(settings: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule: `f1` and `mean_auroc` no lower than `BEFORE` has them; of these the fewest epochs, and then the highest
    `mean_auroc`. NaN never is.
    """
    [before] = (x for x in settings if all(x[name] == value for name, value in BEFORE.items()))
    able = [x for x in settings if all(x[name] >= before[name] for name in ("f1", "mean_auroc"))]
    return min(able, key=lambda x: (_epochs(x["schedule"])[0], -x["mean_auroc"]))


def _epochs(schedule: str) -> tuple[int, int]:
    """Epochs and batch size of "4x128"."""
    epochs, batch_size = map(int, schedule.split("x"))
    return epochs, batch_size


def main() -> None:
    """Trains the grid, evaluates every setting, writes the table and what it chose."""
    args = parsed()
    process.prepare()
    whole = data.load("mnist", "train")
    parts = {seed: shown(whole.labels, seed) for seed in range(args.seeds)}
    odd = {seed: outliers(whole.images[part.held], seed) for seed, part in parts.items()}
    for seed, kinds in odd.items():
        kinds["a digit left out"] = whole.images[parts[seed].labels < 0]
    found: dict[tuple, list[dict[str, Any]]] = {}
    programs = list(itertools.product(*(getattr(args, name) for name in PROGRAM)))
    for number, program in enumerate(programs, 1):
        for setting, seed, built, normalise, own in trained(program, args, whole, parts):
            part = parts[seed]
            images = {"train": whole.images[part.train], "held_out": whole.images[part.held], **odd[seed]}
            layers = frozenset(extraction.shapes(built.spec))
            outputs = {k: detectors.extract(built.spec, own, normalise, v, layers) for k, v in images.items()}
            held_labels = part.labels[part.held]
            f1 = evaluate.classification(outputs["held_out"], held_labels, np.zeros(len(held_labels)), len(CLASSES))[
                "f1"
            ]
            for scorer, shrinkage in itertools.product(CANDIDATES, args.shrinkage):
                line = {"f1": f1, "auroc": aurocs(scorer, shrinkage, outputs, part.labels[part.train])}
                found.setdefault((*setting, scorer, shrinkage), []).append(line)
            print(f"program {number} of {len(programs)}: {dict(zip(SETTING, setting, strict=True))}, ", end="")
            print(f"seed {seed}: F1 {f1:.4f}", flush=True)
    lines = [summary(dict(zip(NAMES, key, strict=True)), x) for key, x in found.items()]
    lines += [line for line in earlier(args) if tuple(line[name] for name in NAMES) not in found]
    chosen = choose(lines)
    for line in sorted(lines, key=lambda x: -np.nan_to_num(x["mean_auroc"]))[:20]:
        print(" ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in line.items() if k != "auroc"))
    print("chosen:", chosen)
    result = {
        "rule": __doc__,
        "seeds": args.seeds,
        "chosen": chosen,
        "settings": lines,
    }  # of this grid and earlier ones
    result["environment"] = environment("experiments.validate")
    write_json(args.out, result)


def earlier(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Settings that the file has of an earlier grid, if that was of as many seeds."""
    if args.again or not args.out.exists():
        return []
    lines = json.loads(args.out.read_text())["settings"]
    return [line for line in lines if line["seeds"] == args.seeds and set(NAMES) <= set(line)]


def parsed() -> argparse.Namespace:
    """The grid: every combination of the options' values is a setting."""
    parser = argparse.ArgumentParser(prog="python -m experiments.validate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each setting: split, weights, order, made images")
    parser.add_argument("--optimizer", nargs="+", default=["adamw", "muon"])
    parser.add_argument("--gain", type=float, nargs="+", default=[1 / 3], help="of LeNet's first weights")
    parser.add_argument(
        "--schedule", nargs="+", default=["4x128", "5x128", "6x128", "11x128"], help="epochs x batch size"
    )
    parser.add_argument("--scale", type=float, nargs="+", default=[0.0], help="augmentation, beside shifts of 1 px")
    parser.add_argument("--lam", type=float, nargs="+", default=[0.1])
    parser.add_argument("--weight-decay", type=float, nargs="+", default=[0.3])
    parser.add_argument("--learning-rate", type=float, nargs="+", default=[3e-3, 5e-3])
    parser.add_argument("--shrinkage", type=float, nargs="+", default=[0.0, 0.1])
    parser.add_argument("--again", action="store_true", help="keep nothing of what the file has of other settings")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "centerloss_validation.json")
    return parser.parse_args()


def trained(
    program: tuple, args: argparse.Namespace, whole: Split, parts: dict[int, Shown]
) -> Iterator[tuple[tuple, int, Built, Any, PyTree]]:
    """Trains all members of one program: setting, seed, what was built, normalisation and weights of each."""
    optimizer, gain, schedule, scale = program
    epochs, batch_size = _epochs(schedule)
    grid = list(itertools.product(args.lam, args.weight_decay, args.learning_rate, parts))
    rows = [parts[seed].train for *_, seed in grid]
    steps = epochs * (max(map(len, rows)) // batch_size)
    recipe = Recipe("centerloss", method_options={"optimizer": optimizer}, model_options={"gain": gain})
    built = recipe.build(whole.images.shape[1:], CLASSES, steps=steps)
    hparams = dict(zip(SETTING[len(PROGRAM) :], map(list, zip(*[own for *own, _ in grid], strict=True)), strict=True))
    table: Members = built.members(
        rows,
        [parts[seed].labels[parts[seed].train] for *_, seed in grid],
        [seed for *_, seed in grid],
        hparams,
    )
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
    """OOD AUROC of each kind against the held-out images, of a scorer fitted to the training images."""
    name, options = CANDIDATES[candidate]
    needed = scorers.needed(name, scorers.SCORERS[name], outputs["train"])
    made = scorers.make(name, **{**(needed or {}), **options}, shrinkage=shrinkage)
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
