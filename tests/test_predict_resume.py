"""`predict` stopped, killed and begun again: the table is that of one run, and nobody else's is touched."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import predicting
import pyarrow.parquet
import pytest
from picture_files import save
from predicting import run, table

from adjax.data import DataError
from adjax.data.io import upload
from adjax.predict import stream
from adjax.predict.resume_log import ResumeLog

pytestmark = pytest.mark.usefixtures("process_as_it_was")


detector, folder, saved = predicting.detector, predicting.folder, predicting.saved


def test_a_restart_scores_only_what_is_new(saved, folder, tmp_path, monkeypatch):
    out = tmp_path / "s.jsonl"
    assert run(saved, folder, "--out", out, "--no-report") == 0
    before = table(out)
    read, seen = upload.read, []
    monkeypatch.setattr(stream.upload, "read", lambda path, *a, **k: (seen.append(path.name), read(path, *a, **k))[1])
    save(folder / "a" / "new.png", np.zeros((8, 8), np.uint8))
    assert run(saved, folder, "--out", out, "--no-report") == 0
    assert seen == ["new.png"]
    assert table(out)[:-1] == before
    assert table(out)[-1]["path"] == "a/new.png"
    seen.clear()
    assert run(saved, folder, "--out", out, "--no-report", "--fresh") == 0
    assert len(seen) == len(table(out)) == 21


@pytest.mark.parametrize("put_there", ["written", "moved"])
def test_a_file_that_has_changed_is_scored_again_and_one_that_failed_is_tried_again(
    saved, folder, tmp_path, capsys, put_there
):
    out, changed, broken = tmp_path / "s.jsonl", folder / "a" / "00.png", folder / "b" / "01.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:40])
    assert run(saved, folder, "--out", out, "--no-report") == 0
    first = {row["path"]: row for row in table(out)}
    assert first["b/01.png"]["status"] == "error"
    journal = (tmp_path / "s.jsonl.journal").read_bytes()
    assert run(saved, folder, "--out", out, "--no-report") == 0
    assert "tried again, as they could not be read before: 1" in capsys.readouterr().out
    assert (tmp_path / "s.jsonl.journal").read_bytes() == journal  # it failed as before
    time.sleep(0.02)  # a tick of the file system's clock
    other = save(tmp_path / "other.png", np.full((8, 8), 250, np.uint8))
    if put_there == "written":
        changed.write_bytes(other.read_bytes())
    else:
        os.utime(other, (1, 1))
        other.replace(changed)
    broken.write_bytes(whole)
    assert run(saved, folder, "--out", out, "--no-report") == 0
    said = capsys.readouterr().out
    assert (
        "18 of them done before; tried again, as they could not be read before: 1; scored again, as they have" in said
    )
    fresh = tmp_path / "fresh.jsonl"
    assert run(saved, folder, "--out", fresh, "--no-report") == 0
    assert sorted(table(out), key=lambda row: row["path"]) == sorted(table(fresh), key=lambda row: row["path"])
    assert run(saved, folder, "--out", out, "--no-report") == 0  # and is read again as it was written
    assert "20 of them done before\n" in capsys.readouterr().out
    assert len(table(out)) == 20


@pytest.mark.parametrize("suffix", ["csv", *(pytest.param(s, marks=pytest.mark.slow) for s in ("jsonl", "parquet"))])
def test_ctrl_c_leaves_a_valid_table_and_a_restart_finishes_it(saved, folder, tmp_path, monkeypatch, suffix):
    whole = tmp_path / f"whole.{suffix}"
    assert run(saved, folder, "--out", whole, "--batch-size", 4) == 0
    out, append = tmp_path / f"s.{suffix}", ResumeLog.append

    def interrupted(self, rows):
        append(self, rows)
        ResumeLog.append = append  # once
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(ResumeLog, "append", interrupted)
        assert run(saved, folder, "--out", out, "--batch-size", 4) == 130
    assert 0 < len(table(out)) < 20
    assert run(saved, folder, "--out", out, "--batch-size", 4) == 0
    assert table(out) == table(whole)


def test_a_line_cut_short_by_a_kill_is_written_again(saved, folder, tmp_path):
    out, journal = tmp_path / "s.jsonl", tmp_path / "s.jsonl.journal"
    assert run(saved, folder, "--out", out) == 0
    whole = table(out)
    journal.write_bytes(journal.read_bytes()[:-25])
    assert run(saved, folder, "--out", out) == 0
    assert table(out) == whole
    journal.write_bytes(journal.read_bytes()[:30])  # killed as it began
    assert run(saved, folder, "--out", out) == 0
    assert table(out) == whole


def test_another_detector_folder_or_threshold_is_refused(saved, detector, folder, tmp_path, capsys):
    out = tmp_path / "s.csv"
    assert run(saved, folder, "--out", out) == 0
    before = out.read_bytes()
    renamed = dataclasses.replace(detector.spec, classes=("x", "y"))
    dataclasses.replace(detector, spec=renamed).save(tmp_path / "other")
    for arguments, reason in (
        ((tmp_path / "other", folder), "was begun with detector"),
        ((saved, folder / "a"), "was begun with folder"),
        ((saved, folder, "--false-positive-rate", 0.1), "was begun with threshold"),
    ):
        assert run(*arguments, "--out", out) == 1
        assert reason in capsys.readouterr().err
    assert out.read_bytes() == before
    assert run(tmp_path / "other", folder, "--out", out, "--fresh") == 0


def test_other_peoples_files_are_not_overwritten(saved, folder, tmp_path, capsys):
    out, journal = tmp_path / "s.csv", tmp_path / "s.csv.journal"
    out.write_text("mine")
    assert run(saved, folder, "--out", out) == 1
    assert out.read_text() == "mine"
    out.unlink()
    for content in ("mine", '{"mine": 1}\n', '["mine"]\n'):
        journal.write_text(content)
        assert run(saved, folder, "--out", out) == 1
        assert journal.read_text() == content
    capsys.readouterr()
    with ResumeLog(tmp_path / "two.journal", {}), pytest.raises(DataError, match="written by another process"):
        ResumeLog(tmp_path / "two.journal", {})


def test_a_folder_is_no_table_and_nothing_is_scored_for_it(saved, folder, tmp_path, capsys):
    out = tmp_path / "s.csv"
    out.mkdir()
    for options in ((), ("--fresh",)):
        assert run(saved, folder, "--out", out, *options) == 1
        assert f"{out} is a folder: name a file" in " ".join(capsys.readouterr().err.split())
    assert not out.with_name("s.csv.journal").exists()


@pytest.mark.slow
def test_a_hundred_thousand_files_in_flat_memory(saved, tmp_path):
    """Hard links to a few pictures; stopped by Ctrl-C, gone on with, at a steady rate."""
    root, rng = tmp_path / "many", np.random.default_rng(0)
    originals = [save(tmp_path / f"{i}.png", rng.integers(0, 256, (28, 28), np.uint8)) for i in range(7)]
    for part in range(100):
        (root / f"{part:03}").mkdir(parents=True)
        for i in range(1000):
            os.link(originals[i % 7], root / f"{part:03}" / f"{i:04}.png")
    out = tmp_path / "s.parquet"
    command = [sys.executable, "-m", "adjax", "predict", str(saved), str(root), "--out", str(out)]
    samples = []  # (bytes in the journal, resident bytes, seconds)

    def watched(stop_at):
        journal, began = tmp_path / "s.parquet.journal", time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                time.sleep(0.25)
                status = Path(f"/proc/{process.pid}/statm")
                if not status.exists() or not journal.exists():
                    continue
                written = journal.stat().st_size
                samples.append((written, int(status.read_text().split()[1] or 0) * 4096, time.perf_counter() - began))
                if stop_at is not None and written > stop_at:
                    process.send_signal(signal.SIGINT)
                    stop_at = None
            return process.wait(), process.stdout.read()

    assert watched(4_000_000)[0] == 130
    done = pyarrow.parquet.read_table(out).num_rows
    assert 10_000 < done < 100_000
    samples.clear()
    code, said = watched(None)
    assert code == 0
    assert pyarrow.parquet.read_table(out).num_rows == 100_000
    assert f"{done:,} of them done before" in said
    whole = max(written for written, _, _ in samples)
    scoring = [s for s in samples if samples[0][0] + 500_000 < s[0] < whole and s[1]]  # warm, and not over
    memory = [resident / 2**20 for _, resident, _ in scoring]
    first, middle, last = scoring[0], scoring[len(scoring) // 2], scoring[-1]
    rates = [(b[0] - a[0]) / (b[2] - a[2]) for a, b in ((first, middle), (middle, last))]
    print(
        said,
        f"memory {min(memory):.0f} to {max(memory):.0f} MiB; journal {rates[0]:,.0f}, then {rates[1]:,.0f} bytes/s",
    )
    assert max(memory) - min(memory) < 30
    assert 0.4 < rates[0] / rates[1] < 2.5
