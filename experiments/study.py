"""The data of an experiment: which images each member trains on, and which it is evaluated on."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from adjax import data
from adjax.data import DataError
from adjax.data.datasets.synthetic import outliers
from adjax.data.protocols import HOLDOUT, PROTOCOLS, Benchmark, OODPair, conform, task
from experiments.config import Config, own_ood

MADE = "made"
"""As a set that doesn't belong: what `adjax.data.datasets.synthetic` makes of the normal test images."""


class Loaded(NamedTuple):
    """What `load` gives.

    Attributes:
      config: with `dataset` and `ood` filled in.
      benchmark: images and trials.
      classes: names of the classes that the network tells apart; one name for a method that knows no classes.
      prefix: of the names of the anomaly metrics: "ood_" where the classifier's own figures stand beside them.
      ood_name: what the anomalies are.
      also: name -> uint8 images of further sets that don't belong.
      note: if stand-ins are used, that.
    """

    config: Config
    benchmark: Benchmark
    classes: tuple[str, ...]
    prefix: str
    ood_name: str
    also: dict[str, np.ndarray]
    note: str


class Images(NamedTuple):
    """The images, before it is known what the method learns from; `task` is None but for the pair protocol."""

    config: Config
    task: OODPair | None
    train: data.Split
    test: data.Split
    classes: tuple[str, ...]
    note: str


def images(config: Config) -> Images:
    """Reads the data sets.

    Raises:
      DataError: a named set can't be had. Only if none was named, digits stand in for MNIST.
    """
    if config.protocol != "pair":
        name = config.dataset or "mnist"
        config, source = dataclasses.replace(config, dataset=name), data.find(name, config.data_dir, config.side_px)
        train, test = (source.load(split, config.data_dir) for split in ("train", "test"))
        return Images(config, None, train, test, source.classes, "")
    config, found, note = load_task(config)
    return Images(config, found, found.train, found.test, found.classes, note)


def load(given: Images, supervision: str) -> Loaded:
    """The trials of every member, for a method that learns from such labels.

    Raises:
      DataError: options that the data can't follow.
    """
    config, knows_classes = given.config, "classes" in supervision
    if knows_classes and given.task is None:
        raise DataError(f"{config.method} tells classes apart, and {config.protocol} knows one: choose --protocol pair")
    benchmark = PROTOCOLS[config.protocol](
        given.train,
        given.test,
        given.classes,
        seeds=range(config.seed, config.seed + config.seeds),
        supervision=supervision,
        validation=config.validation,
        **_options(given, supervision),
    )
    return Loaded(
        config=config,
        benchmark=benchmark,
        classes=given.classes if knows_classes else ("normal",),
        prefix="ood_" if knows_classes else "",
        ood_name=given.task.ood_name if given.task else config.protocol,
        also=_also(config, given.test.images) if given.task else {},
        note=given.note,
    )


def _options(given: Images, supervision: str) -> dict[str, Any]:
    """Those of the config's protocol alone."""
    config = given.config
    if given.task is not None:
        seen = _ood_train(config, given.task) if "anomalies" in supervision else None
        return {"ood": given.task.ood, "ood_train": seen, "name": given.task.name}
    if config.protocol == "one_vs_rest":
        return {"normal_classes": config.normal or None, "clusters": config.clusters}
    options: dict[str, Any] = {"normal": _one(config, "normal")}
    if config.protocol == "one_vs_other":
        return options | {"anomalous": _one(config, "anomalous")}
    options["counts"] = config.counts
    return options | ({"folds": config.folds} if config.protocol == "folds" else {})


def _one(config: Config, option: str) -> int:
    classes = getattr(config, option)
    if len(classes) != 1:
        raise DataError(f"--{option} {' '.join(map(str, classes))}: {config.protocol} takes one class")
    return classes[0]


def _also(config: Config, normal: np.ndarray) -> dict[str, np.ndarray]:
    """The further sets that don't belong, by name, of the shape of the normal images."""
    found: dict[str, np.ndarray] = {}
    for name in config.also:
        if name in (config.dataset, config.ood):
            already = "is normal" if name == config.dataset else "is --ood"
            raise DataError(f"--also {name}: that set {already} already, name another or leave it out")
    for name in config.also:
        if name == MADE:
            found |= outliers(normal, config.seed)
        else:
            found[name] = conform(data.load(name, "test", config.data_dir).images, normal.shape[1:])
    return found


def _ood_train(config: Config, found: OODPair) -> np.ndarray:
    """Labelled anomalies to train on: the training half of what the OOD test images come from."""
    assert config.dataset is not None
    if found.ood_name.startswith(HOLDOUT):
        whole = data.load(config.dataset, "train", config.data_dir)
        return whole.images[np.isin(whole.labels, np.unique(found.ood.labels))]
    return conform(data.load(found.ood_name, "train", config.data_dir).images, found.train.images.shape[1:])


def load_task(config: Config) -> tuple[Config, OODPair, str]:
    """The sets of the pair protocol; the config with `dataset` and `ood` filled in; a note if they are a stand-in.

    Raises:
      DataError: a named set can't be had. Only if none was named, digits stand in for MNIST.
    """
    dataset = config.dataset or "mnist"
    ood = config.ood or own_ood(dataset)
    note = ""
    try:
        found = task(dataset, ood, config.data_dir, side_px=config.side_px)
    except DataError as error:
        if config.dataset is not None or config.ood is not None:
            raise
        dataset, ood = "digits", "holdout:0"
        note = "STAND-IN DATA: scikit-learn's 8x8 digits, since MNIST or Fashion-MNIST could not be had"
        print(f"{note}:\n{error}\n")
        found = task(dataset, ood, config.data_dir)
    return dataclasses.replace(config, dataset=dataset, ood=ood), found, note
