"""Which scorer goes with which method: `python -m experiments.pairs`.

Every method of `adjax.methods` with every scorer of `adjax.scorers`, on the digits of scikit-learn. A method trains one
step, its scorer is fitted to 200 images and scores 50. A pair works, or is refused by its shapes before anything is
trained, with the scorers that do. A pair that was let through and fails is a fault of adjax: the command ends with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from adjax import data, methods, scorers, surface
from adjax.augment import Normalise
from adjax.detector import fit
from adjax.extraction import check_scorer, extract, shapes
from adjax.pipeline import Recipe, member, train_members
from adjax.spec import Spec
from adjax.types import Outputs, PyTree
from experiments.rundir import environment, write_json

RESULTS = Path(__file__).parent / "results" / "pairs.json"
FITTED, SCORED = 200, 50
WORKS = "works"


def images_for(method: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Digits as this method learns from them: images, labels, classes; the last label, if any, is the anomalies'."""
    digits = data.load("digits", "train")
    images, labels = digits.images[: FITTED + SCORED], digits.labels[: FITTED + SCORED]
    if method == "gan":  # whose U-Net halves sides four times
        images = images.repeat(4, axis=1).repeat(4, axis=2)
    supervision = Recipe(method).supervision(images.shape[1:])
    if supervision == "normal":
        return images, np.zeros(len(images), np.int32), ("normal",)
    if supervision == "anomalies":
        return images, (labels == 0).astype(np.int32), ("normal",)
    return images, labels, tuple("0123456789"[: labels.max() + ("anomalies" not in supervision)])


class Trained(NamedTuple):
    """A method with its own scorer, trained one step, and what its network says of all images."""

    spec: Spec
    params: PyTree
    normalise: Normalise
    images: np.ndarray
    labels: np.ndarray
    outputs: Outputs


def trained(method: str) -> Trained:
    """Trains the method of that name one step, on digits."""
    images, labels, classes = images_for(method)
    built, rows = Recipe(method).build(images.shape[1:], classes), np.arange(FITTED)
    normalise = built.normalise(images)
    table = built.members([rows], [labels[rows]])
    params = member(train_members(built, images, table, normalise, 1, batch_size=32).params, 0)
    said = extract(built.spec, params, normalise, images, frozenset(shapes(built.spec)))
    return Trained(built.spec, params, normalise, images, labels, said)


def pair(given: Trained, scorer: str) -> str:
    """`WORKS`, "refused: …" before anything is computed, or what went wrong.

    Args:
      given: the method.
      scorer: a name in `adjax.scorers.SCORERS`.
    """
    try:
        spec = Recipe(given.spec.method, scorer=scorer).build(given.spec.image_shape, given.spec.classes).spec
        check_scorer(spec)
    except ValueError as error:
        return f"refused: {error}"
    fitted = np.flatnonzero(given.labels[:FITTED] < len(spec.classes))
    outputs = {name: x[fitted] for name, x in given.outputs.items()}
    try:
        detector = fit(spec, given.params, given.normalise, given.images[fitted], given.labels[fitted], outputs=outputs)
        scores = np.asarray(detector.score(given.images[FITTED:]))
    except Exception as error:  # whatever it is: it is what the table has to say
        return f"{type(error).__name__}: {error}"
    return f"{np.isnan(scores).sum()} scores of {SCORED} are NaN" if np.isnan(scores).any() else WORKS


def main(argv: list[str] | None = None) -> int:
    """Tries every pair; prints and writes the table."""
    return surface.run(_main, sys.argv[1:] if argv is None else argv)


def _main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m experiments.pairs", description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=methods.METHODS, default=list(methods.METHODS), metavar="NAME")
    parser.add_argument("--scorers", nargs="+", choices=scorers.SCORERS, default=list(scorers.SCORERS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args(argv)
    found = read(asked.out) if asked.out.exists() else {}
    for method in asked.methods:
        given = trained(method)
        found[method] = {**found.get(method, {}), **{scorer: pair(given, scorer) for scorer in asked.scorers}}
        write_json(asked.out, {"environment": environment("experiments.pairs"), "pairs": found})
        works = [scorer for scorer, said in found[method].items() if said == WORKS]
        print(f"{method}: {len(works)} of {len(found[method])} scorers", flush=True)
    Console(width=None if sys.stdout.isatty() else 160).print(table(found))
    failed = [(m, s, said) for m, row in found.items() for s, said in row.items() if _mark(said) == "FAILED"]
    for method, scorer, said in failed:
        print(f"{method} + {scorer} failed: {said}")
    return 1 if failed else 0


def _mark(said: str) -> str:
    return "·" if said.startswith("refused: ") else "works" if said == WORKS else "FAILED"


def table(found: dict[str, dict[str, str]]) -> Table:
    """A row for each scorer, a column for each method; a dot for a pair that is refused."""
    shown = Table("scorer", *found, title="method × scorer")
    for scorer in next(iter(found.values())):
        shown.add_row(scorer, *(_mark(row[scorer]) for row in found.values()))
    return shown


def read(path: Path) -> Any:
    """The pairs of a file that the command wrote: method → scorer → what was found."""
    return json.loads(path.read_text())["pairs"]


if __name__ == "__main__":
    sys.exit(main())
