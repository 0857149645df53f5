"""The plots of a run: which of its numbers go into which picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from adjax.data.protocols import Task
from experiments import plots
from experiments.evaluate import Judged
from experiments.rundir import read_log


def draw(
    directory: Path,
    results: dict[str, Any],
    judged: list[Judged],
    settings: list[tuple[float, int]],
    task: Task,
    note: str,
) -> list[Path]:
    """Draws all plots of a run into its directory; returns their paths.

    Args:
      directory: the run directory, with metrics.jsonl.
      results: as in results.json.
      judged: a member each, in the order of `settings`, (λ, seed).
      task: the data.
      note: printed on every plot.
    """
    pair = f"{task.name} → {task.ood_name}"
    of_lam: dict[float, list[Judged]] = {}
    for (lam, _), member in zip(settings, judged, strict=True):
        of_lam.setdefault(lam, []).append(member)
    firsts = {lam: group[0] for lam, group in of_lam.items()}
    curves = [
        (f"λ = {lam:g}", np.concatenate([j.scores for j in group]), np.concatenate([j.labels for j in group]))
        for lam, group in of_lam.items()
    ]
    shown = list(firsts)
    if len(shown) > 3:  # none, the detector's own, the largest
        shown = sorted({shown[0], settings[results["kept"]["member"]][0], shown[-1]})
    panels = [
        (
            f"λ = {lam:g}",
            firsts[lam].test["features"],
            task.test.labels,
            firsts[lam].ood["features"],
            list(task.classes),
        )
        for lam in shown
    ]
    kept = judged[results["kept"]["member"]]
    normal = kept.labels == 0
    members = results["members"]
    seeds = len(judged) // len(of_lam)
    references = [("paper: 0.9852–0.9915", (0.9852, 0.9915))] if results["references"] else None
    return [
        plots.metric_against_lam(
            directory / "f1_against_lam.png",
            members,
            "f1",
            title=f"Classification F1, {task.name}",
            reference=references,
            note=note,
        ),
        plots.metric_against_lam(
            directory / "ood_f1_against_lam.png", members, "ood_f1", title=f"OOD F1, {pair}", note=note
        ),
        plots.roc_per_lam(directory / "roc.png", curves, title=f"ROC, {pair}, {seeds} seed(s) pooled", note=note),
        plots.feature_view(directory / "features.png", panels, note=note),
        plots.score_histogram(
            directory / "scores.png",
            kept.scores[normal],
            kept.scores[~normal],
            float(kept.detector.threshold),
            title=f"Scores, {pair}",
            note=note,
        ),
        plots.training_curves(directory / "training.png", read_log(directory / "metrics.jsonl"), note=note),
    ]
