"""What an experiment is, as one frozen dataclass; the command line and `config.json` are its two spellings."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import arg

from adjax.augment import Augment
from adjax.data.protocols import HOLDOUT, PROTOCOLS
from adjax.factories import look_up, near
from adjax.methods import METHODS, entry
from adjax.models import MODELS
from adjax.scorers import OF_LAYERS, SCORERS
from adjax.spec import Precision
from adjax.train import MAX_STEPS
from experiments import applies
from experiments.presets import PRESETS, SWEEP_LAMS

EPOCHS, MIN_STEPS = 5, 500
"""The default length of a training: `EPOCHS`, or `MIN_STEPS` for a small set, whichever is longer."""
SHRINKAGE = {"layers": 0.0, "mahalanobis": 0.3}
"""Of several layers, and of the features alone: by `experiments.validate`, as the epochs."""

LIMITS: dict[str, tuple[float, float]] = {
    "seed": (0, 2**31 - 1),
    "seeds": (1, 10_000),
    "epochs": (1, 1_000_000),
    "patience": (1, 1_000_000),
    "folds": (2, 1000),
    "clusters": (1, 1000),
    "batch_size": (1, 1_000_000),
    "steps_per_dispatch": (1, 100_000),
    "side_px": (1, 4096),
    "shift_px": (0, 4096),
    "crop_px": (0, 4096),
    "elastic_px": (0, 4096),
    "weight_decay": (0, 1e6),
    "shrinkage": (0, 1),
    "quantile": (0, 1),
    "validation": (0, 0.9),
}
"""Option → (least, most), checked before anything is read."""

DIFFERENT = "normal", "anomalous", "lam", "also", "scorers"
"""Options of several values, of which a second one that is equal would be the same run again."""
PAIRS = "method_options", "model_options", "scorer_options", "hparams"
"""Options of `name=value` pairs."""

RENAMED = {"turn_deg": "rotation_deg", "stretch": "scale", "bend_px": "elastic_px"}
"""Old option → option. config.json has the old names for good; a command line may."""

Options = tuple[str, ...]
"""`name=value` pairs."""


@dataclass(frozen=True)
class Config:
    """Train a detector on normal images, then evaluate it on OOD images.

    Without options this is the main experiment: MNIST digits are normal, Fashion-MNIST is not; LeNet-5 with center
    loss, Mahalanobis distance to the classes. `--method NAME` runs the experiment that the method was published with,
    `--preset NAME` one of those behind README's tables; every other option changes it. It writes a run directory with
    results.json, plots and the detector.
    """

    method: Annotated[Literal[tuple(METHODS)], arg(help="what training optimises")] = "centerloss"
    preset: Annotated[
        Literal[tuple(PRESETS)], arg(help="a published experiment, whose options are the defaults of all others")
    ] = "centerloss"
    protocol: Annotated[
        Literal[tuple(PROTOCOLS)],
        arg(help="who is normal. pair: all of a set, against another; one_vs_rest: each class in turn, against the "
            "others; one_vs_other: one class against another; imbalanced, holdout_fraction, folds: one class and few "
            "labelled others, tested on the official test images, on a tenth of their own, or cross-validated"),
    ] = "pair"  # fmt: skip
    dataset: Annotated[
        str | None,
        arg(help="normal images: a name of `python -m adjax data list`, tfds:NAME, or a path. Unset: mnist, or digits "
            "if mnist can't be had"),
    ] = None  # fmt: skip
    ood: Annotated[
        str | None,
        arg(help="pair: images that don't belong: another set, or holdout:0 (or holdout:0,3-5) for classes of the set "
            "itself, holdout:3-5/0,1 for these against those. Unset: fashion_mnist for mnist, holdout:0 for any other"),
    ] = None  # fmt: skip
    also: Annotated[
        tuple[str, ...],
        arg(help="pair: further OOD sets, to evaluate on too; 'made': some made of the normal test images"),
    ] = ()
    normal: Annotated[tuple[int, ...], arg(help="other protocols: the normal class; one_vs_rest, unset: each")] = ()
    anomalous: Annotated[tuple[int, ...], arg(help="one_vs_other: the anomalous class")] = ()
    folds: Annotated[int, arg(help="folds: how many")] = 10
    clusters: Annotated[
        int, arg(help="one_vs_rest: labelled anomalies are drawn evenly from this many k-means clusters; 1: at random")
    ] = 3
    counts: Annotated[
        tuple[int, int], arg(help="imbalanced, holdout_fraction, folds: how many normal and how many other images")
    ] = (5923, 504)
    side_px: Annotated[
        int | None, arg(help="image folders: side of the square that each picture is resized and cut to, pixels")
    ] = None
    model: Annotated[Literal[tuple(MODELS)], arg(help="the network")] = "lenet5"
    weights: Annotated[
        str | None,
        arg(help="pre-trained weights: a .safetensors, .h5 or .pth file, or the name of published ones; 'random' to do "
            "without where a method needs them"),
    ] = None  # fmt: skip
    lam: Annotated[
        tuple[float, ...], arg(help="weight λ of the center loss; several values are trained as one program")
    ] = (0.1,)
    sweep: Annotated[bool, arg(help="the paper's sweep: same as --lam 0 0.001 0.01 0.1 1")] = False
    seeds: Annotated[int, arg(help="independent runs of each setting, trained as one program")] = 1
    seed: Annotated[int, arg(help="the first seed; the others follow it")] = 0
    epochs: Annotated[
        int | None,
        arg(help=f"passes through the training images. Unset: {EPOCHS}, or what {MIN_STEPS:,} steps take"),
    ] = None
    patience: Annotated[
        int | None,
        arg(help="early stopping: keep the epoch with the best validation AUROC where anomalies are labelled, else the "
            "one that reconstructs held-out normal images best, and stop when no member has had a better one for this "
            "many epochs. Unset: train to the end and keep that"),
    ] = None  # fmt: skip
    batch_size: Annotated[int, arg(help="images a step and member, over all devices")] = 128
    learning_rate: Annotated[float | None, arg(help="peak of the learning rate. Unset: the method's own")] = None
    weight_decay: Annotated[float | None, arg(help="decoupled weight decay, as in AdamW. Unset: the method's own")] = (
        None
    )
    shift_px: Annotated[int, arg(help="augmentation: random shifts of at most this many pixels")] = 1
    crop_px: Annotated[int, arg(help="augmentation: up to this many pixels cut from each side, then resized")] = 0
    flip_horizontal: Annotated[bool, arg(help="augmentation: mirrored or not")] = False
    flip_vertical: Annotated[bool, arg(help="augmentation: upside down or not")] = False
    rotate: Annotated[bool, arg(help="augmentation: turned by 0, 90, 180 or 270°")] = False
    rotation_deg: Annotated[float, arg(help="augmentation: turned by up to this many degrees either way")] = 0.0
    scale: Annotated[
        float, arg(help="augmentation: larger or smaller and sheared, by up to such a share in each direction")
    ] = 0.0
    elastic_px: Annotated[float, arg(help="augmentation: bent by up to this many pixels both ways")] = 0.0
    validation: Annotated[
        float, arg(help="share of the training images held out, for conformal thresholds and p-values; 0: none")
    ] = 0.1
    scorer: Annotated[
        Literal[tuple(SCORERS)] | None, arg(help="features to anomaly score. Unset: the method's own")
    ] = None
    scorers: Annotated[
        tuple[Literal[("all", "odin", *SCORERS)], ...],
        arg(help="further scorers of the same outputs, for the table; all: every one that they can feed, and odin"),
    ] = ()
    shrinkage: Annotated[
        float | None,
        arg(help="shrinkage of the covariance towards its mean variance, 0 (none) to 1. Unset: 0 for layers, 0.3 for "
            "features alone"),
    ] = None  # fmt: skip
    threshold: Annotated[
        Literal["quantile", "conformal", "best_f1", "mean_sigma", "logit", "half"],
        arg(help="what is anomalous. quantile: above that quantile of the training scores; conformal: at most 1 − "
            "quantile of normal images flagged; best_f1: best on labelled validation images; mean_sigma: above mean + "
            "3σ of the training scores; logit: more likely anomalous than not, class weights undone; half: a "
            "classifier's own probability of one half, class weights as they are"),
    ] = "quantile"  # fmt: skip
    quantile: Annotated[float, arg(help="class thresholds: quantile of the class's own training distances")] = 0.975
    method_options: Annotated[Options, arg(help="the method's own options, name=value (see its docstring)")] = ()
    model_options: Annotated[Options, arg(help="the network's own options, name=value")] = ()
    scorer_options: Annotated[Options, arg(help="the scorer's own options, name=value")] = ()
    hparams: Annotated[
        Options, arg(help="the method's hyper-parameters, name=value; name=v1,v2 trains both, as one program")
    ] = ()
    config: Annotated[
        Path | None,
        arg(help="config.json of a run, whose options are then the defaults of all others; with another --out the run "
            "is made again, to the bit on the same type of machine"),
    ] = None  # fmt: skip
    tensorboard: Annotated[
        bool, arg(help="also write the curves of metrics.jsonl for TensorBoard (needs the extra tensorboard)")
    ] = False
    score_table: Annotated[
        Path | None,
        arg(help="a CSV of further images (see adjax.data.datasets.table): the probability that each is anomalous goes "
            "to probabilities.csv in the run directory"),
    ] = None  # fmt: skip
    out: Annotated[Path | None, arg(help="run directory. Unset: runs/NAME-HASH, the same for the same options")] = None
    resume: Annotated[bool, arg(help="continue an interrupted run bit for bit; --no-resume starts it afresh")] = True
    data_dir: Annotated[Path | None, arg(help="where the data sets lie, if you have them")] = None
    steps_per_dispatch: Annotated[int, arg(help="optimiser steps a call of the program; changes no result")] = 32
    resident: Annotated[
        bool, arg(help="training images lie on the device; --no-resident sends batches ahead, and changes no result")
    ] = True
    layout: Annotated[
        Literal["auto", "vmap", "map"],
        arg(help="members inside a device: together (vmap) or in turn (map); auto: map on CPU"),
    ] = "auto"
    precision: Annotated[
        Precision,
        arg(help="of the network's matrix products when it scores: highest, float32 on every device; default, as "
            "accelerators like it (on a CPU there is no difference)"),
    ] = "default"  # fmt: skip
    distributed: Annotated[
        bool, arg(help="several hosts: call jax.distributed.initialize() first (see JAX's documentation)")
    ] = False

    def __post_init__(self):
        if self.sweep:
            object.__setattr__(self, "lam", SWEEP_LAMS)
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"--{name.replace('_', '-')} {value}: must be between {low:,} and {high:,}")
        if self.quantile == 0 or (self.quantile == 1 and self.threshold == "conformal"):
            given = f"--quantile {self.quantile:g} with --threshold {self.threshold}"
            raise ValueError(f"{given}: must be above 0 (below 1 if conformal)")
        for name in DIFFERENT:
            _different(f"--{name}", getattr(self, name))
        for name in PAIRS:
            _different(f"--{name.replace('_', '-')}", [key for key, _ in self.pairs(name)], getattr(self, name))
        if self.seed + self.seeds > 2**31:
            raise ValueError(f"--seed {self.seed} with --seeds {self.seeds}: the last seed must be below 2³¹")
        if not all(0 <= v < float("inf") for v in self.lam):
            raise ValueError(f"--lam {' '.join(map(str, self.lam))}: each must be finite and at least 0")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"--learning-rate {self.learning_rate}: must be finite and above 0")

    def steps(self, images: int) -> int:
        """Optimiser steps of the whole training, given the training images of the largest member."""
        each = max(images // self.batch_size, 1)
        steps = each * (self.epochs or max(EPOCHS, -(-MIN_STEPS // each)))
        if steps > MAX_STEPS:
            raise ValueError(
                f"--epochs {self.epochs} of {each:,} steps: {steps:,} steps, must be at most {MAX_STEPS:,}"
            )
        return steps

    def augment(self) -> Augment:
        """The augmentation that the options ask for."""
        return Augment(**{name: getattr(self, name) for name in Augment._fields})

    def options(self, of: Literal["method", "model", "scorer"]) -> dict[str, Any]:
        """Keyword arguments of the method, the model or the scorer."""
        given = {name: _value(text) for name, text in self.pairs(f"{of}_options")}
        if of == "scorer" and applies.shrinks(str(self.scorer), given):
            unset = SHRINKAGE["layers" if self.scorer in OF_LAYERS else "mahalanobis"]
            given = {"shrinkage": unset if self.shrinkage is None else self.shrinkage, **given}
        return given

    def settings(self, defaults: dict[str, float]) -> list[dict[str, float]]:
        """The hyper-parameter settings to train: every combination of the values given, the rest as in `defaults`.

        Raises:
          ValueError: a name that is not among `defaults`, or a value other than a number.
        """
        values: dict[str, tuple[float, ...]] = {name: (value,) for name, value in defaults.items()}
        given: dict[str, tuple[float, ...]] = {}
        options: dict[str, str] = {}
        for name in applies.HPARAMS:
            if (value := getattr(self, name)) not in (None, ()):
                given[name] = value if isinstance(value, tuple) else (value,)
                options[name] = "--sweep" if name == "lam" and self.sweep else applies.written(self, name)
        for name, text in self.pairs("hparams"):
            options[name] = f"--hparams {name}={text}"
            try:
                given[name] = tuple(float(v) for v in text.split(","))
            except ValueError:
                raise ValueError(f"{options[name]}: must be numbers, separated by commas") from None
            _different(options[name], given[name], ())
        for name, chosen in given.items():
            if name not in values:
                has = (", ".join(values) or "none") + (near(name, values) or "; leave it out")
                raise ValueError(f"{options[name]}: {self.method} has no hyper-parameter {name}: it has {has}")
            values[name] = chosen
        table: list[dict[str, float]] = [{}]
        for name, several in values.items():
            table = [{**row, name: value} for row in table for value in several]
        return table

    def pairs(self, option: str) -> list[tuple[str, str]]:
        """(name, value) of an option of `PAIRS`."""
        pairs = [tuple(text.partition("=")[::2]) for text in getattr(self, option)]
        for name, value in pairs:
            if not (name and value):
                raise ValueError(f"--{option.replace('_', '-')} {name}: must be name=value")
        return pairs

    def json(self) -> dict[str, Any]:
        """As JSON values; without the places of one machine."""
        places = ("out", "data_dir", "score_table", "config")
        saved_as = {new: old for old, new in RENAMED.items()}
        options = {saved_as.get(k, k): v for k, v in dataclasses.asdict(self).items() if k not in places}
        return {k: str(v) if isinstance(v, Path) else v for k, v in options.items()}

    def identity(self) -> dict[str, Any]:
        """The options that a result depends on: not where it is written, nor how it is dispatched, nor what is added to
        the table of a network that is trained all the same."""
        elsewhere = "scorers tensorboard resident resume steps_per_dispatch layout distributed sweep preset".split()
        return {k: v for k, v in self.json().items() if k not in elsewhere}

    def directory(self) -> Path:
        """`--out`, or one that the same options always get and others never."""
        if self.out is not None:
            return self.out
        mark = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:8]
        dataset = self.dataset or "mnist"
        against = self.ood or own_ood(dataset) if self.protocol == "pair" else self.protocol
        against = against.replace("/", "_of_") if against.startswith(HOLDOUT) else Path(against).name
        name = f"{self.method}-{Path(dataset).name}-{against}"
        return Path("runs") / f"{name.replace(':', '_').replace(',', '_')}-{mark}"


def own_ood(dataset: str) -> str:
    """What doesn't belong to a set, where the command line does not say."""
    return "fashion_mnist" if dataset == "mnist" else "holdout:0"


