"""The main job and what the compilation cache saves: `python -m benchmarks.gpu.main_job --out FOLDER --data FOLDER`.

`experiments.run --method centerloss` in a process of its own, on files that were carried. The first time the cache of
compiled programs is empty, the second time (`--again`) it is what the first left; both must find the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from adjax import surface
from benchmarks.gpu.data import NORMAL, OOD
from benchmarks.gpu.rows import Rows, arguments

_DRY = "--epochs", "2", "--batch-size", "64"


def command(data: Path, run: Path, dry: bool) -> list[str]:
    """The main job's command line."""
    sets = "--dataset", str(data / NORMAL), "--ood", str(data / OOD)
    wanted = "-m", "experiments.run", "--method", "centerloss", *sets, "--out", str(run), "--no-resume"
    return [sys.executable, *wanted, *(_DRY if dry else ())]


def job(data: Path, work: Path, name: str, dry: bool) -> dict[str, Any]:
    """Runs it.

    Args:
      data: the folder of `benchmarks.gpu.data`.
      work: gets the run and the cache, a folder each.
      name: of the run.
      dry: two epochs.

    Returns:
      Seconds in all and of parts, and the metrics that it found.

    Raises:
      RuntimeError: the command failed.
    """
    work.mkdir(parents=True, exist_ok=True)
    cache = work / "cache"
    kept = sum(1 for file in cache.rglob("*") if file.is_file())
    shutil.rmtree(work / name, ignore_errors=True)
    environ = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"} | {"XDG_CACHE_HOME": str(cache)}
    started = time.perf_counter()
    done = subprocess.run(command(data, work / name, dry), env=environ, stdout=sys.stderr)
    elapsed = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"experiments.run ended with {done.returncode}")
    results = json.loads((work / name / "results.json").read_text())
    timing = {k: v for k, v in results["timing"].items() if k.endswith("_s")}
    return {"elapsed_s": elapsed, "cached_before": kept, **timing, "metrics": results["members"][0]["metrics"]}


def main() -> int:
    """Runs the job once, or again with what the cache has."""
    parser = arguments("main_job", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two files of benchmarks.gpu.data")
    parser.add_argument("--work", type=Path, required=True, help="scratch folder: runs and the cache")
    parser.add_argument("--again", action="store_true", help="with a filled cache, beside the run before")
    args = parser.parse_args()
    work, first = args.work.resolve(), args.work.resolve() / "first.json"
    rows = Rows("cache" if args.again else "main_job", args.out, args.dry)
    if not (args.again and first.is_file()):
        shutil.rmtree(work / "cache", ignore_errors=True)
        with rows.guarded("centerloss, empty cache"):
            found = job(args.data.resolve(), work, "run", args.dry)
            first.write_text(json.dumps(found))
            rows.add("centerloss, empty cache", **found)
    if args.again and first.is_file():
        with rows.guarded("centerloss, filled cache"):
            before, found = json.loads(first.read_text()), job(args.data.resolve(), work, "again", args.dry)
            saved = {"compile_ratio": before["compile_s"] / max(found["compile_s"], 1e-9)}
            saved["elapsed_ratio"] = before["elapsed_s"] / found["elapsed_s"]
            same = found["metrics"] == before["metrics"]
            rows.add("centerloss, filled cache", **found, **saved, same_metrics=same)
            if not found["cached_before"]:
                rows.refuse("the cache", "the first run left nothing in it")
    return rows.status()


if __name__ == "__main__":
    surface.script(main)
