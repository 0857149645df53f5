"""Runs one experiment from images to a table: `python -m experiments.run --method centerloss`. Reads top to bottom."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape

from adjax import data, methods, models, process, train
from adjax import detector as detectors
from adjax.augment import Normalise, normalise_for
from adjax.checkpoint import MismatchError
from adjax.data.probabilities import write_probabilities
from adjax.data.table import read_unlabelled
from adjax.data.trials import Trial
from adjax.detector import Spec
from adjax.models import weights
from adjax.models.names import MODELS as WEIGHTED_MODELS
from adjax.report import write as write_report
from adjax.train import Members
from adjax.types import Method, PyTree
from experiments import card, evaluate, figures, report, study, tensorboard, training, views
from experiments.config import Config, of_preset, own_ood, parse
from experiments.console import closing_table, member_name, setting_name
from experiments.references import REFERENCES
from experiments.rundir import SCHEMA, environment, write_json
from experiments.study import Loaded

CEILING = "supervised classifier on the same images"
"""With labelled anomalies of every kind this is the honest ceiling, so a GAN's table has it."""


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
    if config.tensorboard:
        tensorboard.check()
    given = study.images(config)
    if given.note:
        console.print(f"[bold red]{given.note}[/]")
    config = given.config
    method = build(config, given.train.images, given.classes, 10).method
    loaded = study.load(given, method.learns_from)
    trials = loaded.study.trials

    # The table of members: every setting of the hyper-parameters with every trial (a seed, a class, a fold).
    settings = config.settings(dict(method.hparams))
    table = members(config, settings, trials)
    steps = config.steps(int(table.count.max()))
    spec, method, normalise, pretrained = build(config, loaded.study.images, loaded.classes, steps)
    note = given.note
    if pretrained is not None and pretrained.params is None:
        note = "; ".join(filter(None, (note, "RANDOM WEIGHTS: this network was not pre-trained")))
        console.print(f"[bold red]{note}[/]")

    varied = "; ".join(filter(None, (setting_name(s, settings) for s in settings)))
    console.print(
        f"{config.method} on {loaded.study.name}: {len(table.seed)} members ({varied + '; ' if varied else ''}"
        f"{len(trials)} {', '.join(trials[0].name)}), {table.count.max():,} images each, "
        + (f"{steps:,} steps, " if method.step else "nothing to train, ")
        + f"{len(jax.devices())} {jax.devices()[0].platform} device(s)",
        highlight=False,
    )
    trained = fit(config, console, spec, method, normalise, loaded, table, directory)
    if trained.stopped is not None:
        console.print("stopped; the same command continues from there")
        return 0 if trained.stopped == signal.SIGTERM else 130
    if jax.process_index() > 0:
        return 0

    # Judging: one member after another, outputs extracted once for all scorers.
    rule = evaluate.Rule(config.threshold, config.quantile)
    others: Mapping[str, Any] = evaluate.PAPER_FORM if spec.scorer.startswith("mahalanobis") else {}
    optional: set[str] = set()  # those that only "all" asks for
    if config.scorers:
        first_params = jax.tree.map(lambda x: x[0], trained.params)
        named = tuple(name for name in config.scorers if name != evaluate.ODIN)
        found = evaluate.further(spec, first_params, normalise, named)
        others, optional = {**others, **found}, set(found) - set(named)
    pairs = list(itertools.product(range(len(settings)), range(len(trials))))

    def judge(params: PyTree, m: int, others: Mapping = others) -> evaluate.Judged:
        member = jax.tree.map(lambda x: x[m], params)
        trial, own = trials[pairs[m][1]], rule._replace(logit=log_odds(table, m))
        return evaluate.judge(spec, member, normalise, loaded.study, trial, own, loaded.prefix, others, optional)

    def odin(m: int) -> dict[str, float]:
        trial, params = trials[pairs[m][1]], jax.tree.map(lambda x: x[m], trained.params)
        scores = evaluate.odin(spec, params, normalise, loaded.study.test_images[trial.test])
        return evaluate.ranking(scores[trial.truth == 0], scores[trial.truth == 1], loaded.prefix)

    judged = []
    for m, (s, t) in enumerate(pairs):
        judged.append(judge(trained.params, m))
        name = " ".join(filter(None, (setting_name(settings[s], settings), member_name(trials[t].name))))
        console.print(f"{name}: {figures.brief(judged[-1].metrics)}", highlight=False)
    rows: list[dict[str, Any]] = [
        {"hparams": dict(settings[s]), "seed": trials[t].seed, **trials[t].name}
        | {"metrics": judged[m].metrics, "scorers": judged[m].scorers}
        for m, (s, t) in enumerate(pairs)
    ]
    groups = [
        {"hparams": part[0]["hparams"], "summary": evaluate.summary(part)}
        for part in (rows[i : i + len(trials)] for i in range(0, len(rows), len(trials)))
    ]
    # The detector to keep: the first trial under the method's own hyper-parameters, if they are among those trained.
    kept = max(range(len(settings)), key=lambda s: sum(settings[s][k] == v for k, v in method.hparams.items()))
    first = kept * len(trials)
    own = range(first, first + len(trials))
    passed_over: dict[str, str] = {name: why for m in own for name, why in judged[m].passed_over.items()}
    for name, why in passed_over.items():
        console.print(f"passed over: {name}: {why}", highlight=False)
    comparisons: dict[str, Any] = {
        name: evaluate.summary([{**rows[m], "metrics": judged[m].scorers[name]} for m in own])
        for name in judged[first].scorers
        if name not in passed_over
    }
    if {"all", evaluate.ODIN} & set(config.scorers) and "logits" in judged[first].outputs and len(spec.classes) > 1:
        comparisons[evaluate.ODIN] = evaluate.summary([{**rows[m], "metrics": odin(m)} for m in own])
    for name, images in loaded.also.items():
        comparisons[f"against {name}"] = evaluate.summary(
            [{**rows[m], "metrics": against(judged[m], images, loaded.prefix)} for m in own]
        )
    if method.step is not None:
        blank = [{**rows[m], "metrics": judge(trained.untrained, m, {}).metrics} for m in own]
        comparisons["same network, untrained"] = evaluate.summary(blank)
    pca = [
        {**rows[m], "metrics": evaluate.pixel_pca(loaded.study, trial, len(spec.classes), loaded.prefix)}
        for m, trial in zip(own, trials, strict=True)
        if trial.seed == trials[0].seed
    ]
    comparisons["pixel PCA, 30 components"] = evaluate.summary(pca) if len(pca) > 1 else pca[0]["metrics"]
    if config.protocol in ("folds", "holdout_fraction"):  # the official test images are no fold
        truth = (given.test.labels != config.normal[0]).astype(np.int32)
        official = [{**rows[m], "metrics": on(judged[m], given.test.images, truth)} for m in own]
        comparisons["the same detectors on all official test images"] = evaluate.summary(official)
    if config.method == "gan":
        comparisons[CEILING] = ceiling(config, console, loaded, directory)

    detector = judged[first].detector
    test_images = loaded.study.test_images[trials[0].test]
    clock = time.perf_counter()
    detector.score(test_images)
    score_s = time.perf_counter() - clock
    seen = len(table.seed) * config.batch_size * trained.steps
    results = {
        "schema": SCHEMA,
        "preset": config.preset,
        "method": config.method,
        "model": config.model,
        "note": note,
        "dataset": {
            "name": config.dataset,
            "sha256": {"train": data.digest(given.train), "test": data.digest(given.test)},
            "counts": {
                "train": int(table.count.max()),
                "held_out": len(trials[0].held_out),
                "test": int((trials[0].truth == 0).sum()),
            },
            "classes": list(given.classes),
        },
        "ood": {
            "name": loaded.ood_name,
            "sha256": {"test": data.digest(given.task.ood)} if given.task else {},
            "counts": {"test": int((trials[0].truth == 1).sum())},
        },
        "weights": None
        if pretrained is None
        else {name: getattr(pretrained, name) for name in ("source", "sha256", "licence")},
        "config": config.json(),
        "members": rows,
        "groups": groups,
        "summary": groups[kept]["summary"],
        "kept": {"member": first, "hparams": groups[kept]["hparams"]},
        "comparisons": comparisons,
        "early_stopping": trained.best,
        "timing": {
            "compile_s": trained.compile_s,
            "train_s": trained.train_s,
            "train_images_per_s": seen / trained.train_s if trained.train_s else None,
            "resumed_from_step": trained.resumed_from_step,
            "score_images_per_s": len(test_images) / score_s,
            "total_s": time.perf_counter() - started + trained.earlier_s,
        },
        "environment": where,
        "references": published(config),
    }
    write_json(directory / "results.json", results)
    saved = save(directory, results, judged, trials, first)
    if config.score_table is not None:
        saved.append(score_table(config, detector, directory))
    written = figures.draw(directory, results, judged, loaded, normalise)
    shown = views.collect(results, judged, loaded, normalise)
    views.save(directory / views.FILE, shown)
    written.append(write_report(report.of_run(results, shown), directory / report.PAGE))
    show(console, config, directory, results, [*saved, *written])
    return 0


