"""Trains a table of members into a run directory: compiled, resumable; keeps the best epoch if asked."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from safetensors.numpy import load_file, save_file

import adjax
from adjax import loop, metrics, pipeline, train
from adjax._trees import by_path
from adjax.augment import Normalise
from adjax.checkpoint import Checkpoints
from adjax.pipeline import Built, member
from adjax.sharding import on_all_processes, to_host
from adjax.train import Members, Program, State
from adjax.types import PyTree
from experiments import tensorboard
from experiments.config import Config
from experiments.console import Training
from experiments.rundir import SCHEMA, MetricsLog, environment, logged_s, read_log, write_json


class Trained(NamedTuple):
    """What training leaves.

    Attributes:
      params, untrained: of every member, stacked [M, ...], on the host; at the end (or the best epoch), and before it.
      steps, resumed_from_step: that were trained; where this process began.
      compile_s, train_s: seconds; training in all, also by earlier processes that this one went on from.
      earlier_s: of train_s, what earlier processes trained.
      best: early stopping's record, a step and validation AUROC for each member; empty without it.
      stopped: the signal that ended it early; None if it is done.
    """

    params: PyTree
    untrained: PyTree
    steps: int
    resumed_from_step: int
    compile_s: float
    train_s: float
    earlier_s: float
    best: dict[str, list]
    stopped: int | None


def run(
    config: Config,
    console: Console,
    built: Built,
    images: np.ndarray,
    table: Members,
    normalise: Normalise,
    directory: Path,
    data_sha256: str,
    validate: Validation | None = None,
    names: Sequence[str] = (),
) -> Trained:
    """Trains all members as one program, from the newest checkpoint in `directory` if there is one.

    Args:
      config: its options.
      console: where progress is shown.
      built: what to train.
      images: uint8[N, H, W, C].
      table: the members.
      normalise: pixel values to network input.
      directory: gets checkpoints, metrics.jsonl, config.json, environment.json, and TensorBoard's files if asked.
      data_sha256: of the training set.
      validate: what `--patience` keeps the best epoch by.
      names: of the members, for TensorBoard.
    """
    steps, count = config.steps(int(table.count.max())), len(table.seed)
    # Everything that a resumed run must share with its checkpoint is a fact of it.
    facts = {
        **config.identity(),
        "schema": SCHEMA,
        "data_sha256": data_sha256,
        "steps": steps,
        "jax": jax.__version__,
        "adjax": adjax.__version__,
    }
    sizes: dict[str, Any] = {"batch_size": config.batch_size, "steps_per_dispatch": config.steps_per_dispatch}
    train.check(built.method, images, table, **sizes, augment=config.augment())  # before anything is opened
    first_process = jax.process_index() == 0
    if first_process and not config.resume:
        shutil.rmtree(directory / "checkpoints", ignore_errors=True)
        shutil.rmtree(directory / "best", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    on_all_processes(True)  # none opens the checkpoints before they are cleared
    done, train_s, earlier_s, log, curves, best = 0, 0.0, 0.0, None, None, None
    steps_per_epoch = 0
    with (
        Checkpoints(directory / "checkpoints", facts) as checkpoints,
        loop.StopSignal() as stop,
        Training(console, steps, count * config.batch_size, "training") as progress,
    ):

        def compiled(program: Program) -> int | None:
            nonlocal steps_per_epoch
            steps_per_epoch = program.steps_per_epoch
            console.print(f"compiled in {program.compile_s:.1f} s", highlight=False)
            return Best.ended_at(directory / "best") if checkpoints.any() else None

        def resumed(step: int) -> None:
            nonlocal done, log, curves, train_s, best
            done = step
            if validate is not None and config.patience is not None:
                best = Best(directory / "best", count, step, writes=first_process, of=validate.of)
            if first_process:
                write_json(directory / "config.json", config.json())
                write_json(directory / "environment.json", environment("experiments.run"))
                log = MetricsLog(directory / "metrics.jsonl", step)
                if config.tensorboard:
                    members = names or [f"member {m}" for m in range(count)]
                    curves = tensorboard.Curves(directory / tensorboard.NAME, members, step)
            progress.start(step)
            train_s = time.perf_counter()

        def report(step: int, metrics: dict[str, np.ndarray]) -> None:
            if log is not None:
                log.write(step, metrics)
            if curves is not None:
                curves.write(step, metrics)
            shown = [name for name in ("loss", "accuracy") if name in metrics]
            news = "  ".join(f"{name} {metrics[name].mean():.4f}" for name in shown)
            progress.advance(step, news + (f"  best validation {best.said()}" if best and best.file else ""))

        def after_epoch(step: int, state: State) -> bool:
            if best is None or validate is None:
                return False
            params = to_host(state.members["params"])
            best.offer(step, params, validate.figures(params))
            ended = best.since(step) >= (config.patience or 0) * steps_per_epoch
            return ended and best.end(step)

        trained = pipeline.train_members(
            built,
            images,
            table,
            normalise,
            steps,
            **sizes,
            augment=config.augment(),
            checkpoints=checkpoints,
            stop=stop,
            compiled=compiled,
            report=report,
            resumed=resumed,
            after_epoch=after_epoch,
            layout=config.layout,
            resident=config.resident,
        )
        train_s = time.perf_counter() - train_s
    for written in (log, curves):
        if written is not None:
            written.close()
    if done and first_process:  # what earlier processes trained counts as well
        own_s, train_s = train_s, logged_s(read_log(directory / "metrics.jsonl"))
        earlier_s = max(train_s - own_s, 0.0)
    params, program = trained.params, trained.program
    assert program is not None  # what trains nothing does not come here
    blank = to_host(program.init(program.table).members["params"])
    record: dict[str, list] = {}
    if best is not None:
        params, record = best.params(params), best.record()
    return Trained(params, blank, trained.steps, done, program.compile_s, train_s, earlier_s, record, stop.received)


class Validation(NamedTuple):
    """What an epoch is the best by.

    Attributes:
      of: "auroc", higher = better, or "error", lower = better.
      figures: `params [M, ...] -> float[M]`.
    """

    of: str
    figures: Callable[[PyTree], np.ndarray]


class Best:
    """Each member's best epoch so far, on disk, so that a resumed run remembers it.

    Training is deterministic: what was written after the checkpoint that a run resumes from comes out the same again.
    """

    def __init__(self, directory: Path, members: int, step: int, writes: bool = True, of: str = "auroc"):
        """Goes on from `step`; a record of another number of members, or without a checkpoint, is dropped. One of
        several processes `writes`, and all remember. `of` as in `Validation`."""
        self.directory, self._writes, self.of = directory, writes, of
        self._sign = -1 if of == "error" else 1
        self.scores, self.steps = np.full(members, -np.inf * self._sign), np.zeros(members, int)
        self.arrays: dict[str, np.ndarray] = {}
        self.file = ""
        if step and (directory / "best.json").is_file():
            found = json.loads((directory / "best.json").read_text())
            if len(found.get(of, ())) == members:
                self.scores, self.steps = np.array(found[of]), np.array(found["step"])
                self.file = found["arrays"]
                self.arrays = load_file(directory / f"{self.file}.safetensors") if self.file else {}

    def offer(self, step: int, params: PyTree, scores: np.ndarray) -> None:
        """Takes the members that are better than they ever were."""
        scores = np.where(np.isnan(scores), -np.inf * self._sign, scores)
        better = scores * self._sign > self.scores * self._sign
        if not better.any():
            return
        for name, leaf in by_path(params).items():
            kept = self.arrays.get(name)
            fresh = np.array(leaf) if kept is None else np.array(kept)
            fresh[better] = np.asarray(leaf)[better]
            self.arrays[name] = fresh
        self.scores, self.steps = np.where(better, scores, self.scores), np.where(better, step, self.steps)
        self.file = f"step-{step}"
        if not self._writes:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        save_file(self.arrays, self.directory / f"{self.file}.safetensors")
        self._write(None)
        for old in self.directory.glob("step-*.safetensors"):
            if old.stem != self.file:
                old.unlink()

    def end(self, step: int) -> bool:
        """Notes that training ends after `step`, so that a run which is started again trains no further."""
        self._write(step)
        return True

    @staticmethod
    def ended_at(directory: Path) -> int | None:
        """The step after which training was ended early; None if it was not."""
        record = directory / "best.json"
        return json.loads(record.read_text())["ended_at"] if record.is_file() else None

    def _write(self, ended_at: int | None) -> None:
        if not self._writes:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        record = {self.of: self.scores.tolist(), "step": self.steps.tolist(), "arrays": self.file, "ended_at": ended_at}
        write_json(self.directory / "best.json", record)

    def since(self, step: int) -> int:
        """Steps since any member was better than before."""
        return step - int(self.steps.max())

    def said(self) -> str:
        """Name and mean over members, for the progress."""
        return f"{'AUROC' if self.of == 'auroc' else self.of} {self.scores.mean():.4f}"

    def params(self, like: PyTree) -> PyTree:
        """The best parameters, in the structure of `like`, which is taken if nothing was ever offered."""
        if not self.arrays:
            return like
        return jax.tree.unflatten(jax.tree.structure(like), [self.arrays[name] for name in by_path(like)])

    def record(self) -> dict[str, list]:
        """For results.json."""
        return {"step": self.steps.tolist(), f"validation_{self.of}": self.scores.tolist()}


def validation_error(score: Callable[[PyTree, int], np.ndarray], members: int) -> Callable[[PyTree], np.ndarray]:
    """Builds the mean error of held-out normal images, by which a method without labelled anomalies stops.

    Args:
      score: `(member's params, m) -> float[N]`, the reconstruction errors of member m's held-out images.
      members: how many there are, M.

    Returns:
      `params [M, ...] -> float[M]`.
    """
    return lambda params: np.array([float(np.mean(score(member(params, m), m))) for m in range(members)])


def validation_auroc(score: Callable[[PyTree, int], np.ndarray], truths: list[np.ndarray]):
    """`params [M, ...] -> AUROC [M]` on each member's validation images; `score(member's params, m)` scores them."""

    def validate(params: PyTree) -> np.ndarray:
        members = range(len(truths))
        scores = [score(member(params, m), m) for m in members]
        return np.array([float(metrics.auroc(jnp.asarray(s), t)) for s, t in zip(scores, truths, strict=True)])

    return validate
