"""What cross-fitting costs beside one fit: `python -m benchmarks.crossfitting` writes `results/crossfitting.json`.

Rows of features, in memory; 20 folds. Ours is `adjax.crossfit.fit`, the peer one fit with the distances of the rows it
was fitted to, which a threshold takes as well. A ratio of 1 means as fast; in closed form there is one fit, else 21.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax import crossfit, scorers, surface, thresholds
from benchmarks.harness import compare
from experiments.rundir import environment, write_json

SIZES = (2_000, 64), (2_000, 512), (20_000, 64)
"""Rows and features."""
CLASSES = 5
SCORERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "mahalanobis": ("mahalanobis", {}, 1),
    "mahalanobis, 5 classes": ("mahalanobis", {}, CLASSES),
    "gmm, one Gaussian": ("gmm", {}, 1),
    "knn": ("knn", {"capacity": 20_000}, 1),
    "pca": ("pca", {}, 1),
    "center": ("center", {}, 1),
}


def row(name: str, rows: int, dim: int, pairs: int) -> dict[str, Any]:
    """One scorer's cost at one size."""
    kind, options, classes = SCORERS[name]
    scorer, rng = scorers.make(kind, **options), np.random.default_rng(0)
    labels = np.arange(rows) % classes
    outputs: dict[str, Any] = {"features": (3 * labels[:, None] + rng.normal(size=(rows, dim))).astype(np.float32)}

    @jax.jit
    def one_fit(outputs: Any, labels: jax.Array) -> Any:
        state = scorers.fit(scorer, outputs, labels, classes)
        return thresholds.calibrate(scorer.distances(state, outputs), labels)

    def crossed() -> Any:
        return crossfit.fit(scorer, outputs, labels, classes, np.arange(rows))

    timing = compare(
        f"{name}: cross-fitted", "one fit", crossed, lambda: one_fit(outputs, labels), images=rows, n=pairs
    )
    cost = {"cost": 1 / timing.ratio, "cost_min": 1 / timing.ratio_max, "cost_max": 1 / timing.ratio_min}
    return {"scorer": name, "rows": rows, "dim": dim, "fits": crossed().fits + 1, **cost, **timing.json()}


def main() -> None:
    """Times all and writes them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crossfitting", description=__doc__)
    parser.add_argument("--pairs", type=int, default=11, help="of timings, in turn (default: %(default)s)")
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=list(SCORERS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "crossfitting.json")
    args = parser.parse_args()
    timings = []
    for name, (rows, dim) in itertools.product(args.scorers, SIZES):
        timings.append(found := row(name, rows, dim, args.pairs))
        cost = f"{found['cost']:.2f} × one fit ({found['cost_min']:.2f}–{found['cost_max']:.2f})"
        print(f"{name}, {rows:,} × {dim}: {cost}, {found['fits']} fits", flush=True)
    write_json(args.out, {"environment": environment("benchmarks.crossfitting"), "timings": timings})


if __name__ == "__main__":
    surface.script(main)