def published(config: Config) -> list[dict[str, Any]]:
    """Others' figures for this experiment; none if the options have made it another one."""
    own = of_preset(config.preset)
    own = dataclasses.replace(own, dataset=own.dataset or "mnist", ood=own.ood or own_ood(own.dataset or "mnist"))
    subject = ("method", "protocol", "dataset", "model", "normal", "anomalous", *(("ood",) if config.ood else ()))
    same = all(getattr(config, name) == getattr(own, name) for name in subject)
    return REFERENCES.get(config.preset, []) if same else []


class Built(NamedTuple):
    """What is trained and judged; `weights`, if it starts from any that were trained elsewhere."""

    spec: Spec
    method: Method
    normalise: Normalise
    weights: weights.Weights | None


def build(config: Config, images: np.ndarray, classes: tuple[str, ...], steps: int) -> Built:
    """The network, the method and the normalisation that the options ask for."""
    shape, model_options = images.shape[1:], config.options("model")
    found, normalise = None, None
    if config.weights is not None or config.model in WEIGHTED_MODELS:
        found = weights.resolve(config.weights, config.model)
        model_options = {**found.options, **model_options}
        network = models.pretrained(models.make(config.model, shape, len(classes), **model_options), found)
        normalise = Normalise(*(np.asarray(x, np.float32) for x in (found.mean, found.sd)))
    else:
        network = models.make(config.model, shape, len(classes), **model_options)
    method_options = config.options("method")
    method = methods.make(config.method, network, shape, len(classes), steps=steps, **method_options)
    normalise = normalise or normalise_for(method.pixels, images)
    scorer = config.scorer or method.scorer
    scorer_options = dataclasses.replace(config, scorer=scorer).options("scorer")
    spec = Spec(config.method, config.model, scorer, shape, classes, scorer_options, method_options, model_options)  # type: ignore[arg-type]  # a spec makes sorted pairs of dicts
    return Built(spec, method, normalise, found)


