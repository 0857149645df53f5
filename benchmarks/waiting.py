"""How long a user waits: `python -m benchmarks.waiting` writes `results/waiting.json`.

* `--help` of each command, a new process each time; with `--before TREE` of an earlier checkout beside it.
* `adjax threshold` on a table of 100,000 rows, in a process that has imported what it takes: wall and CPU seconds.
* `ImageOutlierDetector("gmm")` on 100 images of 64 px: the first fit compiles, the others do not.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import adjax
from adjax import __main__, manifest, surface
from adjax.predict import writers
from adjax.predict.stream import Prediction
from adjax.sklearn import ImageOutlierDetector
from experiments.rundir import environment, write_json

ROWS = 100_000


def timed(run: Callable[[], Any], runs: int) -> dict[str, list[float]]:
    """Wall and CPU seconds of each run."""
    wall, cpu = [], []
    for _ in range(runs):
        began, used = time.perf_counter(), time.process_time()
        run()
        wall.append(round(time.perf_counter() - began, 3))
        cpu.append(round(time.process_time() - used, 3))
    return {"wall_s": wall, "cpu_s": cpu}


def helps(tree: Path, commands: Mapping[str, str], runs: int) -> dict[str, dict[str, list[float]]]:
    """Wall and CPU seconds of `python -m adjax COMMAND --help`, of the adjax in a checkout."""
    found: dict[str, dict[str, list[float]]] = {}
    for command in commands:
        for _ in range(runs):
            began, used = time.perf_counter(), _of_children()
            line = [sys.executable, "-m", "adjax", command, "--help"]
            done = subprocess.run(line, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, capture_output=True)
            if done.returncode == 0:  # an earlier one may not have the command
                own = found.setdefault(command, {"wall_s": [], "cpu_s": []})
                own["wall_s"].append(round(time.perf_counter() - began, 3))
                own["cpu_s"].append(round(_of_children() - used, 3))
    return found


def _of_children() -> float:
    """CPU seconds of the processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def again(command: list[str]) -> None:
    """Runs a command of adjax, which must succeed."""
    if code := __main__.main(command):
        raise RuntimeError(f"{command} ended with {code}")


def threshold(runs: int) -> dict[str, Any]:
    """A table of `ROWS` rows, decided again in each format."""
    rng, found = np.random.default_rng(0), {}
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    detector = adjax.detector_from(None, {}, "mahalanobis", rows[:200], held_out=rows[200:])
    scores = rng.choice(np.asarray(detector.calibration_scores), ROWS).tolist()
    table = [
        Prediction(f"{i:06}.png", "ok", None, 640, 480, "RGB", score, 0.5, "normal", None, None, False, 0.0)
        for i, score in enumerate(scores)
    ]
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        detector.save(at / "detector")
        shared = {"threshold": float(detector.threshold), "detector": manifest.digest(at / "detector")}
        for suffix in writers.WRITERS:
            writers.write(at / f"scores{suffix}", table, shared)
            rate = ["--false-positive-rate", "0.02", "--detector", str(at / "detector"), "--overwrite"]
            command = ["threshold", str(at / f"scores{suffix}"), *rate]
            with contextlib.redirect_stdout(io.StringIO()):
                again(command)  # imports
                found[suffix] = timed(functools.partial(again, command), runs)
    return found


def gmm(runs: int) -> dict[str, Any]:
    """A scikit-learn estimator fitted to 100 images of noise, 64×64×3."""
    images = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), np.uint8)
    first = timed(lambda: ImageOutlierDetector("gmm").fit(images), 1)
    return {"first": first, "then": timed(lambda: ImageOutlierDetector("gmm").fit(images), runs)}


def main() -> None:
    """Times all and writes them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each (default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="TREE", help="an earlier checkout, for its --help")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "waiting.json")
    args = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    found: dict[str, Any] = {"help": helps(here, __main__.COMMANDS, args.runs)}
    if args.before:
        found["help_before"] = helps(args.before.resolve(), __main__.COMMANDS, args.runs)
    found |= {"threshold": threshold(args.runs), "gmm": gmm(args.runs)}
    found["load"] = list(os.getloadavg())
    write_json(args.out, {"environment": environment("benchmarks.waiting"), "rows": ROWS, **found})
    for name, value in found.items():
        print(name, value)


if __name__ == "__main__":
    surface.script(main)
