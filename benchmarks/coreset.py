"""Greedy coreset beside anomalib's: `python -m benchmarks.coreset --peer PYTHON` writes `results/coreset.json`.

PYTHON is the interpreter of an environment with anomalib 2.7. Both choose 10 % of 100,000 normal rows of 384 features.
Ours are the choices of the definition, in 384 dimensions; the peer's are made in a random projection. All of the
peer's choices cost the same, so that only the first few hundred are timed. Ours and the peer's runs take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import process, surface
from adjax.scorers._coreset import furthest
from experiments.rundir import environment, write_json

PEER = Path(__file__).parent / "peers" / "coreset.py"


def main() -> None:
    """Times both and writes the row."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coreset", description=__doc__)
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="of an environment with anomalib")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=384)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--peer-choices", type=int, default=200, help="of the peer's that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "coreset.json")
    args = parser.parse_args()
    process.prepare()
    count = int(args.rows * args.share)
    rows = jax.device_put(np.random.default_rng(0).normal(size=(args.rows, args.features)).astype(np.float32))
    known, choose = jnp.ones(args.rows, bool), jax.jit(furthest, static_argnums=2)
    started = time.perf_counter()
    compiled = choose.lower(rows, known, count, jnp.int32(0)).compile()
    compile_s = time.perf_counter() - started
    ours, theirs = list[float](), list[dict[str, Any]]()
    command = [args.peer, str(PEER), *map(str, (args.rows, args.features, args.share, args.peer_choices))]
    for _ in range(args.rounds):
        started = time.perf_counter()
        jax.block_until_ready(compiled(rows, known, jnp.int32(0)))
        ours.append(time.perf_counter() - started)
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        theirs.append(json.loads(said.splitlines()[-1]))
        print(f"ours {ours[-1]:.1f} s, peer {theirs[-1]['whole_s']:.0f} s", flush=True)
    ratios = [peer["whole_s"] / own for peer, own in zip(theirs, ours, strict=True)]
    row = {"rows": args.rows, "features": args.features, "chosen": count, "ours_s": ours, "compile_s": compile_s}
    row |= {"peer": theirs, "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}
    write_json(args.out, {"what": __doc__, "environment": environment("benchmarks.coreset"), "row": row})


if __name__ == "__main__":
    surface.script(main)
