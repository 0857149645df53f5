"""Which option applies to which protocol, method and scorer: one that would be ignored is refused, by name.

Only options of the command line are looked at. A preset or config.json gives the defaults of all of them, also of those
that mean nothing beside the protocol or method that the command line names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from adjax.augment import Augment
from adjax.data.protocols import PROTOCOLS
from adjax.factories import options_of
from adjax.methods import METHODS, entry
from adjax.scorers import SCORERS

if TYPE_CHECKING:
    from experiments.config import Config

_NOT_PAIR = tuple(name for name in PROTOCOLS if name != "pair")
_COUNTED = "imbalanced", "holdout_fraction", "folds"
OF_PROTOCOL: dict[str, tuple[str, ...]] = {
    "ood": ("pair",),
    "also": ("pair",),
    "normal": _NOT_PAIR,
    "anomalous": ("one_vs_other",),
    "folds": ("folds",),
    "clusters": ("one_vs_rest",),
    "counts": _COUNTED,
}
"""Option → the protocols that read it; an option that isn't here all of them read."""

SHRUNK = "mahalanobis", "layers"
"""How the scorers begin whose shrinkage is `--shrinkage`."""

TRAINING = (
    *"epochs patience batch_size learning_rate weight_decay steps_per_dispatch layout tensorboard".split(),
    *Augment._fields,
)
"""Options that training alone reads, but for `--resume` and `--resident`, whose wish a method without it fulfils."""

HPARAMS = "lam", "learning_rate", "weight_decay"
"""Hyper-parameters with an option of their own, beside `--hparams`."""


def named(argv: list[str], options: Collection[str]) -> set[str]:
    """The options that a command line names, of those that there are."""
    written = {argument[2:].partition("=")[0].replace("-", "_") for argument in argv if argument.startswith("--")}
    return written & set(options)


def shrinks(scorer: str, options: dict[str, Any]) -> bool:
    """Whether `--shrinkage` is an option of a scorer, or of the one that its own options name."""
    return str(options.get("scorer") or scorer).startswith(SHRUNK)


def check(config: Config, names: Collection[str]) -> None:
    """Refuses the first option on the command line that would be ignored.

    Args:
      config: of the whole command line.
      names: the options named there, see `named`.

    Raises:
      ValueError: with the option, why it means nothing here, and what to do.
    """
    messages = _of_protocol, _of_training, _of_method, _of_scorer
    for message in chain.from_iterable(of(config, names) for of in messages):
        raise ValueError(message)


def written(config: Config, option: str) -> str:
    """An option as on a command line, with its value."""
    value = getattr(config, option)
    values = value if isinstance(value, tuple) else () if value is True else (value,)
    return " ".join(["--" + option.replace("_", "-"), *map(str, values)])


def _of_protocol(config: Config, names: Collection[str]) -> Iterator[str]:
    for option, protocols in OF_PROTOCOL.items():
        if option in names and config.protocol not in protocols:
            yield (
                f"{written(config, option)} does nothing with --protocol {config.protocol}: leave it out, or choose "
                f"--protocol {_either(protocols)}"
            )
    learns_from = entry(config.method).supervision or "anomalies"
    if "clusters" in names and "anomalies" not in learns_from:
        yield (
            f"{written(config, 'clusters')} does nothing with --method {config.method}, which sees no labelled "
            "anomalies: leave it out"
        )


def _of_training(config: Config, names: Collection[str]) -> Iterator[str]:
    """An option that asks for nothing, as `--shift-px 0`, is taken."""
    known = entry(config.method)
    if known.trains:
        return
    others = tuple(name for name in METHODS if entry(name).trains and entry(name).supervision == known.supervision)
    for option in TRAINING:
        if option in names and getattr(config, option):
            yield (
                f"{written(config, option)} does nothing with --method {config.method}, which trains nothing: leave it "
                f"out, or choose --method {_either(others)}"
            )


def _of_method(config: Config, names: Collection[str]) -> Iterator[str]:
    if "lam" in names and not config.lam:
        yield "--lam has no value: name one or more, --lam 0.1, or leave it out"
    if {"lam", "sweep"} <= set(names) and config.sweep:
        yield "--lam and --sweep both say which λ are trained: leave one out"
    given = dict(config.pairs("hparams")) if "hparams" in names else {}
    for option in HPARAMS:
        by = "sweep" if option == "lam" and "sweep" in names else option
        if option in given and by in names:
            other = f"--hparams {option}={given[option]}"
            yield f"{written(config, by)} and {other} both say what {option} is: leave one out"


def _of_scorer(config: Config, names: Collection[str]) -> Iterator[str]:
    if "shrinkage" not in names:
        return
    shrinkage, scorer = written(config, "shrinkage"), config.scorer or entry(config.method).scorer
    given = dict(config.pairs("scorer_options"))
    if not shrinks(scorer, given):
        own = f", or write --scorer-options shrinkage={config.shrinkage}"
        yield (
            f"{shrinkage} does nothing with --scorer {scorer}, it is of the scorers {' and '.join(SHRUNK)}: leave it "
            f"out{own if 'shrinkage' in options_of(SCORERS[scorer]) else ''}"
        )
    if "shrinkage" in given:
        yield f"{shrinkage} and --scorer-options shrinkage={given['shrinkage']} both say it: leave one out"


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
