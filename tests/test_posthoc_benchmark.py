"""Timing of scorers beside a peer's: what is timed, and what the table says of it."""

import json
import time

import numpy as np
import pytest

from benchmarks import posthoc
from benchmarks.peers.scorers import Peer

GIVEN = posthoc.made(60, 8, 3)


def where():
    counts = {"rows": 60, "features": 8, "classes": 3, "pairs": 1, "cores": 1}
    words = {"command": "c", "date": "d", "cpu": "c", "python": "3", "devices": {"platform": "cpu"}}
    return {"versions": {"jax": "0"}, "peers": {}} | counts | words


class Tensor(np.ndarray):
    def detach(self):
        return self

    def numpy(self):
        return np.asarray(self)


def peer(fits, sizes):
    """Energy without a fit, or what SHE has for one; `sizes` notes how many rows a call scores."""

    def make(g):
        def score(made):
            sizes.append(len(g.answers))
            return made * g.answers.max(1).view(Tensor)

        return Peer(lambda: -1.0, score, fits)

    return make


def test_fit_and_score_are_timed_and_a_peer_that_fits_nothing_has_no_fit():
    sizes = []
    entry = posthoc.Entry("MaxLogit", peer(False, sizes), at_once=25)
    row = posthoc.timed("max_logit", entry, GIVEN, 2)
    assert row["fit"] is None
    assert row["score"]["n"] == 2
    assert row["rank"] == pytest.approx(1)
    assert set(sizes) == {25, 10}
    fitted = posthoc.timed("she", posthoc.Entry("SHE", peer(True, [])), GIVEN, 1)
    assert fitted["fit"]["ours_ms"] > 0
    assert fitted["rank"] < 0.999
    made = {"made": {"date": "2026-01-02", "revision": "a"}}
    table = posthoc.markdown([{**row, **made}, {**fitted, **made}], where())
    assert f"| {row['score']['ours_ms']:.1f} | {row['score']['peer_ms']:.1f} |" in table
    assert "| max_logit | pytorch-ood MaxLogit |  |  |  |  | " in table
    assert "To fit, of 1:" in table
    json.dumps(row)


def test_calls_of_milliseconds_are_timed_together_and_given_one_by_one():
    calls = []

    def make(g):
        def score(made):
            calls.append(len(g.answers))
            time.sleep(0.005)
            return g.answers.max(1).view(Tensor)

        return Peer(lambda: 0, score, False)

    row = posthoc.timed("max_logit", posthoc.Entry("MaxLogit", make), GIVEN, 1)
    assert 5 <= row["score"]["peer_ms"] < 50
    assert len(calls) > 10


def test_a_summary_names_who_is_slower():
    rows = [
        {"scorer": name, "fit": None if fit is None else {"ratio": fit}, "score": {"ratio": score}}
        for name, fit, score in (("a", 0.5, 4.0), ("b", None, 0.9), ("c", 3.0, 8.0))
    ]
    assert posthoc.summary(rows) == {
        "fit": {"compared": 2, "median": 1.75, "slower": ["a"]},
        "score": {"compared": 3, "median": 4.0, "slower": ["b"]},
    }


def test_rows_of_an_earlier_run_stay_but_for_those_named(tmp_path, monkeypatch):
    names, runs = ["max_logit", "max_softmax", "energy"], []
    monkeypatch.setattr(posthoc, "ENTRIES", dict.fromkeys(names))

    def timed(name, entry, g, n):
        runs.append(name)
        return {"scorer": name, "peer": "p", "fit": None, "score": {"ratio": len(runs)}, "rank": 1.0}

    monkeypatch.setattr(posthoc, "timed", timed)
    monkeypatch.setattr(posthoc, "markdown", lambda rows, where: "")
    out = tmp_path / "posthoc.json"
    for only in ([], ["--only", "max_softmax"]):
        monkeypatch.setattr("sys.argv", ["posthoc", "--quick", "--out", str(out), *only])
        posthoc.main()
    rows = json.loads(out.read_text())["rows"]
    assert [row["scorer"] for row in rows] == names
    assert [row["score"]["ratio"] for row in rows] == [1, 4, 3]


ALIKE = {"nac": 0.3, "temperature_scaling": 0.9, "vra": 0.3}
"""What the peer does otherwise, `benchmarks.agreement` tells."""


@pytest.mark.slow
@pytest.mark.parametrize("name", posthoc.ENTRIES)
def test_ours_and_the_peer_rank_alike(name):
    pytest.importorskip("pytorch_ood")
    assert posthoc.timed(name, posthoc.ENTRIES[name], posthoc.made(400, 40, 4), 1)["rank"] > ALIKE.get(name, 0.999)
