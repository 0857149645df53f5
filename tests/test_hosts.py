"""`experiments.run --distributed`: the whole command as two processes over loopback, started as launchers do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training import free_port

from experiments import hosts

ROOT = Path(__file__).parents[1]
OPTIONS = ("--dataset", "digits", "--epochs", "12", "--batch-size", "64", "--steps-per-dispatch", "4")


@pytest.fixture
def environment(monkeypatch):
    for names in (*hosts._NAMED.values(), ("MASTER_PORT",)):
        for name in names:
            monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_processes_are_found_by_the_names_of_launchers(environment):
    assert hosts._found() == {}
    environment("MASTER_ADDR", "10.0.0.1")
    environment("WORLD_SIZE", "4")
    assert hosts._found() == {}
    environment("RANK", "3")
    assert hosts._found() == {"coordinator_address": "10.0.0.1:29500", "num_processes": 4, "process_id": 3}
    environment("MASTER_PORT", "1234")
    assert hosts._found()["coordinator_address"] == "10.0.0.1:1234"
    environment("JAX_COORDINATOR_ADDRESS", "10.0.0.2:99")
    environment("JAX_NUM_PROCESSES", "2")
    environment("JAX_PROCESS_ID", "0")
    assert hosts._found() == {"coordinator_address": "10.0.0.2:99", "num_processes": 2, "process_id": 0}


def test_what_is_lost_is_told_from_a_fault_of_ones_own(monkeypatch):
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.jax, "process_index", lambda: 1)
    for text in (
        "UNKNOWN: Gloo AllGather failed: [pair.cc:547] Connection closed by peer [127.0.0.1]:10144",
        "UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats)",
        "NCCL operation failed: remote process exited",
    ):
        told = hosts.lost(ValueError(text))
        assert "process 1 of 2 lost another one" in str(told)
        assert text[:60] in str(told)
    for text in ("--epochs 0: must be between 1 and 10", "RESOURCE_EXHAUSTED: out of memory", "scores hold NaN"):
        assert hosts.lost(ValueError(text)) is None
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 1)
    assert hosts.lost(ValueError("Gloo AllGather failed")) is None


@pytest.mark.parametrize(
    ("address", "count", "own", "said"),
    [("h:1", "2", "2", "JAX_PROCESS_ID=2"), ("h:1", "two", "0", "JAX_NUM_PROCESSES=two"), ("h", "2", "0", "HOST:PORT")],
)
def test_odd_names_are_refused(environment, address, count, own, said):
    for name, value in zip(hosts._NAMED["adjax"], (address, count, own), strict=True):
        environment(name, value)
    with pytest.raises(ValueError, match=said):
        hosts._found()


def start(process, count, port, out, launcher="adjax", *options):
    """Process number `process` of `count`, with two fake devices."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RAY_"))}
    names = {
        "adjax": {
            "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
            "JAX_NUM_PROCESSES": str(count),
            "JAX_PROCESS_ID": str(process),
        },
        "slurm": {
            "SLURM_JOB_ID": str(port - 61440),  # JAX makes a port of it
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": str(count),
            "SLURM_PROCID": str(process),
            "SLURM_LOCALID": str(process),
        },
    }[launcher]
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.run", "--distributed", *OPTIONS, "--out", str(out), *options],
        env={
            **kept,
            **names,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2",
            "PYTHONPATH": str(ROOT),
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(processes, timeout_s=300):
    """(exit code, output) of each; none is left."""
    try:
        return [(p.communicate(timeout=timeout_s)[0], p.returncode)[::-1] for p in processes]
    finally:
        [p.kill() for p in processes]


def both(out, launcher="adjax", *options):
    port = free_port() if launcher == "adjax" else 61440 + os.getpid() % 4096
    return [start(process, 2, port, out, launcher, *options) for process in range(2)]


def saved(out):
    """Steps that a checkpoint is there of."""
    return [path.name for path in (out / "checkpoints").glob("*") if path.name.isdigit()]


def logged(out):
    """Step -> its metrics."""
    lines = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["metrics"] for line in lines if "metrics" in line}


