"""`--engine ray`: the rows of the local engine, bit for bit, whichever process dies on the way."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest
import ray_processes
import untrained
from picture_files import save
from ray_processes import wait_for

from adjax import __main__
from adjax.cluster import connection, scoring, worker
from adjax.data.io.sources.folder import Folder

SHAPE, COUNT = (8, 8, 1), 3000


def on_cluster(test):
    """Slow, and only where Ray is."""
    missing = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is missing: pip install -e '.[ray]'")
    return pytest.mark.slow(missing(test))


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A detector, and as many files as `COUNT`: links to a few pictures, and one that is damaged."""
    root = tmp_path_factory.mktemp("cluster")
    untrained.two_classes(SHAPE).save(root / "detector")
    rng = np.random.default_rng(1)
    originals = [save(root / f"{i}.png", rng.integers(0, 80 + 80 * (i % 2), (8, 8), np.uint8)) for i in range(13)]
    for i in range(COUNT - 1):
        path = root / "photos" / f"{i % 3}" / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(originals[i % 13], path)
    (root / "photos" / "1" / "bad.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def local(place):
    """The table that the local engine writes, of the same command in a process of its own."""
    with ray_processes.running() as ray:
        process = ray.start(*command(place, place / "local.csv"))
        assert process.wait() == 0, process.stdout.read()
    return (place / "local.csv").read_bytes()


@pytest.fixture
def ray():
    with ray_processes.running() as ray:
        yield ray


def command(place, out, *more):
    return ("-m", "adjax", "predict", place / "detector", place / "photos", "--out", out, "--batch-size", 8, *more)


def on_ray(place, out, workers, *more):
    return command(place, out, "--engine", "ray", "--workers", workers, "--worker-cpus", 1, "--no-report", *more)


def rows_in(out):
    journal = out.with_name(f"{out.name}.journal")
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def finish(process):
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


@on_cluster
@pytest.mark.parametrize("workers", [1, 3])
def test_rows_are_those_of_one_process(ray, place, local, tmp_path, workers):
    said = finish(ray.start(*on_ray(place, tmp_path / "s.csv", workers)))
    assert (tmp_path / "s.csv").read_bytes() == local
    lines = [line for line in said.splitlines() if not line.startswith("scoring")]  # which a slow machine prints
    assert len(lines) == 4, said  # the detector, what was found, what came of it, the table: nothing of Ray's
    wait_for(lambda: not ray.processes())  # its workers end a moment after the command


@on_cluster
def test_a_worker_that_is_killed_costs_no_row(ray, place, local, tmp_path):
    out = tmp_path / "s.csv"
    process = ray.start(*on_ray(place, out, 2))
    wait_for(lambda: rows_in(out) > COUNT // 10, process)
    os.kill(ray.workers()[0], signal.SIGKILL)
    before = rows_in(out)
    finish(process)
    assert before < COUNT
    assert out.read_bytes() == local


@on_cluster
def test_a_driver_that_is_killed_goes_on_where_it_ended(ray, place, local, tmp_path):
    """Ray ends its own processes then; the other engine may go on, too."""
    out = tmp_path / "s.csv"
    process = ray.start(*on_ray(place, out, 2))
    wait_for(lambda: rows_in(out) > COUNT // 10, process)
    process.kill()
    process.wait()
    wait_for(lambda: not ray.processes())
    done = rows_in(out)
    assert done < COUNT
    process = ray.start(*on_ray(place, out, 2))
    wait_for(lambda: rows_in(out) > max(done, COUNT // 2), process)
    process.kill()
    process.wait()
    said = finish(ray.start(*command(place, out, "--no-report")))
    assert "of them done before" in said
    assert out.read_bytes() == local


@on_cluster
def test_ctrl_c_leaves_a_valid_table_and_no_process(ray, place, local, tmp_path):
    out = tmp_path / "s.csv"
    process = ray.start(*on_ray(place, out, 2), start_new_session=True)
    wait_for(lambda: rows_in(out) > COUNT // 10, process)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert "the same command continues" in said
    wait_for(lambda: not ray.processes())
    table = out.read_bytes()
    assert local.startswith(table)
    assert len(table) < len(local)


@on_cluster
def test_a_node_and_then_the_driver_are_killed_and_cost_no_row(ray, place, local, tmp_path):
    """The head runs no worker; the node that does is killed at a third, and another one takes its place. At two thirds
    the driver is killed, and the same command goes on."""
    out, port = tmp_path / "s.csv", ray_processes.free_port()
    ray.node("--head", "--port", port, "--include-dashboard", "false", "--num-cpus", 0, "--disable-usage-stats")
    address = f"127.0.0.1:{port}"

    def raylets():
        return sum("raylet/raylet" in command for command in ray.processes().values())

    wait_for(lambda: raylets() == 1)
    another = "--address", address, "--num-cpus", 1, "--disable-usage-stats"
    first = ray.node(*another)
    wait_for(lambda: raylets() == 2)
    process = ray.start(*on_ray(place, out, 1, "--ray-address", address))
    wait_for(lambda: rows_in(out) > COUNT // 3, process)
    there = [number for number in ray.workers() if os.getsid(number) == first.pid]
    os.killpg(first.pid, signal.SIGKILL)
    before = rows_in(out)
    ray.node(*another)
    wait_for(lambda: rows_in(out) > 2 * COUNT // 3, process)
    process.kill()
    process.wait()
    done = rows_in(out)
    said = finish(ray.start(*on_ray(place, out, 1, "--ray-address", address)))
    assert len(there) == 1
    assert before < done < COUNT
    assert "of them done before" in said
    assert out.read_bytes() == local
    wait_for(lambda: not ray.workers())


@on_cluster
def test_a_part_that_kills_its_workers_ends_the_run(ray, place, tmp_path):
    code = """
import sys
from pathlib import Path
import adjax
from adjax import manifest
from adjax.cluster import connection, scoring
from killing_source import Killing
place = Path(sys.argv[1])
work = scoring.rows(
    place / "detector", manifest.digest(place / "detector"), connection.Cluster(workers=2, cpus=1),
    adjax.load(place / "detector"), Killing(place / "photos"),
    [*(f"0/{i:05}.png" for i in range(0, 150, 3)), "0/kill.png"], batch_size=4, maps=None)
done = 0
try:
    for rows in work:
        done += len(rows)
except adjax.data.DataError as error:
    print(done, error)
"""
    said = finish(ray.start("-c", code, place))
    assert said.startswith("32 3 workers died over the same 19 files, 0/00096.png to 0/kill.png"), said


@on_cluster
def test_the_page_on_clusters(ray, tmp_path):
    """docs/recipes/cluster.md: what it runs and shows."""
    page = (ROOT / "docs" / "recipes" / "cluster.md").read_text()
    blocks = dict(re.findall(r"^```(python|text)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    (tmp_path / "page.py").write_text(blocks["python"])
    assert finish(ray.start(tmp_path / "page.py")) == blocks["text"]


@on_cluster
def test_a_fit_by_workers_is_that_of_float64(ray, tmp_path):
    """Whatever the number of workers, bit for bit; the single process's to 1e-6. A worker is killed on the way."""
    for workers in (1, 3):
        finish(ray.start(Path(__file__).with_name("child_cluster_fit.py"), tmp_path, workers))
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "3.npz").read_bytes()


@on_cluster
def test_an_error_of_read_is_the_callers(ray):
    code = """
from adjax import cluster, scorers
def read(part):
    raise ValueError(f"part {part} is empty")
cluster.fit_stream(scorers.make("mahalanobis"), read, [7], 4, 1, cluster=cluster.Cluster(workers=1, cpus=1))
"""
    process = ray.start("-c", code)
    assert "ValueError: part 7 is empty" in process.communicate(timeout=120)[0]
    assert process.returncode == 1


# --- without Ray ---


def test_parts_come_in_order_and_those_put_back_first():
    parts = scoring._Parts([*"abcdefg"], 3)
    assert parts.count == 3
    one, two = parts.take(3), parts.take(3)
    assert (one, two) == ((0, [*"abc"]), (1, [*"def"]))
    assert parts.take(2) is None  # too far ahead
    parts.put_back(two)
    parts.put_back(one)
    assert [parts.take(9) for _ in range(4)] == [one, two, (2, ["g"]), None]


def test_workers_are_given_two_parts_each_and_no_part_far_ahead_of_the_first():
    seats = [SimpleNamespace(loading=None, given=deque(), handle=MagicMock()) for _ in range(3)]
    seats[2].loading = object()
    pool = object.__new__(scoring._Pool)
    pool._seats, pool._size, pool._next, pool._parts = seats, 2, 0, scoring._Parts(range(100), 1)
    given = []
    for _ in range(20):
        pool._give()
        given += [part.number for seat in seats for part, _ in seat.given]
        assert [len(seat.given) <= scoring.AT_ONCE for seat in seats]
        assert not seats[2].given
        [seat.given.clear() for seat in seats]
    assert sorted(given) == list(range(scoring.AHEAD * 2))
    pool._next = 5
    pool._give()
    assert [[part.number for part, _ in seat.given] for seat in seats] == [[8, 10], [9, 11], []]


def test_ray_is_asked_for_by_its_extra(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr("adjax.process.prepare", lambda: None)
    arguments = [*map(str, on_ray(place, tmp_path / "s.csv", 1)[2:])]
    assert __main__.main(arguments) == 1
    assert "[ray]'" in capsys.readouterr().err
    assert not (tmp_path / "s.csv.journal").exists()


def test_a_worker_scores_a_part_as_this_process_does(place, tmp_path, monkeypatch):
    monkeypatch.setattr("adjax.process.prepare", lambda: None)
    source = pickle.loads(pickle.dumps(Folder(place / "photos")))
    setup = worker.Setup(
        files=worker.contents(place / "detector"),
        sha256=worker.manifest.digest(place / "detector"),
        threshold=0.5,
        interval=None,
        source=source,
        first="0/00000.png",
        batch_size=8,
        threads=1,
        maps=False,
        environment=os.environ,
    )
    one = worker.Worker(setup)
    assert one.load() == worker.versions()
    names = ["1/bad.png", *(f"0/{i:05}.png" for i in range(0, 30, 3))]
    scored = one.score(names)
    assert [row.path for row in scored.rows] == names
    assert [row.status for row in scored.rows] == ["error"] + ["ok"] * 10
    scores = np.array([row.score for row in scored.rows[1:]], np.float32)
    middle = float(np.median(scores))
    again = worker.Worker(worker.replace(setup, threshold=middle))
    again.load()
    decided = [row.decision == "anomalous" for row in again.score(names).rows[1:]]
    assert decided == (scores > middle).tolist()
    assert 0 < sum(decided) < 10
    assert len(scored.depths) == 10
    with pytest.raises(worker.DataError, match="disk that all machines"):
        worker.Worker(worker.replace(setup, first="0/gone.png")).load()
    with pytest.raises(worker.DataError, match="was replaced"):
        worker.Worker(worker.replace(setup, sha256="0" * 64)).load()


def test_xla_takes_as_many_threads_as_the_environment_says(monkeypatch):
    monkeypatch.delenv("NPROC", raising=False)
    monkeypatch.setenv("PJRT_NPROC", "5")
    assert connection.environment()["PJRT_NPROC"] == "5"
    monkeypatch.delenv("PJRT_NPROC")
    assert connection.xla_threads() == len(os.sched_getaffinity(0))
