"""What an experiment is, as one frozen dataclass; the command line and `config.json` are its two spellings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg

from adjax.data import DataError
from adjax.data.protocols import Task, task
from adjax.methods import METHODS
from adjax.models import MODELS
from adjax.scorers import SCORERS

SWEEP_LAMS = (0.0, 0.001, 0.01, 0.1, 1.0)
"""λ of the center-loss paper."""
EPOCHS, MIN_STEPS = 20, 4000
"""The default length of a training: so many epochs, and of a small set at least so many steps."""


@dataclass(frozen=True)
class Config:
    """Train a detector on normal images, then judge it by images that don't belong.

    Without options this is the main experiment: MNIST digits are normal, Fashion-MNIST is not; LeNet-5 with center
    loss, Mahalanobis distance to the classes. It writes a run directory with results.json, plots and the detector.
    """

    method: Annotated[Literal[tuple(METHODS)], arg(help="what training optimises")] = "centerloss"
    dataset: Annotated[
        str | None,
        arg(help="normal images: a name of `python -m adjax data list`, tfds:NAME, or a path. Unset: mnist, or digits "
            "if mnist can't be had"),
    ] = None  # fmt: skip
    ood: Annotated[
        str | None,
        arg(help="images that don't belong: another set, or holdout:0 (or holdout:0,3) for classes of the set itself. "
            "Unset: fashion_mnist for mnist, holdout:0 for any other"),
    ] = None  # fmt: skip
    model: Annotated[Literal[tuple(MODELS)], arg(help="the network")] = "lenet5"
    lam: Annotated[
        tuple[float, ...], arg(help="weight λ of the center loss; several values are trained as one program")
    ] = (0.1,)
    sweep: Annotated[bool, arg(help="the paper's sweep: same as --lam 0 0.001 0.01 0.1 1")] = False
    seeds: Annotated[int, arg(help="independent runs of each setting, trained as one program")] = 1
    seed: Annotated[int, arg(help="the first seed; the others follow it")] = 0
    epochs: Annotated[
        int | None,
        arg(help=f"passes over the training images. Unset: {EPOCHS}, or what {MIN_STEPS:,} steps take"),
    ] = None
    batch_size: Annotated[int, arg(help="images a step and member, over all devices")] = 128
    learning_rate: Annotated[float, arg(help="peak of Adam's learning rate")] = 3e-3
    weight_decay: Annotated[float, arg(help="decoupled weight decay, as in AdamW")] = 0.3
    shift_px: Annotated[int, arg(help="augmentation: random shifts of at most so many pixels")] = 1
    validation: Annotated[
        float, arg(help="share of the training images held out, for conformal thresholds and p-values")
    ] = 0.1
    scorer: Annotated[Literal[tuple(SCORERS)], arg(help="features to anomaly score")] = "mahalanobis"
    shrinkage: Annotated[float, arg(help="shrinkage of the covariance towards its mean variance, 0 (none) to 1")] = 0.3
    quantile: Annotated[float, arg(help="class thresholds: quantile of the class's own training distances")] = 0.975
    out: Annotated[Path | None, arg(help="run directory. Unset: runs/NAME-HASH, the same for the same options")] = None
    resume: Annotated[bool, arg(help="continue an interrupted run bit for bit; --no-resume starts it afresh")] = True
    data_dir: Annotated[Path | None, arg(help="where the data sets lie, if you have them")] = None
    steps_per_dispatch: Annotated[int, arg(help="optimiser steps a call of the program; changes no result")] = 32
    layout: Annotated[
        Literal["auto", "vmap", "map"],
        arg(help="members inside a device: together (vmap) or in turn (map); auto: map on CPU"),
    ] = "auto"
    distributed: Annotated[
        bool, arg(help="several hosts: call jax.distributed.initialize() first (see JAX's documentation)")
    ] = False

    def __post_init__(self):
        if self.sweep:
            object.__setattr__(self, "lam", SWEEP_LAMS)
        bounds = {
            "seeds": (1, None),
            "epochs": (1, None),
            "batch_size": (1, None),
            "steps_per_dispatch": (1, None),
            "shift_px": (0, None),
            "weight_decay": (0, None),
            "shrinkage": (0, 1),
            "quantile": (0, 1),
            "validation": (0, 0.9),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if value is not None and not (value >= low and (high is None or value <= high)):
                limit = f"at least {low}" if high is None else f"between {low} and {high}"
                raise ValueError(f"--{name.replace('_', '-')} {value}: must be {limit}")
        if not self.lam or not all(0 <= v < float("inf") for v in self.lam):
            raise ValueError(f"--lam {' '.join(map(str, self.lam))}: each must be finite and at least 0")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"--learning-rate {self.learning_rate}: must be finite and above 0")

    def steps(self, images: int) -> int:
        """Optimiser steps of the whole training, for so many training images of the largest member."""
        each = max(images // self.batch_size, 1)
        return each * (self.epochs or max(EPOCHS, -(-MIN_STEPS // each)))

    def json(self) -> dict[str, Any]:
        """As JSON values; without the places of one machine."""
        places = ("out", "data_dir")
        return {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(self).items() if k not in places}

    def identity(self) -> dict[str, Any]:
        """The options that a result depends on: not where it is written, nor how it is dispatched."""
        elsewhere = ("resume", "steps_per_dispatch", "layout", "distributed", "sweep")
        return {k: v for k, v in self.json().items() if k not in elsewhere}

    def directory(self) -> Path:
        """`--out`, or one that the same options always get and others never."""
        if self.out is not None:
            return self.out
        mark = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:8]
        dataset = self.dataset or "mnist"
        name = f"{self.method}-{Path(dataset).name}-{Path(self.ood or own_ood(dataset)).name}"
        return Path("runs") / f"{name.replace(':', '_').replace(',', '_')}-{mark}"


def own_ood(dataset: str) -> str:
    """What doesn't belong to a set, where the command line does not say."""
    return "fashion_mnist" if dataset == "mnist" else "holdout:0"


def parse(argv: list[str] | None = None) -> Config:
    """Reads the command line; on a mistake says what is wrong and exits with 2."""
    try:
        return tyro.cli(Config, args=argv, prog="python -m experiments.run", config=(tyro.conf.OmitArgPrefixes,))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


def load_task(config: Config) -> tuple[Config, Task, str]:
    """The data of an experiment; the config with `dataset` and `ood` filled in; a note if they are a stand-in.

    Raises:
      DataError: a named set can't be had. Only if none was named, digits stand in for MNIST.
    """
    dataset = config.dataset or "mnist"
    ood = config.ood or own_ood(dataset)
    note = ""
    try:
        found = task(dataset, ood, config.data_dir)
    except DataError as error:
        if config.dataset is not None or config.ood is not None:
            raise
        dataset, ood = "digits", "holdout:0"
        note = "STAND-IN DATA: scikit-learn's 8x8 digits, since MNIST or Fashion-MNIST could not be had"
        print(f"{note}:\n{error}\n")
        found = task(dataset, ood, config.data_dir)
    return dataclasses.replace(config, dataset=dataset, ood=ood), found, note