def of_preset(name: str) -> Config:
    """The experiment of that name.

    Raises:
      ValueError: no such preset, with the nearest one.
    """
    return Config(preset=name, **look_up("preset", PRESETS, name))


def of_method(method: str) -> Config:
    """The experiment that `--method` alone means: its first preset, or else the main job by that method."""
    names = [name for name, options in PRESETS.items() if options.get("method", "centerloss") == method]
    if names:
        return of_preset(names[0])
    return Config(method=method, model=entry(method).model or Config.model, lam=())


def of_file(path: Path) -> Config:
    """The experiment whose config.json that is; options that it lacks are as they always are.

    Raises:
      ValueError: no such file, or not one of these; says what is wrong with it.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--config {path}: {error}: name the config.json of a run directory") from None
    if isinstance(given, dict):
        given = {RENAMED.get(name, name): value for name, value in given.items()}
    known = [x.name for x in dataclasses.fields(Config)]
    unknown = [name for name in given if name not in known] if isinstance(given, dict) else ["no object of options"]
    if unknown:
        raise ValueError(f"--config {path} has what is no option: {', '.join(unknown[:5])}")
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    try:
        return Config(**{**options, "sweep": False})  # its λ are in the file
    except TypeError as error:
        raise ValueError(f"--config {path} has a value of the wrong kind: {error}") from None


def parse(argv: list[str] | None = None) -> Config:
    """Reads the command line: first `--config`, `--preset` or `--method`, whose options are the defaults of all others.

    On a mistake it says what is wrong and exits with 2.
    """
    argv = _renamed(sys.argv[1:] if argv is None else argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", type=Path)
    first.add_argument("--preset")
    for name in ("--method", "--model", "--scorer"):
        first.add_argument(name)
    given, _ = first.parse_known_args([a for a in argv if a not in ("-h", "--help")])
    names = applies.named(argv, [x.name for x in dataclasses.fields(Config)])
    try:
        known = given.method in METHODS
        if given.config is not None:
            if given.preset is not None:
                raise ValueError(
                    f"--config {given.config} and --preset {given.preset}: both give all options; leave one out"
                )
            base = of_file(given.config)
        else:
            base = of_method(given.method) if known and not given.preset else of_preset(given.preset or "centerloss")
        config = tyro.cli(
            Config,
            args=argv,
            default=_without_strays(base, vars(given), names),
            prog="python -m experiments.run",
            config=(tyro.conf.OmitArgPrefixes,),
        )
        applies.check(config, names)
        return config
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


def _without_strays(base: Config, given: dict[str, Any], names: Collection[str]) -> Config:
    """The defaults without options of a method, model or scorer that another one is given for, and without those that
    would hide an option that is named."""
    known = entry(base.method)
    chosen = {"method": base.method, "model": base.model or known.model, "scorer": base.scorer or known.scorer}
    strays: dict[str, Any] = {f"{of}_options": () for of, own in chosen.items() if given[of] not in (None, own)}
    if given["method"] in METHODS and not of_method(given["method"]).lam:
        strays["lam"] = ()
    hidden = {*names, "lam"} if "sweep" in names else names
    for option in {"hparams", "scorer_options"} - strays.keys():
        strays[option] = tuple(text for text in getattr(base, option) if text.partition("=")[0] not in hidden)
    return dataclasses.replace(base, **strays)


def _renamed(argv: list[str]) -> list[str]:
    """The arguments with today's options, and a line on stderr for each old one."""
    arguments = []
    for argument in argv:
        option, equals, value = argument.partition("=")
        if option.startswith("--") and (new := RENAMED.get(option[2:].replace("-", "_"))):
            new = f"--{new.replace('_', '-')}"
            print(f"{option} is now {new}", file=sys.stderr)
            argument = f"{new}{equals}{value}"
        arguments.append(argument)
    return arguments


def _different(option: str, values: Sequence[Any], written: Sequence[Any] | None = None) -> None:
    """Refuses values of which one is there twice."""
    for value in (value for i, value in enumerate(values) if value in values[:i]):
        said = " ".join([option, *map(str, values if written is None else written)])
        raise ValueError(f"{said}: {value} is there twice, name it once")


def _value(text: str) -> Any:
    """A number, true, false, none, or the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
