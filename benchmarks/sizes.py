"""What a picture twice as large costs, at most 4.4 times as much: `python -m benchmarks.sizes` writes a table of it.

Detectors as `adjax train` makes them, of EfficientNet-Lite0 with random weights and a scorer of places, for pictures of
three sizes, each twice the one before. Compiled for the batch that `predict` takes: a picture's FLOPs and memory beyond
the arguments are the compiler's; CPU milliseconds a picture, of user and kernel, are medians, all sizes in turn.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np

import adjax
from adjax import process, surface
from adjax.features import batch_size_for
from adjax.predict.batch import predict_batch
from experiments.rundir import environment, write_json

SCORERS, SIDES = ("padim", "patchcore", "subspace"), (96, 192, 384)
PICTURES = 16
"""A size and a round."""


def measure(scorer: str, rounds: int) -> dict[str, Any]:
    """Figures of a scorer for each side, and the largest ratio of one to that before."""
    ready = []
    for side in SIDES:
        images = np.random.default_rng(0).integers(0, 256, (40, side, side, 3), np.uint8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of random weights
            detector = jax.device_put(adjax.train_detector(images, scorer=scorer, weights="random"))
        batch = images[: batch_size_for(images.shape[1:])]
        ready.append((predict_batch.lower(detector, batch).compile(), detector, batch))
    seconds: list[list[float]] = [[] for _ in SIDES]
    for turn in range(rounds + 1):
        for own, (compiled, detector, images) in zip(seconds, ready, strict=True):
            began = time.process_time()
            for _ in range(PICTURES // len(images)):
                jax.block_until_ready(compiled(detector, images))
            if turn:
                own.append((time.process_time() - began) / PICTURES)
    rows = []
    for side, own, (compiled, _, batch) in zip(SIDES, seconds, ready, strict=True):
        memory: Any = compiled.memory_analysis()
        cost: Any = compiled.cost_analysis()
        rows.append(
            {
                "side_px": side,
                "batch": len(batch),
                "gflops": round(cost["flops"] / len(batch) / 1e9, 3),
                "memory_mib": round((memory.temp_size_in_bytes + memory.output_size_in_bytes) / len(batch) / 2**20, 2),
                "cpu_ms": round(1000 * statistics.median(own), 2),
            }
        )
    return {
        "rows": rows,
        "largest_ratio": {
            key: round(max(b[key] / a[key] for a, b in itertools.pairwise(rows)), 2)
            for key in ("gflops", "memory_mib", "cpu_ms")
        },
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of all sizes (default: 15)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sizes.json")
    args = parser.parse_args()
    process.prepare()  # as the commands do: without, large temporaries are cleared page by page each time
    found = {scorer: measure(scorer, args.rounds) for scorer in SCORERS}
    write_json(args.out, {"environment": environment("benchmarks.sizes"), "scorers": found})
    for scorer, of in found.items():
        print(scorer, of["largest_ratio"], *of["rows"], sep="\n  ")


if __name__ == "__main__":
    surface.script(main)
