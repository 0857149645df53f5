"""What `python -m adjax train` says, of pictures whole or in tiles."""

from __future__ import annotations

import argparse
import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from adjax import manifest
from adjax.auto import fit, page, record
from adjax.auto.plan import TrainingPlan
from adjax.data.io import upload
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.report import write as write_report


def refuse_if_many(errors: dict[Path, str], files: Sequence[Path]) -> None:
    """Refuses to train where more than half of the pictures can't be read.

    Args:
      errors: file → reason.
      files: all of them.

    Raises:
      DataError: with the first reason.
    """
    if len(errors) > len(files) / 2:
        first = next(iter(errors))
        raise DataError(
            f"{len(errors):,} of {len(files):,} pictures can't be read, the first "
            f"{upload.line(str(first))}: {errors[first]}"
        )


def tell(console: Console, errors: dict[Path, str]) -> None:
    """Says which files were left out, the first few by name.

    Args:
      console: to print to.
      errors: file → reason.
    """
    if errors:
        console.print(f"{len(errors):,} pictures can't be read and are left out ({record.NAME} has them all):")
    for path, why in itertools.islice(errors.items(), 3):
        console.print(f"  {upload.line(str(path))}: {why}")


def tell_figures(console: Console, judged: fit.Evaluation, which: str) -> None:
    """Prints how a detector does on known anomalies.

    Args:
      console: to print to.
      judged: the figures.
      which: what the normal images are: "normal test images", "held-out normal images, which also set …".
    """
    value, low, high = judged.auroc
    console.print(
        f"{judged.anomalous:,} anomalies against {judged.normal:,} {which}: AUROC {value:.4f} ({low:.4f}–{high:.4f}), "
        f"AUPR {judged.aupr:.4f}, FPR95 {judged.fpr95:.2%}; at the threshold {judged.flagged:.1%} of the anomalies are "
        f"flagged, and {judged.false_alarms:.1%} of the normal images"
    )
    for warning in judged.warnings:
        console.print(warning, style="bold red")


def write_page(
    console: Console,
    detector: Detector,
    judged: fit.Evaluation,
    scores: np.ndarray,
    files: Sequence[Path | None],
    look: page.Look,
    planned: TrainingPlan,
    chosen: argparse.Namespace,
    out: Path,
    calibrated_on: bool,
    crossed: bool,
) -> None:
    """Writes the report of a training, and says where.

    Args:
      console: to print to.
      detector, judged, scores, files, look, calibrated_on, crossed: as of `adjax.auto.page.of_training`.
      planned: what was trained.
      chosen: the options.
      out: the detector's directory.
    """
    report = page.of_training(
        detector,
        judged,
        scores,
        files,
        look,
        folder=chosen.folder,
        command=shlex.join(["python", "-m", "adjax", "train", *chosen.arguments]),
        about=f"{planned.name} on {upload.line(chosen.folder.resolve().name)}",
        alpha=chosen.false_positive_rate,
        calibrated_on=calibrated_on,
        crossed=crossed,
        sha256=manifest.digest(out),
    )
    write_report(report, out / page.NAME)
    console.print(f"how it does, picture by picture: {out / page.NAME}")


def tell_next(console: Console, out: Path, maps: bool) -> None:
    """Says where the detector is, and how to use it.

    Args:
      console: to print to.
      out: its directory.
      maps: whether it can show where.
    """
    options = " --maps maps/" if maps else ""
    console.print(f"written to {out}\nNext:\n  python -m adjax predict {out} FOLDER --out scores.csv{options}")
