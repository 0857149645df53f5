"""What all commands share: help at once, ranges, names without imports."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adjax import __main__, data, methods, models, scorers
from adjax.cli import export
from adjax.cli.parsers import _common, train
from adjax.cli.parsers import export as export_options
from adjax.predict.loading import find_detector

COMMANDS = list(__main__.COMMANDS)


@pytest.mark.parametrize(
    ("package", "registry", "entries"),
    [
        ("adjax.methods", "METHODS", methods.METHODS),
        ("adjax.models", "MODELS", models.MODELS),
        ("adjax.scorers", "SCORERS", scorers.SCORERS),
        ("adjax.data.registry", "DATASETS", data.DATASETS),
    ],
)
def test_names_read_from_the_source_are_those_of_the_registry(package, registry, entries):
    assert _common.names(package, registry) == tuple(entries)
    with pytest.raises(LookupError, match="has no dict NOTHING"):
        _common.names(package, "NOTHING")


def test_methods_of_train_learn_without_labelled_anomalies():
    assert all("anomalies" not in methods.entry(name).supervision for name in train.METHODS)


def test_help_and_mistakes_import_no_jax():
    """Which takes seconds, for a line of text."""
    script = (
        "import sys\nfrom adjax.__main__ import main\n"
        f"for command in {COMMANDS}:\n"
        "    for arguments in (['--help'], ['--no-such-option']):\n"
        "        try:\n            main([command, *arguments])\n"
        "        except SystemExit as end:\n            assert (end.code == 0) == (arguments == ['--help'])\n"
        "print(sorted({'jax', 'flax', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout[-200:] + result.stderr[-2000:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "f", "--seed", "-1"], "--seed: -1: must be between 0 and 2,147,483,647"),
        (["train", "f", "--seed", "2147483648"], "must be between 0 and 2,147,483,647"),
        (["train", "f", "--steps", "0"], "--steps: 0: must be between 1 and"),
        (["train", "f", "--side-px", "1.5"], "--side-px: '1.5': must be a whole number"),
        (["train", "f", "--side-px", "1000000"], "must be between 8 and 4,096"),
        (["train", "f", "--false-positive-rate", "1"], "--false-positive-rate: 1: must lie between 0 and 1"),
        (["train", "f", "--false-positive-rate", "nan"], "nan: must lie between 0 and 1"),
        (["train", "f", "--tiles", "--frame", "letterbox"], "--frame: not allowed with argument --tiles"),
        (["predict", "d", "f", "--out", "o.csv", "--batch-size", "0"], "--batch-size: 0: must be between 1 and"),
        (["predict", "d", "f", "--out", "o.csv", "--threads", "x"], "--threads: 'x': must be a whole number"),
        (["predict", "d", "f", "--out", "o.csv", "--false-positive-rate", "a"], "'a': must be a number"),
    ],
)
def test_a_number_out_of_its_range_is_refused_by_name(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        __main__.main(arguments)
    assert message in capsys.readouterr().err


def test_the_help_of_train_says_what_weights_may_be(capsys):
    with pytest.raises(SystemExit, match="0"):
        __main__.main(["train", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "'random' for a network that knows nothing (default: the published ones)" in said


def test_the_help_of_export_names_the_path_that_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/parts", "runs/centerloss/detector", "runs/deep_svdd/detectors/t-shirt"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "manifest.json").touch()
    examples = re.findall(r"adjax export (\S+)(?: --to (\w+))? .*into (\S+)(.*)", export_options.EPILOG)
    assert len(examples) == 4
    for run, to, out, beside in examples:
        named = Path(run).parent / out if "beside it" in beside else Path(out)
        assert export.target(find_detector(Path(run)), to or "stablehlo") == named


@pytest.mark.parametrize("command", __main__.COMMANDS)
def test_no_help_sends_its_reader_to_the_source(command):
    told = importlib.import_module(f"adjax.cli.parsers.{command}").parser().format_help()
    assert not re.findall(r"\S+\.py\b", told)
    root = Path(__main__.__file__).parents[1]
    assert all((root / page).is_file() for page in re.findall(r"docs/[\w/-]+\.md", told))
