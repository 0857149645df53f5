"""Runs one experiment from images to a table: `python -m experiments.run --method centerloss`. Reads top to bottom."""

from __future__ import annotations

import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from adjax import extraction, process, surface
from adjax.data.datasets.table import read_table
from adjax.features import batch_size_for
from adjax.report import write as write_report
from experiments import evaluate, figures, hosts, judging, members, record, report, study, tensorboard, views
from experiments.config import Config, parse
from experiments.console import closing_table, setting_name
from experiments.rundir import environment, write_json


def main(argv: list[str] | None = None) -> int:
    """Runs the experiment of the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return hosts.leaving(lambda: surface.run(_main, arguments))


def _main(argv: list[str]) -> int:
    config = parse(argv)
    if config.distributed:
        hosts.join()
    width = None if sys.stdout.isatty() else 160  # a log file has no edge to wrap at
    try:
        return run(config, Console(quiet=jax.process_index() > 0, width=width))
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if (told := hosts.lost(error)) is not None:
            raise told from error
        raise


def run(config: Config, console: Console) -> int:
    """Trains all members as one program, evaluates each, writes the run directory."""
    started, where = time.perf_counter(), environment("experiments.run")
    directory = config.directory()
    if config.tensorboard:
        tensorboard.check()
    if config.score_table is not None:
        read_table(config.score_table)  # before hours of training
    given = study.images(config)
    config, notes = given.config, [given.note]

    # What is trained, on whose images; the table of members: every setting of the hyper-parameters with every trial.
    recipe, shape = members.recipe(config), given.train.images.shape[1:]
    loaded = study.load(given, recipe.supervision(shape))
    rule = evaluate.Rule(config.threshold, config.quantile)
    evaluate.check(rule, loaded.benchmark, len(loaded.classes))
    built = recipe.build(shape, loaded.classes)
    settings = config.settings(dict(built.method.hparams))
    table = members.members(config, settings, loaded.benchmark.trials)
    steps = config.steps(int(table.count.max()))
    built = dataclasses.replace(recipe, weights=built.weights).build(shape, loaded.classes, steps=steps)
    normalise = built.normalise(loaded.benchmark.train.images)
    if built.weights is not None and built.weights.params is None:
        notes.append("RANDOM WEIGHTS: this network was not pre-trained")
    extraction.check_scorer(built.spec, built.head_drawn)
    evaluate.check_scorer(rule, built.spec, loaded.benchmark)
    others = judging.others(config, built)
    note = "; ".join(filter(None, notes))
    announce(console, config, loaded, table, settings, steps if built.method.step else 0, note)

    trained = members.fit(config, console, built, normalise, loaded, table, directory)
    ceiling, stopped = None, trained.stopped
    if config.method == "gan" and stopped is None:
        ceiling = judging.train_ceiling(config, console, loaded, directory)
        stopped = ceiling.trained.stopped
    if stopped is not None:
        console.print("stopped; the same command continues from there")
        return 0 if stopped == signal.SIGTERM else 130
    if jax.process_index() > 0:
        return 0

    done = judging.Setting(config, given, built, normalise, loaded, table, settings, others, trained, ceiling)
    outcome = judging.compare(done, judging.judge(done, console), console)
    detector = outcome.judged[outcome.first].detector
    test_images = loaded.benchmark.test.images[loaded.benchmark.trials[0].test]
    detector.score(test_images[: batch_size_for(built.spec.seen_shape)])  # compiled apart from the rate
    clock = time.perf_counter()
    detector.score(test_images)
    rate = len(test_images) / (time.perf_counter() - clock)
    results = record.results(done, outcome, note)
    results |= {"timing": record.timing(done, rate, time.perf_counter() - started), "environment": where}

    write_json(directory / "results.json", results)
    saved = record.save(directory, results, outcome.judged, loaded.benchmark.trials, outcome.first)
    if config.score_table is not None:
        saved.append(record.score_table(config, detector, directory))
    written = figures.draw(directory, results, outcome.judged, loaded, normalise)
    shown = views.collect(results, outcome.judged, loaded, normalise)
    views.save(directory / views.FILE, shown)
    written.append(write_report(report.of_run(results, shown), directory / report.PAGE))
    show(console, config, directory, results, [*saved, *written])
    return 0


def announce(
    console: Console,
    config: Config,
    loaded: study.Loaded,
    table: members.Members,
    settings: list[dict[str, float]],
    steps: int,
    note: str,
) -> None:
    """What is about to be trained."""
    if note:
        console.print(f"[bold red]{note}[/]")
    varied = "; ".join(filter(None, (setting_name(s, settings) for s in settings)))
    trials = loaded.benchmark.trials
    console.print(
        f"{config.method} on {loaded.benchmark.name}: {len(table.seed)} members ({varied + '; ' if varied else ''}"
        f"{len(trials)} {', '.join(trials[0].name)}), {table.count.max():,} images each, "
        + (f"{steps:,} steps, " if steps else "nothing to train, ")
        + f"{len(jax.devices())} {jax.devices()[0].platform} device(s)",
        highlight=False,
    )


def show(console: Console, config: Config, directory: Path, results: dict[str, Any], written: list[Path]) -> None:
    """The closing table, where everything is, and what to try next."""
    console.print()
    if results["note"]:
        console.print(f"[bold red]{results['note']}[/]")
    console.print(closing_table(results))
    timing = results["timing"]
    rate = timing["train_images_per_s"]
    console.print(
        (f"trained in {timing['train_s']:.0f} s ({rate:,.0f} images/s), " if rate is not None else "")
        + f"scored at {timing['score_images_per_s']:,.0f} images/s, {timing['total_s']:.0f} s in all",
        highlight=False,
    )
    for path in (directory / "results.json", *written):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print("\nNext:")
    if config.method == "centerloss" and len(config.lam) == 1:
        console.print("  python -m experiments.run --method centerloss --sweep      # what λ does, as one program")
    detector = next(path for path in written if path.name in ("detector", "detectors"))
    if detector.name == "detectors":
        detector = sorted(detector.iterdir())[0]
    console.print(f"  python -c \"import adjax; print(adjax.load('{detector}'))\"", soft_wrap=True)


if __name__ == "__main__":
    process.prepare()
    surface.leave(main())
