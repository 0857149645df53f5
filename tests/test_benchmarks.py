"""The benchmark harness: what it times, that it takes turns, and what it writes. No timing is asserted."""

from __future__ import annotations

import json
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import harness, run


def test_ours_and_the_peer_take_turns_after_one_warm_up():
    calls = []
    timing = harness.compare("w", "p", lambda: calls.append("a"), lambda: calls.append("b"), images=10, n=3)
    assert calls == list("ab" * 4)
    assert timing.n == 3


def test_ratios_are_of_the_peer_to_ours_pair_by_pair(monkeypatch):
    seconds = iter([9.0, 9.0, 1.0, 2.0, 1.0, 4.0, 2.0, 6.0])
    monkeypatch.setattr(harness, "_once", lambda work: next(seconds))
    timing = harness.compare("w", "p", object, object, images=10, n=3)
    assert (timing.ratio, timing.ratio_min, timing.ratio_max) == pytest.approx((3, 2, 4))
    assert (timing.ours_ms, timing.peer_ms) == pytest.approx((1000, 4000))
    assert timing.images_per_s == pytest.approx(10)


def sums(pairs, quick):
    x = jnp.ones((8, 8))
    return harness.compare("rows summed", "NumPy", lambda: x.sum(1), lambda: np.ones((8, 8)).sum(1), images=8, n=pairs)


@pytest.mark.parametrize("name", ["sums", pytest.param("score_mahalanobis_class", marks=pytest.mark.slow)])
def test_command_writes_a_line_a_benchmark(tmp_path, monkeypatch, name):
    out = tmp_path / "lines.jsonl"
    monkeypatch.setitem(run.BENCHMARKS, "sums", sums)
    monkeypatch.setattr(run, "matmul_peak", partial(harness.matmul_peak, side=64))
    monkeypatch.setattr("sys.argv", ["run", "--quick", "--only", name, "--out", str(out)])
    run.main()
    (line,) = (json.loads(text) for text in out.read_text().splitlines())
    wanted = {"name", "peer", "ours_ms", "peer_ms", "ratio", "ratio_min", "ratio_max", "n", "compile_s"}
    assert wanted <= line.keys()
    assert line["ours_ms"] > 0
    assert "tied" not in out.read_text()
    assert line["environment"]["versions"]["jax"]
    assert line["benchmark"] == name


def test_what_is_not_run_again_keeps_its_row_and_what_it_was_measured_on(tmp_path, monkeypatch):
    out = tmp_path / "lines.jsonl"
    for name in ("zero", "one"):
        monkeypatch.setitem(run.BENCHMARKS, name, sums)
    for peak, argv in ((100.0, ["--only", "zero", "one"]), (200.0, ["--only", "zero"])):
        monkeypatch.setattr(run, "matmul_peak", lambda peak=peak: peak)
        monkeypatch.setattr("sys.argv", ["run", "--quick", *argv, "--out", str(out)])
        run.main()
    lines = [json.loads(text) for text in out.read_text().splitlines()]
    assert {line["benchmark"]: line["environment"]["matmul_gflops"] for line in lines} == {"zero": 200, "one": 100}
    said = out.with_suffix(".md").read_text()
    assert said.count("rows summed") == 2
    assert "200 GFLOP/s" in said
    assert said.endswith("Its rows: one.\n")