def members(config: Config, settings: list[dict[str, float]], trials: tuple[Trial, ...]) -> Members:
    """Every setting with every trial; a trial splits, initialises and shuffles alike under every setting.

    Class weights that the options leave open balance the classes, N / (2 N_c).
    """
    pairs = list(itertools.product(settings, trials))
    hparams = {name: np.array([s[name] for s, _ in pairs], np.float32) for name in settings[0]}
    given = {text.partition("=")[0] for text in config.hparams}
    for label, name in enumerate(("weight_normal", "weight_anomalous")):
        if name in hparams and name not in given:
            hparams[name] = np.array([len(t.labels) / (2 * max((t.labels == label).sum(), 1)) for _, t in pairs])
    return train.members(hparams, [t.seed for _, t in pairs], [t.rows for _, t in pairs], [t.labels for _, t in pairs])


def log_odds(table: Members, m: int) -> float:
    """What class weights add to the logit of a classifier: of member m, the log of their ratio."""
    weights = [table.hparams.get(name, np.ones(m + 1))[m] for name in ("weight_anomalous", "weight_normal")]
    return float(np.log(weights[0] / weights[1]))


def fit(
    config: Config,
    console: Console,
    spec: Spec,
    method: Method,
    normalise: Normalise,
    loaded: Loaded,
    table: Members,
    directory: Path,
) -> training.Trained:
    """Trains the table; of a method without a step, the parameters as they are."""
    if method.step is None:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / "config.json", config.json())
        write_json(directory / "environment.json", environment())
        params = training.untrained(method, table)
        return training.Trained(params, params, 0, 0, 0.0, 0.0, 0.0, {}, None)
    validate = None
    if config.patience is not None:
        trials = loaded.study.trials * (len(table.seed) // len(loaded.study.trials))
        if not all(t.validation_truth.any() for t in trials):
            raise ValueError("--patience needs labelled anomalies to validate on, and this method sees none")

        def score(params: PyTree, m: int) -> np.ndarray:
            images = loaded.study.images[trials[m].validation]
            return np.asarray(detectors.extract(spec, params, normalise, images)["score"])

        validate = training.validation_auroc(score, [t.validation_truth for t in trials])
    digest = data.digest(data.Split(loaded.study.images, loaded.study.labels))
    names = member_names(table, loaded.study.trials)
    images = loaded.study.images
    return training.run(config, console, method, images, table, normalise, directory, digest, validate, names)


def member_names(table: Members, trials: tuple[Trial, ...]) -> list[str]:
    """What tells the members apart: hyper-parameters that differ, then class, fold or seed."""
    settings = [{k: float(v[m]) for k, v in table.hparams.items()} for m in range(len(table.seed))]
    named = [setting_name(s, settings).replace("λ", "lam") for s in settings]
    return [" ".join(filter(None, (own, member_name(trials[m % len(trials)].name)))) for m, own in enumerate(named)]


def against(judged: evaluate.Judged, images: np.ndarray, prefix: str) -> dict[str, float]:
    """A member's figures with the anomalies of its test replaced by those of a set it never saw."""
    normal = judged.scores[judged.truth == 0]
    scores = np.concatenate([normal, np.asarray(judged.detector.score(images))])
    truth = np.repeat([0, 1], [len(normal), len(images)])
    return evaluate.figures(judged.detector, {"test": scores, "held_out": np.zeros(0)}, truth, 1.0, prefix)


def on(judged: evaluate.Judged, images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """A member's figures on other test images."""
    level = {"test": np.asarray(judged.detector.score(images)), "held_out": np.zeros(0)}
    return evaluate.figures(judged.detector, level, truth, 1.0, "")


def ceiling(config: Config, console: Console, loaded: Loaded, directory: Path) -> dict[str, Any]:
    """What a plain supervised classifier makes of the same trials."""
    console.print(f"\n{CEILING}:")
    plain = of_preset("classifier_fashion_mnist")
    same = {name: getattr(config, name) for name in ("dataset", "normal", "seeds", "seed", "validation", "data_dir")}
    plain = dataclasses.replace(plain, **same)
    method = build(plain, loaded.study.images, loaded.classes, 10).method
    table = members(plain, plain.settings(dict(method.hparams)), loaded.study.trials)
    spec, method, normalise, _ = build(plain, loaded.study.images, loaded.classes, plain.steps(int(table.count.max())))
    trained = fit(plain, console, spec, method, normalise, loaded, table, directory / "ceiling")
    rule = evaluate.Rule(plain.threshold, plain.quantile)
    rows = []
    for m, trial in enumerate(loaded.study.trials):
        params = jax.tree.map(lambda x, m=m: x[m], trained.params)
        found = evaluate.judge(spec, params, normalise, loaded.study, trial, rule, loaded.prefix)
        rows.append({"seed": trial.seed, **trial.name, "metrics": found.metrics})
    return evaluate.summary(rows)


def save(
    directory: Path, results: dict[str, Any], judged: list[evaluate.Judged], trials: tuple[Trial, ...], first: int
) -> list[Path]:
    """The kept detector with its card; where members are classes or folds, one each."""
    named = [{k: v for k, v in t.name.items() if k != "seed"} for t in trials]
    if not named[0]:
        judged[first].detector.save(directory / "detector")
        card.write(directory / "detector", results, first, judged[first])
        return [directory / "detector"]
    for m, name in enumerate(named):
        if trials[m].seed == trials[0].seed:
            label = "_".join(str(v) for v in name.values()).lower()
            clean = "".join(c if c.isalnum() or c in "-_" else "_" for c in label)
            judged[first + m].detector.save(directory / "detectors" / clean)
            card.write(directory / "detectors" / clean, results, first + m, judged[first + m])
    return [directory / "detectors"]


def score_table(config: Config, detector: detectors.Detector, directory: Path) -> Path:
    """A CSV of probabilities for a CSV of images: of a method that gives none, 1 − p-value."""
    assert config.score_table is not None
    names, images = read_unlabelled(config.score_table, config.side_px)
    said = jax.eval_shape(detector.outputs, jax.ShapeDtypeStruct((1, *images.shape[1:]), np.uint8))
    if "probability" in said:
        found = np.asarray(detector.outputs(images, {"probability"})["probability"])
    else:
        found = 1 - np.asarray(detector.p_value(images))
    write_probabilities(directory / "probabilities.csv", names, found)
    return directory / "probabilities.csv"


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
    sys.exit(main())
