"""The data of an experiment: which images each member trains on, and which it is evaluated on."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from adjax import data
from adjax.data import DataError
from adjax.data.datasets.synthetic import outliers
from adjax.data.protocols import HOLDOUT, PROTOCOLS, OODPair, Study, Trial, conform, task
from adjax.data.splitting import validation_split
from experiments.config import Config, own_ood

MADE = "made"
"""As a set that doesn't belong: what `adjax.data.datasets.synthetic` makes of the normal test images."""


class Loaded(NamedTuple):
    """What `load` gives.

    Attributes:
      config: with `dataset` and `ood` filled in.
      study: images and trials.
      classes: names of the classes that the network tells apart; one name for a method that knows no classes.
      prefix: of the names of the anomaly metrics: "ood_" where the classifier's own figures stand beside them.
      ood_name: what the anomalies are.
      also: name -> uint8 images of further sets that don't belong.
      note: if stand-ins are used, that.
    """

    config: Config
    study: Study
    classes: tuple[str, ...]
    prefix: str
    ood_name: str
    also: dict[str, np.ndarray]
    note: str


class Images(NamedTuple):
    """The images, before it is known what the method learns from."""

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
    config = given.config
    seeds = range(config.seed, config.seed + config.seeds)
    if given.task is not None:
        return _pair(given, supervision, seeds)
    if "classes" in supervision:
        raise DataError(f"{config.method} tells classes apart, and {config.protocol} knows one: choose --protocol pair")
    options: dict[str, object] = {}
    if config.protocol == "one_vs_rest":
        options["normal_classes"] = config.normal or None
    elif len(config.normal) != 1:
        raise DataError(f"--normal {' '.join(map(str, config.normal))}: {config.protocol} takes one class")
    else:
        options["normal"] = config.normal[0]
    if config.protocol == "one_vs_other":
        if len(config.anomalous) != 1:
            raise DataError(f"--anomalous {' '.join(map(str, config.anomalous))}: one_vs_other takes one class")
        options["anomalous"] = config.anomalous[0]
    if config.protocol in ("imbalanced", "holdout_fraction", "folds"):
        options["counts"] = config.counts
    if config.protocol == "folds":
        options["folds"] = config.folds
    study = PROTOCOLS[config.protocol](
        given.train,
        given.test,
        given.classes,
        seeds=list(seeds),
        supervision=supervision,
        validation=config.validation,
        **options,
    )
    return Loaded(config, study, ("normal",), "", config.protocol, {}, given.note)


def _pair(given: Images, supervision: str, seeds: range) -> Loaded:
    """All of one set is normal, another is not: one trial a seed."""
    config, found = given.config, given.task
    assert found is not None
    knows_classes = "classes" in supervision
    classes = found.classes if knows_classes else ("normal",)
    pool, labels = found.train.images, found.train.labels if knows_classes else np.zeros(len(found.train.labels), int)
    if "anomalies" in supervision:
        strangers = _ood_train(config, found)
        pool = np.concatenate([pool, strangers])
        labels = np.concatenate([labels, np.full(len(strangers), len(classes))])
    truth = np.repeat([0, 1], [len(found.test.images), len(found.ood.images)]).astype(np.int32)
    trials = []
    for seed in seeds:
        rows, aside = validation_split(labels, config.validation, seed)
        anomalous = labels[aside] >= len(classes)
        trials.append(
            Trial(
                {"seed": seed},
                seed,
                rows,
                labels[rows].astype(np.int32),
                aside[~anomalous],
                aside,
                anomalous.astype(np.int32),
                np.arange(len(truth), dtype=np.int32),
                truth,
            )
        )
    study = Study(
        found.name,
        found.classes,
        pool,
        labels.astype(np.int32),
        np.concatenate([found.test.images, found.ood.images]),
        np.concatenate([found.test.labels, np.full(len(found.ood.images), -1, np.int32)]),
        tuple(trials),
    )
    shape = found.train.images.shape[1:]
    also: dict[str, np.ndarray] = {}
    for name in config.also:
        if name == MADE:
            also |= outliers(found.test.images, config.seed)
        else:
            also[name] = conform(data.load(name, "test", config.data_dir).images, shape)
    return Loaded(config, study, classes, "ood_" if knows_classes else "", found.ood_name, also, given.note)


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