def manifest(out):
    """Its manifest, which has the SHA-256 of all arrays."""
    return (out / "detector" / "manifest.json").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What two processes make that nobody kills."""
    out = tmp_path_factory.mktemp("hosts") / "whole"
    ends = finish(both(out))
    assert [code for code, _ in ends] == [0, 0], ends
    assert not [line for line in ends[1][1].splitlines() if not line.startswith("[Gloo]")], "it has nothing to say"
    return out


@pytest.mark.slow
def test_the_whole_command_under_slurm(whole, tmp_path):
    ends = finish(both(tmp_path / "run", "slurm"))
    assert [code for code, _ in ends] == [0, 0], ends
    assert manifest(tmp_path / "run") == manifest(whole)
    assert "4 cpu device(s)" in ends[0][1]
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["environment"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_other_and_the_same_command_goes_on(whole, tmp_path, victim):
    out = tmp_path / "run"
    processes = both(out)
    deadline = time.monotonic() + 120
    try:
        while not saved(out):
            assert time.monotonic() < deadline
            assert all(p.poll() is None for p in processes), finish(processes)
            time.sleep(0.02)
        processes[victim].send_signal(signal.SIGKILL)
        killed = time.monotonic()
        code, said = finish(processes, 90)[1 - victim]
    finally:
        [p.kill() for p in processes]
    assert time.monotonic() - killed < 60
    assert code not in (0, -signal.SIGKILL), said
    assert "lost another one" in said or "another task died" in said, said
    assert not (out / "results.json").exists()
    ends = finish(both(out))
    assert [code for code, _ in ends] == [0, 0], ends
    found = json.loads((out / "results.json").read_text())
    assert found["timing"]["resumed_from_step"] > 0
    assert manifest(out) == manifest(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "after", "images"), [("adamw", 96, 0), ("muon", 48, 2)])
def test_another_number_of_processes_goes_on_to_the_same_numbers(tmp_path, optimizer, after, images):
    """Figures of the steps `after` it. Later ones say nothing: of one process, weights that differ by 1e-7 end, 640
    steps later, in features that differ by 1e-6 or by a tenth. By Muon, losses differ by 1e-5 after 48 steps and by
    1e-3 after 96, and some `images` of a mean of 256 lie between two classes."""
    options = "--epochs", "40", "--method-options", f"optimizer={optimizer}"
    out = tmp_path / "run"
    processes = both(out, "adjax", *options)
    deadline = time.monotonic() + 120
    try:
        while not saved(out):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        processes[1].send_signal(signal.SIGTERM)
        assert [code for code, _ in finish(processes)] == [0, 0]
    finally:
        [p.kill() for p in processes]
    (code, said), *_ = finish([start(0, 1, free_port(), out, "adjax", *options)])
    assert code == 0, said
    two = tmp_path / "two"
    assert [code for code, _ in finish(both(two, "adjax", *options))] == [0, 0]
    resumed = json.loads((out / "results.json").read_text())["timing"]["resumed_from_step"]
    assert resumed > 0
    one, other = (logged(where) for where in (out, two))
    steps = [step for step in other if step <= resumed + after]
    assert [step for step in one if step <= resumed + after] == steps
    assert sum(step > resumed for step in steps) >= 12, "it was stopped at its very end"
    for step in steps:
        for name, figures in other[step].items():
            near = images / (4 * 64) if name == "accuracy" else 0
            np.testing.assert_allclose(one[step][name], figures, 1e-3, near, err_msg=f"{name} after {step} steps")


@pytest.mark.slow
def test_the_lines_of_the_page(tmp_path):
    """docs/recipes/hosts.md, as printed but for the port."""
    (block,) = re.findall(
        r"^```bash\n(.*?)^```$", (ROOT / "docs/recipes/hosts.md").read_text(), re.MULTILINE | re.DOTALL
    )
    block = block.replace("29400", str(free_port()))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    said = subprocess.run(
        ["bash", "-ec", block], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert (tmp_path / "runs" / "two" / "results.json").exists(), said


@pytest.mark.slow
def test_nothing_says_which_processes_there_are():
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "SLURM_"))}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", "--distributed", *OPTIONS],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "nothing says which processes there are" in done.stderr
