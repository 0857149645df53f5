"""Rows of a stage, written the moment they are known; a row that fails is a row too, and ends no other."""

from __future__ import annotations

import argparse
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from experiments.rundir import environment, write_json

FILE = "rows.jsonl"


class Rows:
    """The rows of one stage, appended to those of the others."""

    def __init__(self, stage: str, out: Path, dry: bool = False):
        """Writes to `out`; in a `dry` run a missing package is no failure."""
        out.mkdir(parents=True, exist_ok=True)
        self.stage, self.path, self.dry = stage, out / FILE, dry
        self.failed: list[str] = []

    def add(self, name: str, **values: Any) -> None:
        """Writes one row and says it."""
        row = {"stage": self.stage, "name": name, **values}
        with self.path.open("a") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        shown = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
        print(f"{self.stage}: {name}: {shown}", flush=True)

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """What fails inside is written and said, and the next row goes on."""
        try:
            yield
        except ModuleNotFoundError as error:
            self.add(name, skipped=str(error))
            if not self.dry:
                self.failed.append(name)
        except Exception as error:  # whatever the reason: it is the row
            traceback.print_exc()
            self.refuse(name, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")

    def refuse(self, name: str, reason: str, **values: Any) -> None:
        """Writes a row that isn't what it must be; the stage then fails."""
        self.add(name, **values, error=reason)
        self.failed.append(name)

    def status(self) -> int:
        """The exit status of the stage."""
        if self.failed:
            print(f"{self.stage}: FAILED: {'; '.join(self.failed)}", flush=True)
        return int(bool(self.failed))


def arguments(module: str, description: str | None) -> argparse.ArgumentParser:
    """The options that every stage has."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.gpu.{module}", description=description)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"where {FILE} is")
    parser.add_argument("--dry", action="store_true", help="small sizes, on whatever device there is")
    return parser


def write_environment(out: Path) -> None:
    """Hardware and versions, beside the rows."""
    from benchmarks.run import versions

    write_json(out / "environment.json", {**environment("benchmarks.gpu"), "peers": versions()})


def median_s(work: Callable[[], Any], runs: int) -> float:
    """Seconds of a call that is compiled, the median of some after one that isn't counted."""

    def once() -> float:
        started = time.perf_counter()
        jax.block_until_ready(work())
        return time.perf_counter() - started

    once()
    return statistics.median(once() for _ in range(runs))
