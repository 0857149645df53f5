"""For those who keep track: TensorBoard's files, a config.json read again. Whole runs: test_experiments.py."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from training import events

from adjax import distribution
from experiments import tensorboard
from experiments.config import Config, of_file, parse
from experiments.run import main


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
    assert main(["--dataset", "digits", "--tensorboard", "--out", str(tmp_path / "run")]) == 1
    assert distribution.install("tensorboard") in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


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
        ('{"epochs": 0}', "--epochs 0: must be between 1 and"),
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


def test_old_options_are_taken_and_said_to_be_old(tmp_path, capsys):
    found = parse(["--turn-deg", "3", "--stretch=0.2", "--bend_px", "1"])
    assert (found.rotation_deg, found.scale, found.elastic_px) == (3, 0.2, 1)
    said = capsys.readouterr().err.splitlines()
    assert said == ["--turn-deg is now --rotation-deg", "--stretch is now --scale", "--bend_px is now --elastic-px"]
    assert parse(["--rotation-deg", "3", "--scale", "0.2", "--elastic-px", "1"]) == found
    assert not capsys.readouterr().err


def test_files_keep_the_old_options(tmp_path):
    path, config = tmp_path / "config.json", Config(rotation_deg=3, scale=0.2, elastic_px=1)
    path.write_text(json.dumps(config.json()))
    assert {"turn_deg": 3, "stretch": 0.2, "bend_px": 1}.items() <= json.loads(path.read_text()).items()
    assert of_file(path) == config
