"""A folder scored by `--engine ray` on this machine, beside `--engine local`: `python -m benchmarks.cluster`.

Whole commands, from start to table, in turn: Ray's own start and the loading of each worker are in its time.
`started_s` is what a command of a single picture takes, and `per_picture_ratio` leaves that out on both sides.

`--fit` fits Mahalanobis to a million rows of 512 features instead, by two workers and by one process, with float64 as
referee, and writes `results/cluster_fit.json`: seconds, the largest relative differences of distances, and what memory
a worker takes, early and at most.
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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from adjax import cluster, scorers, surface
from adjax.predict import writers
from adjax.predict.resume_log import ResumeLog
from adjax.predict.stream import Prediction
from benchmarks.decoding import untrained, write_pictures
from experiments.rundir import environment, write_json

DIM, CLASSES, PART_ROWS, BATCH_ROWS = 512, 3, 50_000, 2_000
ENGINES = {"local": [], "ray": ["--engine", "ray", "--workers", "1"]}


def command(detector: Path, photos: Path, out: Path, engine: str) -> float:
    """Wall seconds of a command, which must succeed."""
    began = time.perf_counter()
    line = ["predict", detector, photos, "--out", out, "--no-report", "--fresh", *ENGINES[engine]]
    subprocess.run([sys.executable, "-m", "adjax", *map(str, line)], check=True, stdout=subprocess.DEVNULL)
    return round(time.perf_counter() - began, 3)


@contextmanager
def watched(name: str) -> Iterator[list[dict[str, int]]]:
    """Memory of each process of a name that this one started: MiB after a quarter of its life, and at most."""
    held: dict[int, list[float]] = {}
    found: list[dict[str, int]] = []
    end = threading.Event()

    def watch() -> None:
        while not end.wait(0.2):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if process.name().startswith(name):
                        held.setdefault(process.pid, []).append(process.memory_info().rss / 2**20)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        end.set()
        watching.join()
        found += [{"early": round(mib[len(mib) // 4]), "most": round(max(mib))} for mib in held.values()]


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
        with watched("ray::Worker") as memory:
            command(at / "detector", at / "many", at / "ray.csv", "ray")
        same = (at / "local.csv").read_bytes() == (at / "ray.csv").read_bytes()
    medians = {name: {key: statistics.median(x) for key, x in each.items()} for name, each in seconds.items()}
    net = {name: each["whole_s"] - each["started_s"] for name, each in medians.items()}
    return {
        "pictures": pictures,
        "seconds": seconds,
        "whole_ratio": round(medians["ray"]["whole_s"] / medians["local"]["whole_s"], 3),
        "per_picture_ratio": round(net["ray"] / net["local"], 3),
        "same_table": same,
        "worker_mib": memory,
    }


def read(part: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Rows of a part, in batches: three classes, features far from 0 and of unlike spread."""
    for batch in range(PART_ROWS // BATCH_ROWS):
        rng = np.random.default_rng([part, batch])
        labels = rng.integers(0, CLASSES, BATCH_ROWS)
        features = rng.standard_normal((BATCH_ROWS, DIM), np.float32) * (1 + np.arange(DIM, dtype=np.float32) / DIM)
        yield {"features": features + 10 + labels[:, None].astype(np.float32)}, labels


def fit(parts: int) -> dict[str, Any]:
    """Fits a scorer on a cluster of this machine and in this process."""
    scorer = scorers.make("mahalanobis", shrinkage=0.0)
    began = time.perf_counter()
    asked = cluster.Cluster(workers=2, cpus=1)
    with watched("ray::_Fitter") as memory:
        several = cluster.fit_stream(scorer, read, range(parts), DIM, CLASSES, cluster=asked)
    cluster_s = time.perf_counter() - began
    began = time.perf_counter()
    one = scorers.fit_stream(scorer, (batch for part in range(parts) for batch in read(part)), DIM, CLASSES)
    single_s = time.perf_counter() - began
    rows: Any = next(read(parts))[0]["features"][:1000]
    expected = _referee(parts, rows)
    found = {name: np.asarray(scorer.distances(of, {"features": rows})) for name, of in (("c", several), ("s", one))}
    return {
        "rows": parts * PART_ROWS,
        "features": DIM,
        "cluster_s": round(cluster_s, 1),
        "single_s": round(single_s, 1),
        "difference_of_both": float(np.abs(found["c"] / found["s"] - 1).max()),
        "difference_to_float64": {n: float(np.abs(found[n[0]] / expected - 1).max()) for n in ("cluster", "single")},
        "worker_mib": memory,
    }


def _referee(parts: int, rows: np.ndarray) -> np.ndarray:
    """Distances by float64: moments about a point among the data, in one more pass."""
    anchor = rows[0].astype(np.float64)
    counts, sums, products = np.zeros(CLASSES), np.zeros((CLASSES, DIM)), np.zeros((DIM, DIM))
    for part in range(parts):
        for outputs, labels in read(part):
            x, own = outputs["features"].astype(np.float64) - anchor, np.eye(CLASSES)[labels]
            counts, sums, products = counts + own.sum(0), sums + own.T @ x, products + x.T @ x
    means = sums / counts[:, None]
    inverse = np.linalg.inv((products - (means * counts[:, None]).T @ means) / counts.sum())
    away = rows[:, None] - anchor - means
    return np.sqrt(np.einsum("nkd,de,nke->nk", away, inverse, away, optimize=True))


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
    parser.add_argument("--fit", action="store_true", help="fit a scorer instead")
    parser.add_argument("--parts", type=int, default=20, help="of 50,000 rows, to fit to (default: 20)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "cluster.json")
    args = parser.parse_args()
    where = {"environment": environment("benchmarks.cluster"), "load_average": [*os.getloadavg()]}
    if args.fit:
        write_json(args.out.with_stem(f"{args.out.stem}_fit"), found := {**where, **fit(args.parts)})
        print(found)
        return
    found, rows = measure(args.pictures, args.rounds), driver()
    whole, started = (statistics.median(found["seconds"]["ray"][key]) for key in ("whole_s", "started_s"))
    rate = args.pictures / (whole - started)
    found |= {"pictures_per_s": round(rate), "driver": rows, "fifty_million": scale(rate, rows)}
    write_json(args.out, {**where, **found})
    print(found)


if __name__ == "__main__":
    surface.script(main)
