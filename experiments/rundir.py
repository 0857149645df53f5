"""What a run leaves behind: JSON written atomically, a metrics log that survives a resume, its environment."""

from __future__ import annotations

import itertools
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import psutil

import adjax
from adjax import atomic

SCHEMA = 1


def write_json(path: Path, value: Any) -> None:
    """Writes to a temporary file beside `path`, then renames."""
    atomic.write(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n")


class MetricsLog:
    """metrics.jsonl: one line a dispatch, `{"step", "time_s", "metrics": {name: [a value a member]}}`."""

    def __init__(self, path: Path, step: int):
        """Opens the log to go on from `step`; lines of later steps (written after the last checkpoint) are dropped."""
        kept = [record for record in read_log(path) if record["step"] <= step] if step else []
        path.write_text("".join(json.dumps(record) + "\n" for record in kept))
        self._file = open(path, "a", buffering=1)  # noqa: SIM115
        self._began = time.time()

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """Appends one line."""
        values = {name: [float(f"{x:.6g}") for x in value] for name, value in metrics.items()}
        line = {"step": step, "time_s": round(time.time() - self._began, 3), "metrics": values}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, up to a line that a kill cut short; none if there is no file."""
    records: list[dict[str, Any]] = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def logged_s(records: list[dict[str, Any]]) -> float:
    """Seconds of training in a log that several processes wrote, each from zero."""
    ends = [a["time_s"] for a, b in itertools.pairwise(records) if b["time_s"] < a["time_s"]]
    return sum(ends) + (records[-1]["time_s"] if records else 0.0)


def environment(program: str) -> dict[str, Any]:
    """Hardware, versions and command (`python -m PROGRAM …`): what a figure must be quoted with."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")
    devices = jax.devices()
    return {
        "command": shlex.join(["python", "-m", program, *_without_places(sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": platform.python_version(),
        "versions": {"adjax": adjax.__version__, **{name: metadata.version(name) for name in packages}},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "devices": {"kind": devices[0].device_kind, "platform": devices[0].platform, "count": len(devices)},
        "processes": jax.process_count(),
        "revision": _revision(),
    }


def dated(where: dict[str, Any]) -> dict[str, Any]:
    """What a row of a file keeps of the `environment` that it was measured in: others may be measured later."""
    return {name: where[name] for name in ("date", "revision")}


def earlier_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a result file, each with its own `dated` as "made"; none, if there is no file."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    return [{**row, "made": row.get("made") or dated(found["environment"])} for row in found["rows"]]


def days(rows: Iterable[dict[str, Any]]) -> str:
    """When rows were made: a day, or the first and the last, and of how many states of the source."""
    each = [row["made"] for row in rows]
    first, last = min(x["date"] for x in each), max(x["date"] for x in each)
    states = len({x["revision"] for x in each})
    return (first if first == last else f"{first} to {last}") + (f" ({states} revisions)" if states > 1 else "")


def _without_places(arguments: list[str]) -> list[str]:
    """The command line without the paths of one machine, which no result depends on; of those that say which program or
    file was compared with, the last part."""
    kept, skip = [], False
    for argument in arguments:
        name = argument.split("=")[0]
        place = name.replace("_", "-") in ("--out", "--data-dir", "--score-table")
        if not (place or skip):
            option, sign, value = argument.rpartition("=")
            kept.append(option + sign + (Path(value).name if Path(value).is_absolute() else value))
        skip = place and "=" not in argument
    return kept


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _revision() -> str | None:
    """Git revision of the source, with "+" if it was changed since; None outside of a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        revision = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", ":/adjax", ":/experiments/*.py", ":/benchmarks/*.py"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return revision.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")
