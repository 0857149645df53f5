"""The plots of a run: which of its numbers go into which picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from adjax.augment import Normalise
from experiments import plots
from experiments.evaluate import PAPER, Judged
from experiments.rundir import read_log
from experiments.study import Loaded


def brief(figures: dict[str, float]) -> str:
    """A member's figures in one line."""
    shown = {"f1": "class F1"} if "ood_auroc" in figures else {}
    shown |= {"auroc": "AUROC", "ood_auroc": "OOD AUROC", "ood_f1": "OOD F1"}
    rates = {"fpr95": "FPR95", "ood_fpr95": "FPR95"}
    parts = [f"{title} {figures[name]:.4f}" for name, title in shown.items() if name in figures]
    parts += [f"{title} {figures[name]:.2%}" for name, title in rates.items() if name in figures]
    if "ood_auroc" not in figures:
        parts += [f"{name} {figures[name]:.4f}" for name in ("f1", "accuracy")]
    return ", ".join(parts)


def draw(
    directory: Path, results: dict[str, Any], judged: list[Judged], loaded: Loaded, normalise: Normalise
) -> list[Path]:
    """Draws all plots of a run into its directory; returns their paths.

    Args:
      directory: the run directory, with metrics.jsonl.
      results: as in results.json.
      judged: a member each, in the order of `results["members"]`.
      loaded: the data.
      normalise: pixel values to network input.
    """
    note, first = results["note"], results["kept"]["member"]
    kept, trial = judged[first], loaded.benchmark.trials[0]
    title = f"{results['dataset']['name']} → {results['ood']['name']}"
    if not loaded.prefix:
        title = ", ".join([results["dataset"]["name"], *(f"{k} {v}" for k, v in trial.name.items() if k != "seed")])
    normal, images = kept.truth == 0, loaded.benchmark.test.images[trial.test]
    threshold = float(kept.detector.threshold)
    reconstructed = reconstructions(kept, images, normalise)
    written = [
        plots.score_histogram(
            directory / "scores.png",
            kept.scores[normal],
            kept.scores[~normal],
            threshold,
            title=f"Scores, {title}",
            note=note,
        ),
        plots.scores_by_sample(
            directory / "scores_by_sample.png",
            kept.scores,
            kept.truth,
            threshold,
            title=f"Score of each test image, {title}",
            note=note,
        ),
        plots.failures_gallery(
            directory / "failures.png",
            images,
            kept.scores,
            kept.truth,
            threshold,
            title=f"Worst false alarms and misses, {title}",
            reconstructions=reconstructed,
            note=note,
        ),
    ]
    if reconstructed is not None:
        written.append(
            plots.reconstructions(
                directory / "reconstructions.png",
                images,
                reconstructed,
                kept.scores,
                kept.truth,
                title=f"Reconstructions, {title}",
                note=note,
            )
        )
    records = read_log(directory / "metrics.jsonl")
    if records:
        written.append(plots.training_curves(directory / "training.png", records, note=note))
    own = _classes_plots if loaded.prefix else _anomaly_plots
    return written + own(directory, results, judged, loaded, title)


