"""SIGKILL at random moments: `python -m benchmarks.kills` writes `results/kills.json`.

* A worker of `predict --engine ray`: the table must be the local engine's, byte for byte.
* A process of `experiments.run --distributed`, of two that have joined: the other must end within a minute, done or
  saying why; the same command again must leave the detector that an undisturbed run leaves, bit for bit.

What a server does is in `benchmarks.soak`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from adjax import surface
from benchmarks.decoding import untrained, write_pictures
from benchmarks.serving import free_port
from experiments.rundir import environment, write_json

PICTURES, WAIT_S = 4000, 600
TRAINING = ("--dataset", "digits", "--epochs", "12", "--batch-size", "64", "--steps-per-dispatch", "4")
TOLD = ("lost another one", "another task died")


def worker_kills(count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Kills one of two workers in each of `count` runs."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        untrained("lenet5", 28).save(at / "detector")
        (at / "some").mkdir()
        (at / "many").mkdir()
        names = write_pictures(at / "some", 100, 160, 120)
        for k in range(PICTURES):
            os.link(at / "some" / names[k % 100], at / "many" / f"{k:06}{Path(names[k % 100]).suffix}")
        line = ["-m", "adjax", "predict", at / "detector", at / "many", "--no-report", "--batch-size", "64"]
        assert _start(*line, "--out", at / "local.csv").wait(WAIT_S) == 0
        expected = (at / "local.csv").read_bytes()
        for number in range(count):
            out = at / f"{number}.csv"
            process = _start(*line, "--out", out, "--engine", "ray", "--workers", "2", "--worker-cpus", "1")
            moment = rng.random()
            journal = out.with_name(f"{out.name}.journal")
            while process.poll() is None and _lines(journal) < moment * PICTURES:
                time.sleep(0.005)
            workers = [p for p in psutil.Process(process.pid).children(True) if p.name().startswith("ray::Worker")]
            done, killed = _lines(journal), rng.choice(workers) if workers and process.poll() is None else None
            if killed is not None:
                killed.kill()
            code = process.wait(WAIT_S)
            same = out.read_bytes() == expected
            found.append({"rows_before": done, "killed": killed is not None, "exit_code": code, "same_table": same})
            print(found[-1], flush=True)
    return found


def rank_kills(count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Kills one of two processes in each of `count` runs, and runs the same command again."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        processes = _ranks(at / "whole")
        joined = _joined(at / "whole")
        assert [p.wait(WAIT_S) for p in processes] == [0, 0]
        left_s, expected = time.monotonic() - joined, _detector(at / "whole")
        for number in range(count):
            out, victim, moment_s = at / str(number), rng.randrange(2), rng.uniform(0, 0.95 * left_s)
            processes = _ranks(out)
            _joined(out)
            time.sleep(moment_s)
            processes[victim].send_signal(signal.SIGKILL)
            killed = time.monotonic()
            other = processes[1 - victim]
            try:
                said = other.communicate(timeout=WAIT_S)[0]
            finally:
                other.kill()
            ended_s = time.monotonic() - killed
            steps = sorted(int(p.name) for p in (out / "checkpoints").glob("[0-9]*") if p.name.isdigit())
            codes = [p.wait(WAIT_S) for p in _ranks(out)]
            row = {
                "victim": victim,
                "after_s": round(moment_s, 1),
                "checkpoint_step": steps[-1] if steps else None,
                "other_ended_after_s": round(ended_s, 1),
                "other_exit_code": other.returncode,
                "other_was_done": other.returncode == 0,
                "other_said_why": any(text in said for text in TOLD),
                "again_exit_codes": codes,
                "same_detector": _detector(out) == expected,
            }
            found.append(row)
            print(row, flush=True)
    return found


def _start(*line: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, line)],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ranks(out: Path) -> list[subprocess.Popen[str]]:
    address = f"127.0.0.1:{free_port()}"
    line = ("-m", "experiments.run", "--distributed", *TRAINING, "--out", out)
    named = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    return [_start(*line, **named, JAX_PROCESS_ID=str(process)) for process in range(2)]


def _joined(out: Path) -> float:
    """When the processes had found each other: then they open the checkpoints."""
    deadline = time.monotonic() + WAIT_S
    while not (out / "checkpoints").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return time.monotonic()


def _detector(out: Path) -> bytes:
    """Its manifest, which has the SHA-256 of all else."""
    return (out / "detector" / "manifest.json").read_bytes()


def _lines(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.read_bytes().count(b"\n") - 1
    return 0


def main() -> None:
    """Kills and writes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="of each (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (default: 0)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "kills.json")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    found = {"ranks": rank_kills(args.count, rng), "workers": worker_kills(args.count, rng)}
    write_json(args.out, {"environment": environment("benchmarks.kills"), **found})


if __name__ == "__main__":
    surface.script(main)
