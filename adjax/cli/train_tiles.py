"""`python -m adjax train FOLDER --tiles`: from the plan on, for pictures that are cut into tiles."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.console import Console

from adjax.auto import fit, page, record, scan_folder, tiled
from adjax.auto.earlier import Earlier
from adjax.auto.plan import TrainingPlan
from adjax.cli._training import refuse_if_many, tell, tell_figures, tell_next, write_page
from adjax.data.copies import copied_files
from adjax.data.io import depth
from adjax.data.io.scratch import Scratch
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.progress import ImageProgress


def run(
    console: Console,
    chosen: argparse.Namespace,
    found: scan_folder.Layout,
    planned: TrainingPlan,
    errors: dict[Path, str],
    out: Path,
    room: Scratch,
    earlier: Earlier | None = None,
) -> int:
    """Trains, evaluates and writes.

    Args:
      console: to print to.
      chosen: the options.
      found: the files.
      planned: what to train, for tiles.
      errors: files whose header can't be read → reason; what is found here is added.
      out: the detector's directory.
      room: for what of each picture is kept.
      earlier: a run that learned from the same pictures; None: none has.

    Returns:
      The exit code.

    Raises:
      DataError: too few pictures, or too many that can't be read.
    """
    if chosen.depth not in (None, depth.WHOLE):
        raise DataError(f"--depth {chosen.depth} with --tiles: tiles know no depth but {depth.WHOLE}; leave out one")
    depths, alpha, seed = depth.Depths(), chosen.false_positive_rate, chosen.seed
    known = tiled.sample(found.files, planned.shape, seed, depths, planned.page, planned.limits, room)
    errors |= known.errors
    refuse_if_many(errors, found.files)
    tell(console, errors)
    if warning := depths.told():
        console.print(warning, style="bold red")
    labels = np.zeros(len(known.rows), np.int32)
    share = fit.HELD_OUT  # by name: each fold of a cross-fit would read all tiles again
    parts = fit.hold_out(labels, alpha, seed, known.thumbnails, share, frozen=True)
    if told := parts.told():
        console.print(told)
    files = [found.files[row] for row in known.rows]
    console.print(f"{len(known.tiles):,} tiles of {len(files):,} pictures are learned from")
    if planned.selects:
        console.print("looks for the scorer that finds synthetic defects in these tiles")
        planned = tiled.refined(planned, known, parts.train, seed)
        console.print(f"trains {planned.name}\n  {planned.why[-1]}")
    if earlier is not None:
        written = found._replace(classes=tiled.ONE_CLASS)
        planned = earlier.applied(planned, written, parts, known.thumbnails, labels, known.rows)
        console.print(f"  {planned.why[-1]}")
    with ImageProgress(console, parts.calibrating, "calibrating") as progress:
        fitted = tiled.train(planned, files, known, parts, alpha=alpha, seed=seed, advance=progress.advance)
    fitted.detector.save(out)
    console.print(f"{fitted.detector}\n{parts.promise(alpha)}: --false-positive-rate for another")
    judged = _judge(console, fitted.detector, found, planned, parts.crossed, chosen, out)
    written = found._replace(classes=tiled.ONE_CLASS)
    record.write(
        record.Training(
            written,
            planned,
            parts,
            fitted,
            judged,
            known.thumbnails,
            labels,
            known.rows,
            errors,
            vars(chosen),
            alpha,
            depths.record(),
        ),
        out,
    )
    tell_next(console, out, maps=True)
    return 0


def _judge(
    console: Console,
    detector: Detector,
    found: scan_folder.Layout,
    planned: TrainingPlan,
    crossed: bool,
    chosen: argparse.Namespace,
    out: Path,
) -> fit.Evaluation | None:
    """Prints how it does on known anomalies, and writes the report, if there are any."""
    if not found.test_anomalous:
        return None
    odd, anomalous = _scores(console, detector, found.test_anomalous)
    beside, normal = _scores(console, detector, found.test_normal)
    if not odd or (found.test_normal and not beside):
        return None
    levels = normal if beside else np.asarray(detector.calibration_scores)
    judged = fit.of_scores(float(detector.threshold), levels, anomalous)
    judged = judged._replace(
        copied=copied_files(beside, found.files), contradicted=copied_files(odd, [*found.files, *beside])
    )
    apart = "cross-fitted" if crossed else "held-out"
    which = "normal test images" if beside else f"{apart} normal images, which also set the threshold"
    tell_figures(console, judged, which)
    if found.passed_over["masks"]:
        console.print("no figures of where by masks: pictures in tiles are compared as a whole alone")
    files: list[Path | None] = [*beside, *[None] * (len(levels) - len(beside)), *odd]
    scores = np.concatenate([levels, anomalous])
    look = page.tiled_of(detector, files)
    write_page(console, detector, judged, scores, files, look, planned, chosen, out, not beside, crossed)
    return judged


def _scores(console: Console, detector: Detector, files: list[Path]) -> tuple[list[Path], np.ndarray]:
    """Those that can be read and their scores; the others are told."""
    found, errors = dict[Path, float](), dict[Path, str]()
    for file in files:
        try:
            (found[file],) = tiled.scores(detector, [file])
        except DataError as error:
            errors[file] = str(error)
    tell(console, errors)
    return list(found), np.array(list(found.values()), np.float32)
