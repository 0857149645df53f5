"""One device, eight, two processes, `jax.pmap`: the same numbers. Everything here runs in processes of its own."""

from __future__ import annotations

import re
import signal

import jax
import numpy as np
import pytest
from training import assert_close, compiled, finish, free_port, pair, read, start, table, trained


def child(folder, what):
    print(output := finish(start("child_devices.py", folder, what, devices=8)))
    (folder / "log").write_text(output)
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return child(tmp_path_factory.mktemp("devices"), "pair")


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    return child(tmp_path_factory.mktemp("ways"), "ways")


@pytest.fixture(scope="module")
def further(tmp_path_factory):
    return child(tmp_path_factory.mktemp("further"), "further")


@pytest.fixture(scope="module")
def one():
    """Two members on one device."""
    return trained(pair(), 9)


def leaves(path):
    with np.load(path) as file:
        return list(file.values())


@pytest.mark.slow
def test_eight_devices_are_one(out, one):
    assert tuple(pair().mesh.shape.values()) == (1, 1)
    assert len(jax.tree.leaves(one)) > 10
    assert_close(one, read(out / "members2-devices8.npz", one))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["members3", "members8", "lenet"])
def test_eight_devices_are_one_on_other_meshes(further, name):
    one, eight = (leaves(further / f"{name}-devices{n}.npz") for n in (1, 8))
    assert len(one) > 10
    assert_close(one, eight)


@pytest.mark.slow
def test_batches_sent_to_eight_devices_are_those_that_lie_there(ways):
    sent, resident = (leaves(ways / f"members2-{name}.npz") for name in ("sent", "devices8"))
    for a, b in zip(sent, resident, strict=True):
        np.testing.assert_array_equal(a, b)


def test_members_are_spread_and_batches_shared(out):
    assert "2 members on mesh (2, 4), a device holds {1}" in (out / "log").read_text()


@pytest.mark.slow
def test_members_are_spread_and_batches_shared_on_other_meshes(further):
    log = (further / "log").read_text()
    for line in (
        "3 members on mesh (1, 8), a device holds {3}",
        "8 members on mesh (8, 1), a device holds {1}",
    ):
        assert line in log


@pytest.mark.slow
def test_pmap_gives_the_same_numbers(ways):
    program, pmap = (leaves(ways / f"{name}.npz") for name in ("program", "pmap"))
    assert_close(program, pmap)


def cluster(folder, mode):
    port = free_port()
    return [start("child_cluster.py", i, port, folder, mode, devices=2) for i in range(2)]


@pytest.mark.slow
def test_two_processes_are_one(tmp_path, one):
    """Two members, a process each: same state, and the same again from the checkpoint that both wrote."""
    processes = cluster(tmp_path, "members")
    try:
        outputs = [finish(p) for p in processes]
    finally:
        [p.kill() for p in processes]
    assert all("from 0 to 9, received None" in o for o in outputs), outputs
    assert_close(read(tmp_path / "members.npz", one), one)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path):
    """And both go on together from there to what one process computes without any stop."""
    processes = cluster(tmp_path, "long")
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
    processes = cluster(tmp_path, "resume")
    try:
        outputs = [finish(p) for p in processes]
    finally:
        [p.kill() for p in processes]
    assert all(f"from {step} to {step + 6}, received None" in o for o in outputs), outputs
    one = trained(compiled(table((48,)), steps_per_dispatch=2), step + 6)
    state = read(tmp_path / "resume.npz", one)
    assert_close(state, one, atol=1e-4)
    assert jax.tree.leaves(state.members)[0].shape[0] == 1


@pytest.mark.slow
def test_statistics_of_two_processes_are_merged():
    port = free_port()
    processes = [start("child_merge_processes.py", i, port) for i in range(2)]
    try:
        outputs = [finish(p) for p in processes]
    finally:
        [p.kill() for p in processes]
    assert all(f"{name} of two processes is that of one" in o for o in outputs for name in ("mahalanobis", "knn"))
