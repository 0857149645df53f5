"""One device, eight, two processes, `jax.pmap`: the same numbers. Everything here runs in processes of its own."""

from __future__ import annotations

import re
import signal

import jax
import numpy as np
import pytest
from training import assert_close, compiled, finish, free_port, read, start, table, trained

TEMPLATE = trained(compiled(table((48,))), 1)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    print(output := finish(start("child_devices.py", folder, devices=8)))
    (folder / "log").write_text(output)
    return folder


def leaves(path):
    with np.load(path) as file:
        return list(file.values())


@pytest.mark.parametrize("name", ["members2", "members3", "members8", "lenet"])
def test_eight_devices_are_one(out, name):
    one, eight = (leaves(out / f"{name}-devices{n}.npz") for n in (1, 8))
    assert len(one) > 10
    assert_close(one, eight)


def test_batches_sent_to_eight_devices_are_those_that_lie_there(out):
    sent, resident = (leaves(out / f"members2-{name}.npz") for name in ("sent", "devices8"))
    for a, b in zip(sent, resident, strict=True):
        np.testing.assert_array_equal(a, b)


def test_members_are_spread_and_batches_shared(out):
    log = (out / "log").read_text()
    for line in (
        "2 members on mesh (1, 1), a device holds {2}",
        "2 members on mesh (2, 4), a device holds {1}",
        "3 members on mesh (1, 8), a device holds {3}",
        "8 members on mesh (8, 1), a device holds {1}",
    ):
        assert line in log


def test_pmap_gives_the_same_numbers(out):
    program, pmap = (leaves(out / f"{name}.npz") for name in ("program", "pmap"))
    assert_close(program, pmap)


def pair(folder, mode, cache):
    port = free_port()
    return [start("child_cluster.py", i, port, folder, mode, devices=2, cache=cache) for i in range(2)]


def test_two_processes_are_one(tmp_path, tmp_path_factory):
    """Two members, a process each: same state, and the same again from the checkpoint that both wrote."""
    processes = pair(tmp_path, "members", None)
    try:
        outputs = [finish(p) for p in processes]
    finally:
        [p.kill() for p in processes]
    assert all("from 0 to 9, received None" in o for o in outputs), outputs
    one = trained(compiled(table((48, 37)), steps_per_dispatch=2), 9)
    assert_close(read(tmp_path / "members.npz", TEMPLATE), one)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path):
    """And both go on together from there to what one process computes without any stop."""
    cache = tmp_path / "cache"
    processes = pair(tmp_path, "long", cache)
    try:
        for line in processes[1].stdout:
            if line.startswith("running"):
                break
        processes[1].send_signal(signal.SIGTERM)
        outputs = [finish(p, 120) for p in processes]
    finally:
        [p.kill() for p in processes]
    stops = [re.search(r"from 0 to (\d+), received 15, losses (\S+)", o) for o in outputs]
    assert all(stops), outputs
    assert stops[0].groups() == stops[1].groups()
    step = int(stops[0][1])
    assert 8 < step < 1000
    assert step % 3 != 1  # dispatches of two steps in epochs of three end at 2, 3, 5, 6, ...
    processes = pair(tmp_path, "resume", cache)
    try:
        outputs = [finish(p) for p in processes]
    finally:
        [p.kill() for p in processes]
    assert all(f"from {step} to {step + 6}, received None" in o for o in outputs), outputs
    state = read(tmp_path / "resume.npz", TEMPLATE)
    one = trained(compiled(table((48,)), steps_per_dispatch=2), step + 6)
    assert_close(state, one, atol=1e-4)
    assert jax.tree.leaves(state.members)[0].shape[0] == 1
