"""A folder scored by `--engine ray` on this machine, beside `--engine local`: `python -m benchmarks.cluster`.

Whole commands, from start to table, in turn: Ray's own start and the loading of each worker are in its time.
`started_s` is what a command of a single picture takes, and `per_picture_ratio` leaves that out on both sides.
"""

from __future__ import annotations

import argparse
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from adjax import surface
from adjax.predict import writers
from adjax.predict.resume_log import ResumeLog
from adjax.predict.stream import Prediction
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


def driver(rows: int = 200_000) -> dict[str, float]:
    """What the process that asks can take in: rows a second from Ray's bytes to the journal and to a table, and bytes
    that a name takes in its memory."""
    part = [
        Prediction(f"2026/11/{i:08}.jpg", "ok", None, 320, 240, "RGB", 0.123 + i, 0.5, "normal", "a", None, False, 0.25)
        for i in range(rows)
    ]
    packed = [pickle.dumps(part[k : k + 4096]) for k in range(0, rows, 4096)]
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "s.parquet"
        began = time.perf_counter()
        with ResumeLog(Path(folder) / "s.journal", {}) as journal:
            for some in packed:
                journal.append(pickle.loads(some))
            journal_s = time.perf_counter() - began
            writers.write(table, journal.rows(), {"threshold": 1.0, "detector": "0" * 64})
        table_s = time.perf_counter() - began - journal_s
    names = statistics.mean(sys.getsizeof(row.path) + 8 for row in part)  # and its place in the list
    return {"journal_rows_per_s": rows / journal_s, "table_rows_per_s": rows / table_s, "bytes_per_name": names}


def scale(
    pictures_per_s: float, rows: dict[str, float], pictures: int = 50_000_000
) -> dict[str, dict[str, float | str]]:
    """Hours for that many pictures, of workers like the one measured, by the slowest of the three; and what that is."""
    found: dict[str, dict[str, float | str]] = {}
    for workers in (1, 10, 100):
        hours = {
            "workers": pictures / pictures_per_s / workers / 3600,
            "journal": pictures / rows["journal_rows_per_s"] / 3600,
        }
        slowest = max(hours, key=lambda name: hours[name])
        table = pictures / rows["table_rows_per_s"] / 3600
        found[str(workers)] = {"scoring_h": round(hours[slowest], 2), "limit": slowest, "table_h": round(table, 2)}
    return found


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000, help="of 320×240 px, PNG and JPEG (default: 20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="of both engines (default: 3)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cluster.json")
    args = parser.parse_args()
    found, rows = measure(args.pictures, args.rounds), driver()
    whole, started = (statistics.median(found["seconds"]["ray"][key]) for key in ("whole_s", "started_s"))
    rate = args.pictures / (whole - started)
    found |= {"pictures_per_s": round(rate), "driver": rows, "fifty_million": scale(rate, rows)}
    write_json(
        args.out, {"environment": environment("benchmarks.cluster"), "load_average": [*os.getloadavg()], **found}
    )
    print(found)


if __name__ == "__main__":
    surface.script(main)
