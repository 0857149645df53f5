"""A folder scored by `--engine ray` on this machine, beside `--engine local`: `python -m benchmarks.cluster`.

Whole commands, from start to table, in turn: Ray's own start and the loading of each worker are in its time.
`started_s` is what a command of a single picture takes, and `per_picture_ratio` leaves that out on both sides.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from adjax import surface
from benchmarks.decoding import untrained, write_pictures
from experiments.rundir import environment, write_json

ENGINES = {"local": [], "ray": ["--engine", "ray", "--workers", "1"]}


def command(detector: Path, photos: Path, out: Path, engine: str) -> float:
    """Wall seconds of a command, which must succeed."""
    began = time.perf_counter()
    line = ["predict", detector, photos, "--out", out, "--no-report", "--fresh", *ENGINES[engine]]
    subprocess.run([sys.executable, "-m", "adjax", *map(str, line)], check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - began, 3)


def measure(pictures: int, rounds: int) -> dict[str, Any]:
    """Both engines, in turn, on many pictures and on one."""
    seconds: dict[str, dict[str, list[float]]] = {name: {"whole_s": [], "started_s": []} for name in ENGINES}
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        untrained("lenet5", 28).save(at / "detector")
        for name in ("some", "one", "many"):
            (at / name).mkdir()
        names = write_pictures(at / "some", 100, 320, 240)
        for k in range(pictures):
            os.link(at / "some" / names[k % 100], at / "many" / f"{k:06}{Path(names[k % 100]).suffix}")
        shutil.copy(at / "some" / names[0], at / "one")
        for turn in range(rounds):
            for engine in list(ENGINES)[:: 1 if turn % 2 else -1]:
                out = at / f"{engine}.csv"
                seconds[engine]["started_s"].append(command(at / "detector", at / "one", at / "one.csv", engine))
                seconds[engine]["whole_s"].append(command(at / "detector", at / "many", out, engine))
        same = (at / "local.csv").read_bytes() == (at / "ray.csv").read_bytes()
    medians = {name: {key: statistics.median(x) for key, x in each.items()} for name, each in seconds.items()}
    net = {name: each["whole_s"] - each["started_s"] for name, each in medians.items()}
    return {
        "pictures": pictures,
        "seconds": seconds,
        "whole_ratio": round(medians["ray"]["whole_s"] / medians["local"]["whole_s"], 3),
        "per_picture_ratio": round(net["ray"] / net["local"], 3),
        "same_table": same,
    }


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000, help="of 320×240 px, PNG and JPEG (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="of both engines (default: 3)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cluster.json")
    args = parser.parse_args()
    found = measure(args.pictures, args.rounds)
    write_json(
        args.out, {"environment": environment("benchmarks.cluster"), "load_average": [*os.getloadavg()], **found}
    )
    print(found)


if __name__ == "__main__":
    surface.script(main)