def reconstructions(judged: Judged, images: np.ndarray, normalise: Normalise) -> np.ndarray | None:
    """What the network makes of test images, uint8 like them; None if it reconstructs nothing."""
    few = jax.eval_shape(judged.detector.outputs, jax.ShapeDtypeStruct((1, *images.shape[1:]), np.uint8))
    if "reconstruction" not in few or few["reconstruction"].shape[1:] != images.shape[1:]:
        return None
    x = judged.detector.outputs(images, {"reconstruction"})["reconstruction"]
    pixels = (np.asarray(x) * np.asarray(normalise.sd) + np.asarray(normalise.mean)) * 255
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def _classes_plots(
    directory: Path, results: dict[str, Any], judged: list[Judged], loaded: Loaded, title: str
) -> list[Path]:
    """Of methods that tell classes apart: everything against λ, and the feature space."""
    note, members = results["note"], results["members"]
    if "features" not in judged[0].outputs:
        return []
    of_lam: dict[float, list[Judged]] = {}
    for member, one in zip(members, judged, strict=True):
        of_lam.setdefault(float(member["hparams"].get("lam", 0)), []).append(one)
    firsts = {lam: group[0] for lam, group in of_lam.items()}
    shown = list(firsts)
    if len(shown) > 3:  # none, the detector's own, the largest
        shown = sorted({shown[0], float(results["kept"]["hparams"]["lam"]), shown[-1]})
    labels = loaded.benchmark.test.labels[loaded.benchmark.trials[0].test]
    panels = []
    for lam in shown:
        one = firsts[lam]
        normal, features = one.truth == 0, one.outputs["features"]
        panels.append((f"λ = {lam:g}", features[normal], labels[normal], features[~normal], list(loaded.classes)))
    curves = [
        (f"λ = {lam:g}", np.concatenate([j.scores for j in group]), np.concatenate([j.truth for j in group]))
        for lam, group in of_lam.items()
    ]
    seeds = len(judged) // len(of_lam)
    pooled = f"{seeds} seed(s) pooled"
    references = [("paper: 0.9852–0.9915", (0.9852, 0.9915))] if results["references"] else None
    swept = []
    if len(of_lam) > 1:  # of one λ there is nothing to see
        swept = [
            plots.metric_against_lam(
                directory / "f1_against_lam.png",
                members,
                "f1",
                title=f"Classification F1, {results['dataset']['name']}",
                reference=references,
                note=note,
            ),
            plots.metric_against_lam(
                directory / "ood_f1_against_lam.png", members, "ood_f1", title=f"OOD F1, {title}", note=note
            ),
        ]
        swept += _of_both_methods(directory, members, of_lam, title, pooled, note)
    return [
        *swept,
        plots.roc_per_lam(directory / "roc.png", curves, title=f"ROC, {title}, {pooled}", note=note),
        plots.feature_view(directory / "features.png", panels, note=note),
    ]


def _of_both_methods(
    directory: Path,
    members: list[dict[str, Any]],
    of_lam: dict[float, list[Judged]],
    title: str,
    pooled: str,
    note: str,
) -> list[Path]:
    """The center-loss paper's figures 3 and 5 on the networks of a sweep of the supervised head; else none.

    Its semi-supervised method reads the same features: each class's own Mahalanobis distance, all thresholds moved
    together.
    """
    every = [one for group in of_lam.values() for one in group]
    if any(one.detector.spec.names[0] != "ood_head" or PAPER not in one.further for one in every):
        return []
    methods = {"supervised head": lambda one: one.scores, "Mahalanobis per class": lambda one: one.further[PAPER]}
    curves = [
        (
            f"{name}, λ = {lam:g}",
            np.concatenate([scores(one) for one in of_lam[lam]]),
            np.concatenate([one.truth for one in of_lam[lam]]),
        )
        for name, scores in methods.items()
        for lam in (min(of_lam), max(of_lam))
    ]
    own = [{**member, "metrics": member["scorers"][PAPER]} for member in members]
    return [
        plots.roc_per_lam(directory / "roc_of_both_methods.png", curves, title=f"ROC, {title}, {pooled}", note=note),
        plots.metric_against_lam(
            directory / "ood_f1_against_lam_mahalanobis.png",
            own,
            "ood_f1",
            title=f"OOD F1, Mahalanobis per class, {title}",
            note=note,
        ),
    ]


def _anomaly_plots(
    directory: Path, results: dict[str, Any], judged: list[Judged], loaded: Loaded, title: str
) -> list[Path]:
    """Of one-class protocols: ROC of each class or fold, and which of them is hard."""
    note, first, trials = results["note"], results["kept"]["member"], loaded.benchmark.trials
    seed = trials[0].seed
    curves = []
    for trial, one in zip(trials, judged[first : first + len(trials)], strict=True):
        if trial.seed == seed:
            name = " ".join(str(v) for k, v in trial.name.items() if k != "seed") or "all"
            curves.append((name, one.scores, one.truth))
    heading = f"{results['dataset']['name']}, {results['method']}, {results['ood']['name']}"
    written = [plots.roc_by_member(directory / "roc.png", curves, title=f"ROC, {heading}", note=note)]
    own = results["members"][first : first + len(trials)]
    if len({m.get("class") for m in own}) > 1:
        references = [
            (r["name"], r["metrics"]["auroc"])
            for r in results["references"]
            if isinstance(r["metrics"].get("auroc"), float)
        ]
        written.append(
            plots.auroc_by_class(
                directory / "auroc_by_class.png", own, title=f"AUROC, {heading}", references=references, note=note
            )
        )
    return written
