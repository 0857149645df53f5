"""`python -m adjax refit`: another scorer on the network of a trained run."""

from __future__ import annotations

from pathlib import Path

from adjax import serialization
from adjax.auto import earlier
from adjax.cli import train
from adjax.cli._common import start
from adjax.cli.parsers import train as train_options
from adjax.cli.parsers.refit import parser
from adjax.data.split import DataError
from adjax.predict.loading import find_detector


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax refit ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    console = start()
    directory = find_detector(chosen.run)
    out = chosen.out or directory.with_name(f"{directory.resolve().name}-{chosen.scorer}")
    if out.resolve() == directory.resolve():
        raise DataError(f"--out {out} is the run that is refitted: name another")
    serialization.FORMAT.check_target(out)
    run = earlier.read(directory)
    again = [*run.record["arguments"], "--scorer", chosen.scorer, "--out", str(out.resolve())]
    options, base = train_options.parser().parse_args(again), Path(run.record["directory"])
    options.arguments, options.directory = again, str(base)
    options.folder = base / options.folder
    options.scratch = options.scratch and base / options.scratch
    options.labels = options.labels and base / options.labels
    if options.weights and (base / options.weights).is_file():
        options.weights = str(base / options.weights)
    options.out = out
    return train.run(console, options, run)
