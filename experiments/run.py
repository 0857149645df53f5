"""Runs one experiment from images to a table: `python -m experiments.run --method centerloss`. Reads top to bottom."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape

import adjax
from adjax import data, loop, methods, models, train
from adjax.augment import Augment, normalise_of
from adjax.checkpoint import Checkpoints, MismatchError
from adjax.data.protocols import validation_split
from adjax.detector import Spec
from adjax.sharding import on_all_processes, to_host
from experiments import evaluate, figures
from experiments.config import Config, load_task, parse
from experiments.console import Training, closing_table
from experiments.references import REFERENCES
from experiments.rundir import SCHEMA, MetricsLog, environment, write_json


def main(argv: list[str] | None = None) -> int:
    """Runs the experiment of the command line; returns the exit status."""
    config = parse(argv)
    if config.distributed:
        jax.distributed.initialize()
    width = None if sys.stdout.isatty() else 160  # a log file has no edge to wrap at
    console = Console(quiet=jax.process_index() > 0, width=width)
    try:
        return run(config, console)
    except (data.DataError, MismatchError, ValueError) as error:
        Console(stderr=True, width=width).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
        return 1


def run(config: Config, console: Console) -> int:
    """Trains all members as one program, judges each, writes the run directory."""
    started, where = time.perf_counter(), environment()
    directory = config.directory()
    config, task, note = load_task(config)
    if note:
        console.print(f"[bold red]{note}[/]")
    shape, classes = task.train.images.shape[1:], len(task.classes)

    # The table of members: every λ with every seed; a seed splits, initialises and shuffles alike under every λ.
    seeds = range(config.seed, config.seed + config.seeds)
    settings = [(lam, seed) for lam in config.lam for seed in seeds]
    splits = {seed: validation_split(task.train.labels, config.validation, seed) for seed in seeds}
    table = train.members(
        {
            "lam": [lam for lam, _ in settings],
            "learning_rate": [config.learning_rate] * len(settings),
            "weight_decay": [config.weight_decay] * len(settings),
        },
        [seed for _, seed in settings],
        rows=[splits[seed][0] for _, seed in settings],
        labels=[task.train.labels[splits[seed][0]] for _, seed in settings],
    )
    steps = config.steps(int(table.count.max()))
    network = models.make(config.model, shape, classes)
    method = methods.make(config.method, network, shape, classes, steps=steps)
    normalise = normalise_of(task.train.images)

    console.print(
        f"{config.method} on {task.name}: {len(settings)} members (λ {', '.join(f'{v:g}' for v in config.lam)}; seeds "
        f"{seeds[0]}–{seeds[-1]}), {table.count.max():,} images each, {steps:,} steps, "
        f"{len(jax.devices())} {jax.devices()[0].platform} device(s)",
        highlight=False,
    )
    program = train.compile_program(
        method,
        task.train.images,
        table,
        normalise,
        batch_size=config.batch_size,
        augment=Augment(shift_px=config.shift_px),
        steps_per_dispatch=config.steps_per_dispatch,
        layout=config.layout,
    )
    console.print(f"compiled in {program.compile_s:.1f} s", highlight=False)

    # Training: everything that a resumed run must share with its checkpoint is a fact of it.
    facts = {
        **config.identity(),
        "schema": SCHEMA,
        "data_sha256": data.digest(task.train),
        "steps": steps,
        "jax": jax.__version__,
        "adjax": adjax.__version__,
    }
    first_process = jax.process_index() == 0
    if first_process and not config.resume:
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    on_all_processes(True)  # none opens the checkpoints before they are cleared
    done, trained_s, log = 0, 0.0, None
    with (
        Checkpoints(directory / "checkpoints", facts) as checkpoints,
        loop.StopSignal() as stop,
        Training(console, steps, len(settings) * config.batch_size, "training") as progress,
    ):

        def resumed(step: int) -> None:
            nonlocal done, log, trained_s
            done = step
            if first_process:
                write_json(directory / "config.json", config.json())
                log = MetricsLog(directory / "metrics.jsonl", step)
            progress.start(step)
            trained_s = time.perf_counter()

        def report(step: int, metrics: dict[str, np.ndarray]) -> None:
            if log is not None:
                log.write(step, metrics)
            progress.advance(step, f"loss {metrics['loss'].mean():.4f}  accuracy {metrics['accuracy'].mean():.4f}")

        state = loop.train(program, steps, checkpoints, stop=stop, report=report, resumed=resumed)
        jax.block_until_ready(state)
        trained_s = time.perf_counter() - trained_s
    if log is not None:
        log.close()
    if stop.received is not None:
        console.print(f"stopped after step {int(state.step):,}; the same command continues from there")
        return 0 if stop.received == signal.SIGTERM else 130

    # Judging: on the first process, one member after another, features extracted once for all scorers.
    params = to_host(state.members["params"])
    untrained = to_host(program.init(program.table).members["params"])
    if not first_process:
        return 0
    options = (("shrinkage", config.shrinkage),)
    spec = Spec(config.method, config.model, config.scorer, shape, tuple(task.classes), options)

    def judge(params: Any, m: int) -> evaluate.Judged:
        member = jax.tree.map(lambda x: x[m], params)
        return evaluate.judge(spec, member, normalise, task, *splits[settings[m][1]], config.quantile)

    judged = []
    for m, (lam, seed) in enumerate(settings):
        judged.append(judge(params, m))
        own = judged[-1].metrics
        console.print(
            f"λ={lam:g} seed={seed}: class F1 {own['f1']:.4f}, OOD AUROC {own['ood_auroc']:.4f}, "
            f"FPR95 {own['ood_fpr95']:.2%}, OOD F1 {own['ood_f1']:.4f}",
            highlight=False,
        )
    members = [
        {"hparams": {k: float(str(v[m])) for k, v in table.hparams.items()}, "seed": seed}  # 0.1, not its float32
        | {"metrics": judged[m].metrics, "scorers": judged[m].scorers}
        for m, (_, seed) in enumerate(settings)
    ]
    groups = [
        {"hparams": part[0]["hparams"], "summary": evaluate.summary(part)}
        for part in (members[i : i + config.seeds] for i in range(0, len(members), config.seeds))
    ]
    # The detector to keep: the first seed under the method's own λ, if that is among those trained.
    own_lam = method.hparams["lam"]
    kept = config.lam.index(own_lam) if own_lam in config.lam else 0
    first = kept * config.seeds
    comparisons: dict[str, Any] = {
        name: evaluate.summary([{"metrics": j.scorers[name]} for j in judged[first : first + config.seeds]])
        for name in judged[first].scorers
    }
    blank = [{"metrics": judge(untrained, m).metrics} for m in range(first, first + config.seeds)]
    comparisons["same network, untrained"] = evaluate.summary(blank)
    comparisons["pixel PCA, 30 components"] = evaluate.pixel_pca(task, splits[seeds[0]][0])

    detector = judged[first].detector
    test_images = np.concatenate([task.test.images, task.ood.images])
    clock = time.perf_counter()
    detector.score(test_images)
    results = {
        "schema": SCHEMA,
        "method": config.method,
        "model": config.model,
        "note": note,
        "dataset": {
            "name": task.name,
            "sha256": {"train": data.digest(task.train), "test": data.digest(task.test)},
            "counts": {
                "train": int(table.count.max()),
                "held_out": len(splits[seeds[0]][1]),
                "test": len(task.test.images),
            },
            "classes": list(task.classes),
        },
        "ood": {
            "name": task.ood_name,
            "sha256": {"test": data.digest(task.ood)},
            "counts": {"test": len(task.ood.images)},
        },
        "config": config.json(),
        "members": members,
        "groups": groups,
        "summary": groups[kept]["summary"],
        "kept": {"member": first, "hparams": groups[kept]["hparams"]},
        "comparisons": comparisons,
        "timing": {
            "compile_s": program.compile_s,
            "train_s": trained_s,
            "train_images_per_s": (steps - done) * config.batch_size * len(settings) / trained_s,
            "resumed_from_step": done,
            "score_images_per_s": len(test_images) / (time.perf_counter() - clock),
            "total_s": time.perf_counter() - started,
        },
        "environment": where,
        "references": REFERENCES.get((config.method, config.model, task.name, task.ood_name), []),
    }
    write_json(directory / "results.json", results)
    detector.save(directory / "detector")
    written = figures.draw(directory, results, judged, settings, task, note)
    show(console, config, directory, results, written)
    return 0


def show(console: Console, config: Config, directory: Path, results: dict[str, Any], written: list[Path]) -> None:
    """The closing table, where everything is, and what to try next."""
    console.print()
    if results["note"]:
        console.print(f"[bold red]{results['note']}[/]")
    console.print(closing_table(results))
    timing = results["timing"]
    console.print(
        f"trained in {timing['train_s']:.0f} s ({timing['train_images_per_s']:,.0f} images/s), scored at "
        f"{timing['score_images_per_s']:,.0f} images/s, {timing['total_s']:.0f} s in all",
        highlight=False,
    )
    for path in (directory / "results.json", directory / "detector", *written):
        console.print(f"  {path}", highlight=False, soft_wrap=True)
    console.print("\nNext:")
    if len(config.lam) == 1:
        console.print("  python -m experiments.run --method centerloss --sweep      # what λ does, as one program")
    console.print(f"  python -c \"import adjax; print(adjax.load('{directory / 'detector'}'))\"", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
