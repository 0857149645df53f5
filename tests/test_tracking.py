"""What a run leaves for those who keep track: metrics, TensorBoard's files, how it was made and is made again."""

from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest

from experiments import figures, rundir, tensorboard
from experiments.config import Config, of_file, parse
from experiments.run import main

QUICK = "--dataset digits --epochs 2 --batch-size 256 --lam 0 0.3 --steps-per-dispatch 1".split()
pytestmark = pytest.mark.usefixtures("without_plots")


@pytest.fixture(scope="module")
def without_plots():
    """They are half of the time of so small a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "draw", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, without_plots):
    """A run of two members with TensorBoard's files."""
    pytest.importorskip("tensorboardX")
    out = tmp_path_factory.mktemp("run") / "first"
    assert main([*QUICK, "--seed", "3", "--tensorboard", "--out", str(out)]) == 0
    return out


def events(folder):
    """[(step, name, value)] and [where a later process began] of TensorBoard's files, oldest first.

    A file is records of length (8 bytes), its sum (4), an event, its sum (4).
    """
    from tensorboardX.proto.event_pb2 import Event

    points, starts = [], []
    for path in sorted(folder.glob("events*"), key=lambda path: path.stat().st_mtime_ns):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            points += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            starts += [event.step] * (event.session_log.status == 1)
            at += 16 + length
    return points, starts


def test_tensorboard_has_the_numbers_of_the_log(finished):
    records = rundir.read_log(finished / "metrics.jsonl")
    folders = sorted(path.name for path in (finished / tensorboard.NAME).iterdir())
    assert folders == ["lam=0.3_seed=3", "lam=0_seed=3"]
    for m, name in enumerate(["lam=0_seed=3", "lam=0.3_seed=3"]):
        wanted = [(r["step"], k, v[m]) for r in records for k, v in r["metrics"].items()]
        found, _ = events(finished / tensorboard.NAME / name)
        assert [x[:2] for x in found] == [x[:2] for x in wanted]
        np.testing.assert_allclose([x[2] for x in found], [x[2] for x in wanted], rtol=1e-5)


def test_a_resumed_training_takes_back_what_came_after_its_checkpoint(tmp_path):
    pytest.importorskip("tensorboardX")
    for begin, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        curves = tensorboard.Curves(tmp_path / "tb", ["a/b c"], begin)
        for step in steps:
            curves.write(step, {"loss": np.array([step + begin])})
        curves.close()
    (folder,) = (tmp_path / "tb").iterdir()
    assert folder.name == "a_b_c"
    points, starts = events(folder)
    assert starts == [3]
    assert points[-2:] == [(3, "loss", 5), (4, "loss", 6)]
    tensorboard.Curves(tmp_path / "tb", ["x", "x"], 0).close()
    assert sorted(path.name for path in (tmp_path / "tb").iterdir()) == ["000-x", "001-x"]


def test_without_the_extra_it_is_said_before_anything_is_done(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert main([*QUICK, "--tensorboard", "--out", str(tmp_path / "run")]) == 1
    assert "pip install 'adjax[tensorboard]'" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_is_made_again_from_its_config_to_the_bit(finished, tmp_path, capsys):
    again = tmp_path / "again"
    assert main(["--config", str(finished / "config.json"), "--no-tensorboard", "--out", str(again)]) == 0
    one, two = (json.loads((path / "results.json").read_text()) for path in (finished, again))
    assert [(m["hparams"], m["seed"], m["metrics"]) for m in one["members"]] == [
        (m["hparams"], m["seed"], m["metrics"]) for m in two["members"]
    ]
    assert {**one["config"], "tensorboard": False} == two["config"]
    losses = [[r["metrics"] for r in rundir.read_log(path / "metrics.jsonl")] for path in (finished, again)]
    assert losses[0] == losses[1]
    assert not (again / tensorboard.NAME).exists()


def test_every_run_says_what_it_was_made_by(finished):
    where = json.loads((finished / "environment.json").read_text())
    assert {"command", "versions", "revision", "devices", "python"} <= where.keys()
    assert {"adjax", "jax", "flax", "numpy"} <= where["versions"].keys()
    config = json.loads((finished / "config.json").read_text())
    assert (config["dataset"], config["ood"], config["seed"], config["lam"]) == ("digits", "holdout:0", 3, [0, 0.3])


def test_the_command_line_is_over_the_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(Config(dataset="digits", sweep=True, epochs=7, hparams=("learning_rate=0.1",)).json()))
    found = parse(["--config", str(path), "--epochs", "3"])
    assert (found.dataset, found.epochs, found.hparams) == ("digits", 3, ("learning_rate=0.1",))
    assert parse(["--config", str(path)]).lam == Config(sweep=True).lam
    assert parse(["--config", str(path), "--lam", "0.5"]).lam == (0.5,)
    assert parse([f"--config={path}"]).identity() == of_file(path).identity()
    assert "config" not in found.json()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        ("{", "name the config.json of a run directory"),
        ("[1]", "no object of options"),
        ('{"epoch": 3}', "has what is no option: epoch"),
        ('{"epochs": "six"}', "a value of the wrong kind"),
        ('{"epochs": 0}', "--epochs 0: must be at least 1"),
    ],
)
def test_a_file_that_is_no_config_is_refused(tmp_path, content, why):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match=why):
        parse(["--config", str(path)])


def test_two_sources_of_all_options_are_one_too_many(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{}")
    with pytest.raises(SystemExit, match="leave one out"):
        parse(["--config", str(path), "--preset", "centerloss"])
