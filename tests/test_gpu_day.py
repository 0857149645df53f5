"""The GPU's day: its options, what becomes of a stage that fails, and its bounds. The stages run in small."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import needs
from benchmarks.gpu import preflight, same_numbers, summary
from benchmarks.gpu.rows import FILE, Rows
from benchmarks.harness import flops

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_day.sh"


def day(*arguments, timeout=60):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=timeout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "OUT is missing"),
        (["--quick", "out"], "unknown option --quick"),
        (["--dry", "--only", "nothing", "out"], "there are same_numbers main_job cache beside members large"),
        (["--data"], "--data needs a value"),
        (["one", "two"], "one OUT folder"),
        (["out"], "has no normal.npz"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(arguments, said, tmp_path):
    done = day(*(tmp_path / "out" if a == "out" else a for a in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_wheels_is_refused(tmp_path):
    done = day("--dry", "--wheels", tmp_path, "--work", tmp_path / "work", tmp_path / "out")
    assert done.returncode == 2
    assert "there are no wheels" in done.stderr


def test_all_stages_together_fit_into_25_minutes():
    stages = re.findall(r'^  "(\w+) (\d+) (\w+)', SCRIPT.read_text(), re.MULTILINE)
    assert len(stages) == 6
    assert sum(int(seconds) for _, seconds, _ in stages) <= 25 * 60
    for _, _, module in stages:
        assert (ROOT / "benchmarks" / "gpu" / f"{module}.py").is_file()


def test_what_is_missing_is_named_with_what_to_do():
    lacking = preflight.missing(["numpy", "no-such-package"])
    assert lacking == ["no-such-package"]
    assert "pip download" in preflight.how(lacking)
    assert {"tyro", "jax", "psutil"} <= set(preflight.needed(dry=True))
    assert "tensorflow-datasets" not in preflight.needed(dry=True)
    assert preflight.needed(dry=False)[-1] == "torch"


def test_a_row_that_fails_ends_no_other_and_is_told(tmp_path, capsys):
    rows = Rows("stage", tmp_path)
    with rows.guarded("bad"):
        raise ValueError("no good")
    with rows.guarded("absent"):
        raise ModuleNotFoundError("No module named 'torch'")
    rows.add("good", ms=1.0)
    assert rows.status() == 1
    assert "FAILED: bad; absent" in capsys.readouterr().out
    written = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert written[0]["error"] == "ValueError: no good"
    assert [row["name"] for row in written] == ["bad", "absent", "good"]
    dry = Rows("stage", tmp_path, dry=True)
    with dry.guarded("absent"):
        raise ModuleNotFoundError("No module named 'torch'")
    assert dry.status() == 0


def ended(stage, status=0):
    return {"stage": stage, "name": "ended", "exit": status, "seconds": 3}


def test_the_summary_tells_failures_and_keeps_the_last_run_of_a_stage(tmp_path, monkeypatch, capsys):
    again = [
        {"stage": "a", "name": "n", "error": "first"},
        ended("a", 1),
        {"stage": "a", "name": "n", "difference": 1.0},
    ]
    rows = [
        *again,
        ended("a"),
        {"stage": "large", "name": "k", "share": 0.5},
        ended("large", 124),
        {"stage": "c", "name": "m"},
    ]
    (tmp_path / FILE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr("sys.argv", ["summary", str(tmp_path)])
    assert summary.main() == 1
    said = capsys.readouterr().out
    assert "large: ran out of its time after 3 s; 1 rows were written" in said
    assert "c: never ended" in said
    assert "first" not in said
    assert "ran out of its time" in (tmp_path / "gpu_day.md").read_text()
    assert (tmp_path / "gpu_day.png").stat().st_size > 1000


def test_differences_are_in_standard_deviations_and_a_nan_elsewhere_is_infinite():
    here = np.array([0.0, 2.0, np.nan], np.float32)
    assert same_numbers.apart(here, here + np.float32(0.5)) == pytest.approx(0.5)
    assert same_numbers.apart(here, here[::-1]) == float("inf")
    assert same_numbers.apart(here[:2], np.array([0.0, np.nan])) == float("inf")
    assert same_numbers.apart(np.array([0.0, 1.0, np.inf]), np.array([0.0, 1.0, -np.inf])) == float("inf")
    assert same_numbers.changed([np.zeros(4)], [np.ones(4)], [np.full(4, 1.1)]) == pytest.approx(0.1)


def test_what_is_beyond_its_bound_fails(tmp_path):
    rows = Rows("same_numbers", tmp_path)
    same_numbers.hold(rows, "close", 1e-5, 1e-3)
    assert rows.status() == 0
    same_numbers.hold(rows, "far", 1e-2, 1e-3)
    same_numbers.hold(rows, "undefined", float("nan"), 1e-3)
    assert rows.failed == ["far", "undefined"]


def test_what_algorithms_need_is_what_their_matmuls_are():
    n, dim, classes = 300, 40, 5
    x = jax.ShapeDtypeStruct((n, dim), jnp.float32)
    square = jax.ShapeDtypeStruct((dim, dim), jnp.float32)
    whitened = flops(jax.jit(jnp.matmul), x, square)
    assert needs.mahalanobis(n, dim, classes, 1).flop - 3 * n * dim * classes == whitened
    assert needs.of_scorer("gmm", (n, dim), 1, components=4).flop == 4 * (whitened + 3 * n * dim)
    assert needs.of_scorer("knn", (n, dim), 1, capacity=dim).flop == whitened
    assert needs.of_scorer("energy", (n, dim), 1) is None


@pytest.mark.slow
def test_every_stage_runs_in_small_on_a_cpu(tmp_path):
    """PyTorch's rows are skipped where there is none."""
    done = day("--dry", "--work", tmp_path / "work", tmp_path / "out", timeout=1500)
    assert done.returncode == 0, done.stdout[-3000:]
    rows = [json.loads(line) for line in (tmp_path / "out" / FILE).read_text().splitlines()]
    assert [row["stage"] for row in rows if row["name"] == "ended"] == [
        "same_numbers", "main_job", "cache", "beside", "members", "large",
    ]  # fmt: skip
    (filled,) = (row for row in rows if row["name"] == "centerloss, filled cache")
    assert filled["same_metrics"]
    assert filled["cached_before"] > 0
    assert {"gpu_day.md", "gpu_day.png", "gpu_day.log", "environment.json"} <= {
        p.name for p in (tmp_path / "out").iterdir()
    }
