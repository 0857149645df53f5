"""Do thresholds from *training* rows keep their promise? `python -m experiments.calibration_features`: simulated.

N normal rows of D features are drawn, a scorer is cross-fitted to them (`adjax.crossfit`), and its conformal threshold
for a false-positive rate of α = 5 % is applied to fresh rows of the same law. Beside it stands the threshold at the
95 % quantile of the training distances. Each seed draws again. Rows are independent in all features, with mean 1:
Gaussian, or Student's t with 3 degrees of freedom, which has tails so heavy that its fourth moment is infinite.
Scorers of classes have five of them, 3 apart from one another in every feature's mean.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import crossfit, process, scorers, surface, thresholds
from adjax.types import Scorer
from experiments.console import spread
from experiments.rundir import environment, write_json

ALPHA, FRESH, CLASSES = 0.05, 2_000, 5
ROWS, DIMS = (30, 100, 300, 1000), (2, 16, 64, 512)
ALL = "all"
"""For an option: as many as there are rows."""
LAWS = ("gaussian", "heavy-tailed")
SCORERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "center": ("center", {}, 1),
    "cosine": ("cosine", {}, 1),
    "mahalanobis": ("mahalanobis", {}, 1),
    "mahalanobis, 5 classes": ("mahalanobis", {}, CLASSES),
    "mahalanobis_perclass, 5 classes": ("mahalanobis_perclass", {}, CLASSES),
    "mahalanobis_partial, 5 classes": ("mahalanobis_partial", {}, CLASSES),
    "relative_mahalanobis, 5 classes": ("relative_mahalanobis", {}, CLASSES),
    "gmm": ("gmm", {}, 1),
    "gmm, 3 components": ("gmm", {"components": 3, "capacity": ALL}, 1),
    "knn": ("knn", {"capacity": ALL}, 1),
    "knn, k = 1": ("knn", {"k": 1, "capacity": ALL}, 1),
    "layers": ("layers", {}, 1),
    "layers_partial, 5 classes": ("layers_partial", {}, CLASSES),
    "ocsvm": ("ocsvm", {"capacity": ALL}, 1),
    "padim": ("padim", {"feature": "features", "grid": (1, 1)}, 1),
    "patchcore": ("patchcore", {"feature": "features", "coreset": ALL, "capacity": ALL}, 1),
    "pca": ("pca", {}, 1),
}
"""Name -> scorer, options, classes."""
LARGEST = {"gmm, 3 components": 16, "ocsvm": 64, "relative_mahalanobis, 5 classes": 64}
"""Features beyond which a scorer is left out, since its 21 fits, 160 times over, take too long."""


@functools.cache
def _made(name: str, n: int) -> Scorer:
    """One object each, so that its programs are compiled once."""
    kind, options, _ = SCORERS[name]
    return scorers.make(kind, **{option: n if x == ALL else x for option, x in options.items()})


def draw(law: str, rows: int, dim: int, classes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """float32[rows, dim] and their classes."""
    noise = rng.normal(size=(rows, dim)) if law == "gaussian" else rng.standard_t(3, (rows, dim))
    labels = np.arange(rows) % classes
    return (1 + 3 * labels[:, None] + noise).astype(np.float32), labels


@functools.partial(jax.jit, static_argnames="scorer")
def _rates(
    scorer: Scorer, fitted: crossfit.Fitted, limit: jax.Array, rows: jax.Array, labels: jax.Array, fresh: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Shares of fresh rows flagged: by the cross-fitted threshold, and by the training distances' quantile."""
    far = scorer.distances(fitted.state, {"features": fresh})
    trained = thresholds.calibrate(scorer.distances(fitted.state, {"features": rows}), labels)
    return (
        thresholds.is_anomalous(thresholds.classwise_quantile(fitted.calibration, far), limit).mean(),
        thresholds.is_anomalous(thresholds.classwise_quantile(trained, far), 1 - ALPHA).mean(),
    )


def cell(name: str, law: str, n: int, dim: int, seeds: int, folds: int = crossfit.FOLDS) -> dict[str, Any]:
    """One scorer, one law, one N and D."""
    classes = SCORERS[name][2]
    scorer, rates, fits = _made(name, n), [], set()
    for seed in range(seeds):
        rng = np.random.default_rng([seed, n, dim])
        rows, labels = draw(law, n, dim, classes, rng)
        fresh, _ = draw(law, FRESH, dim, classes, rng)
        fitted = crossfit.fit(scorer, {"features": jnp.asarray(rows)}, labels, classes, np.arange(n), folds)
        fits.add(fitted.fits)
        limit = thresholds.conformal(fitted.scores, ALPHA)
        rates.append([float(x) for x in _rates(scorer, fitted._replace(fits=0), limit, rows, labels, fresh)])
    crossed, trained = zip(*rates, strict=True)
    return {
        "scorer": name,
        "law": law,
        "n": n,
        "dim": dim,
        "fits": max(fits),
        "rate": spread(list(crossed)),
        "training": spread(list(trained)),
    }


def main() -> None:
    """Simulates what the file lacks, and writes it after each scorer."""
    parser = argparse.ArgumentParser(prog="python -m experiments.calibration_features", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=list(SCORERS), metavar="NAME")
    parser.add_argument("--dims", type=int, nargs="+", default=list(DIMS), metavar="D")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "calibration_features.json")
    parser.add_argument("--again", action="store_true", help="draw these again, though the file has them")
    args = parser.parse_args()
    process.prepare()
    before = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    if args.again:
        before = [row for row in before if row["scorer"] not in args.scorers or row["dim"] not in args.dims]
    found = {(row["scorer"], row["dim"], row["n"], row["law"]): row for row in before}
    for dim, name in itertools.product(args.dims, args.scorers):
        if dim > LARGEST.get(name, dim):
            continue
        for n, law in itertools.product(ROWS, LAWS):
            if (name, dim, n, law) in found:
                continue
            row = found[name, dim, n, law] = cell(name, law, n, dim, args.seeds)
            print(
                f"{name}, D={dim}, N={n:,}, {law}: {row['rate']['mean']:.2%} ± {row['rate']['sd']:.2%} of fresh rows "
                f"flagged ({row['fits']} fits beside the one); by training distances {row['training']['mean']:.2%}",
                flush=True,
            )
        write(args.out, list(found.values()))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the table, scorer by scorer."""
    order = list(SCORERS)
    rows = sorted(rows, key=lambda row: (order.index(row["scorer"]), row["dim"], row["n"], row["law"]))
    where = environment("experiments.calibration_features")
    write_json(path, {"what": __doc__, "alpha": ALPHA, "fresh": FRESH, "rows": rows, "environment": where})


if __name__ == "__main__":
    surface.script(main)
