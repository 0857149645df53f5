"""Do thresholds keep their promise? `python -m experiments.calibration`: nominal against realised false-positive rates.

A center-loss network is trained on 45,000 of MNIST's 70,000 images, which are shuffled first, since its own test images
come from other writers. All others are scored once. Then, seed by seed, they are split again: n are held out to set the
conformal threshold, 10,000 others are evaluated by it. If the promise holds, the number flagged follows a beta-binomial
law; its central 99 % are the band. `coverage`: how often the quantile of all that were scored lies within
`adjax.thresholds.threshold_interval`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import betabinom

from adjax import data, process, surface, thresholds
from adjax.augment import Augment
from adjax.pipeline import Recipe, train_one
from experiments.console import spread
from experiments.rundir import environment, write_json

TRAINED, JUDGED = 45_000, 10_000
ALPHAS = (0.01, 0.05, 0.10)


def law(alpha: float, held_out: int, judged: int = JUDGED, share: float = 0.99) -> tuple[float, float]:
    """The central band of the false-positive rate among `judged` images, under exchangeability and without ties."""
    flagged = int((held_out + 1) * alpha * (1 + 1e-12))
    low, high = betabinom.interval(share, judged, flagged, held_out + 1 - flagged)
    return low / judged, high / judged


def realised(scores: np.ndarray, alpha: float, held_out: int, seed: int) -> dict[str, Any]:
    """One split of normal images' scores: the false-positive rate, and whether the band holds the true quantile."""
    order = np.random.default_rng(seed).permutation(len(scores))
    mine, others = scores[order[:held_out]], scores[order[held_out : held_out + JUDGED]]
    flagged = np.asarray(thresholds.is_anomalous(others, thresholds.conformal(mine, alpha)))
    low, high = (float(x) for x in thresholds.threshold_interval(mine, alpha))
    truth = float(np.quantile(scores, 1 - alpha))
    uncertain = float(((others > low) & (others <= high)).mean())
    return {"seed": seed, "rate": float(flagged.mean()), "covered": low <= truth <= high, "uncertain": uncertain}


def line(row: dict[str, Any]) -> str:
    """A row of the table in words."""
    rate, (low, high) = row["rate"], row["band"]
    return (
        f"n={row['held_out']:,} α={row['alpha']:.0%}: realised {rate['mean']:.2%} ± {rate['sd']:.2%}, {row['within']} "
        f"of {rate['n']} seeds within {low:.2%}–{high:.2%}; the quantile's interval held it in {row['coverage']:.0%}, "
        f"{row['uncertain']:.2%} of images uncertain"
    )


def main() -> None:
    """Trains, scores, splits, writes the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.calibration", description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--held-out", type=int, nargs="+", default=[200, 1000, 15_000])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "calibration_mnist.json")
    args = parser.parse_args()
    process.prepare()

    halves = [data.load("mnist", split) for split in ("train", "test")]
    images, labels = (np.concatenate([getattr(half, name) for half in halves]) for name in ("images", "labels"))
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order], labels[order]
    fitted, _ = train_one(
        Recipe("centerloss", scorer="mahalanobis", scorer_options={"shrinkage": 0.3}),
        images,
        labels,
        tuple("0123456789"),
        np.arange(TRAINED),
        np.zeros(0, int),
        steps=args.epochs * (TRAINED // 128),
        batch_size=128,
        augment=Augment(shift_px=1),
    )
    scores = np.asarray(fitted.score(images[TRAINED:]))

    rows = []
    for held_out in args.held_out:
        for alpha in ALPHAS:
            runs = [realised(scores, alpha, held_out, seed) for seed in range(args.seeds)]
            low, high = law(alpha, held_out)
            rates = np.array([run["rate"] for run in runs])
            rows.append(
                {
                    "alpha": alpha,
                    "held_out": held_out,
                    "judged": JUDGED,
                    "band": [low, high],
                    "within": int(((rates >= low) & (rates <= high)).sum()),
                    "rate": spread(list(rates)),
                    "coverage": float(np.mean([run["covered"] for run in runs])),
                    "uncertain": float(np.mean([run["uncertain"] for run in runs])),
                    "runs": runs,
                }
            )
            print(line(rows[-1]), flush=True)
    write_json(args.out, {"what": __doc__, "rows": rows, "environment": environment("experiments.calibration")})


if __name__ == "__main__":
    surface.script(main)
