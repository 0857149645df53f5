"""`python -m adjax train`: a folder of normal images to a detector."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from adjax import localise, serialization
from adjax.auto import fit, page, plan, record, scan_folder, select
from adjax.auto.earlier import Earlier
from adjax.cli import train_tiles
from adjax.cli._common import start
from adjax.cli._training import refuse_if_many, tell, tell_figures, tell_next, write_page
from adjax.cli.parsers.train import parser
from adjax.data.copies import copied
from adjax.data.io import depth, framing, gather, masks, pixels, reading, scratch, upload
from adjax.data.io.scratch import Images
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.pipeline import training_steps
from adjax.progress import ImageProgress


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax train ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    chosen.arguments, chosen.directory = arguments, os.getcwd()
    return run(start(), chosen)


def run(console: Console, chosen: argparse.Namespace, earlier: Earlier | None = None) -> int:
    """Trains, evaluates and writes.

    Args:
      console: to print to.
      chosen: the options, and `arguments` and `directory`, see `adjax.auto.record.Training`.
      earlier: a run whose network is taken as it was trained; None: it is trained here.

    Returns:
      The exit code.

    Raises:
      DataError: pictures that nothing can be learned from.
      ValueError: options that don't fit together, or another training than `earlier`.
    """
    found = scan_folder.chosen_by(chosen)
    out = chosen.out or Path("runs") / (chosen.folder.resolve().name or "detector")
    serialization.FORMAT.check_target(out)
    _check_replaced(console, chosen, out)
    with scratch.Scratch(chosen.scratch or out.parent, console.print) as room:
        return _run(console, chosen, found, out, room, earlier)


def _check_replaced(console: Console, chosen: argparse.Namespace, out: Path) -> None:
    """Refuses to replace the detector of another folder, unless it was named; then it is said."""
    before, now = record.folder_of(out), chosen.folder.resolve()
    if before in (None, now):
        return
    of_another = f"{out} is a detector of {upload.line(str(before))}, and this is one of {upload.line(str(now))}"
    if chosen.out is None:
        raise DataError(f"{of_another}: name another place by --out DIR, or --out {out} to replace it")
    console.print(f"{of_another}: it is replaced", style="bold red")


def _run(
    console: Console,
    chosen: argparse.Namespace,
    found: scan_folder.Layout,
    out: Path,
    room: scratch.Scratch,
    earlier: Earlier | None,
) -> int:
    console.print(found.about)
    if found.passed_over:
        kinds = ", ".join(f"{why} {count:,}" for why, count in found.passed_over.most_common())
        masks_too = "; masks say where, if anomalies have any" if found.passed_over["masks"] else ""
        console.print(f"skipped: {kinds}{masks_too}")
    if len(found.files) < fit.FEWEST_CROSSED:
        raise DataError(fit.too_few(len(found.files)))

    errors: dict[Path, str] = {}
    reads = reading.checked(chosen.depth or depth.WHOLE, chosen.page, chosen.limits)
    headers = gather.headers(found.files, reads["page"], reads["limits"])
    errors |= {f: h for f, h in zip(found.files, headers, strict=True) if isinstance(h, str)}
    readable = [header for header in headers if isinstance(header, upload.Header)]
    refuse_if_many(errors, found.files)
    scan_folder.refuse_lone(found, [not isinstance(header, str) for header in headers])
    named = chosen.method, chosen.model, chosen.scorer, chosen.side_px, chosen.weights, chosen.frame, chosen.precision
    asked = plan.UserChoices(*named)
    planned = plan.choose(readable, len(found.classes), asked)
    planned = dataclasses.replace(planned, **reads)
    if earlier is None:
        plan.check_steps(planned, asked, chosen.steps)
    elif warning := earlier.told_of_tests(found):
        console.print(warning, style="bold red")
    console.print(f"trains {planned.name}")
    for line in planned.why:
        console.print(f"  {line}")
    console.print(
        "  to choose otherwise: --method, --model, --scorer, --side-px, --frame, --weights, --steps (see --help)"
    )
    _tell_of_frame(console, readable, planned)
    if planned.tiled:
        return train_tiles.run(console, chosen, found, planned, errors, out, room, earlier)

    depths = depth.Depths()
    place = room if planned.frozen else None
    images, rows, broken = gather.images(found.files, planned.shape, depths, planned.frame, scratch=place, **reads)
    errors |= broken
    refuse_if_many(errors, found.files)
    tell(console, errors)
    if chosen.depth is None and (bits := depths.fitted()) < depth.WHOLE:
        console.print(f"{depths.rule()}; to choose otherwise: --depth")
        planned = dataclasses.replace(planned, depth=bits)
        room.close()
        reads = reading.of(planned)
        images, rows, _ = gather.images(found.files, planned.shape, None, planned.frame, scratch=place, **reads)
    if warning := depths.told(depth=planned.depth):
        console.print(warning, style="bold red")
    labels = found.labels[rows]
    parts = fit.hold_out(labels, chosen.false_positive_rate, chosen.seed, images, frozen=planned.frozen)
    if told := parts.told():
        console.print(told)
    outputs = None
    if planned.selects:
        console.print("looks for the scorer that finds synthetic defects in these pictures")
        planned, outputs = select.refined(planned, images[parts.train], labels[parts.train], found.classes, chosen.seed)
        console.print(f"trains {planned.name}\n  {planned.why[-1]}")
    if earlier is not None:
        planned = earlier.applied(planned, found, parts, images, labels, rows)
        console.print(f"  {planned.why[-1]}")
    if unnamed := plan.told_of_classes(planned, found.classes):
        planned = dataclasses.replace(planned, why=(*planned.why, unnamed))
        console.print(f"  {unnamed}")
    steps = training_steps(planned.method, len(parts.train), planned.batch_size, chosen.steps) if earlier is None else 0
    with ImageProgress(console, steps * planned.batch_size, "training") as progress:

        def report(step: int, metrics: dict[str, np.ndarray]) -> None:
            progress.advance(step * planned.batch_size - progress.done)

        try:
            fitted = fit.fit(
                planned,
                images,
                labels,
                found.classes,
                parts,
                alpha=chosen.false_positive_rate,
                steps=steps,
                seed=chosen.seed,
                params=None if earlier is None else earlier.detector.params,
                outputs=outputs,
                report=report,
            )
        except fit.Stopped as stopped:
            console.print("stopped; nothing was kept")
            return 128 + stopped.signal
    if earlier is not None:
        fitted = fitted._replace(trained_steps=earlier.record["steps"])
    detector = fitted.detector
    detector.save(out)
    console.print(f"{detector}\n{parts.promise(chosen.false_positive_rate)}: --false-positive-rate for another")
    aside = None if parts.crossed else (images[parts.held_out], [found.files[rows[i]] for i in parts.held_out])
    judged = _judge(console, detector, found, planned, aside, images, parts.train, chosen, out, room)
    training = record.Training(
        found,
        planned,
        parts,
        fitted,
        judged,
        images,
        labels,
        rows,
        errors,
        vars(chosen),
        chosen.false_positive_rate,
        depths.record(),
    )
    record.write(training, out)
    tell_next(console, out, localise.kind(detector) is not None)
    return 0


def _tell_of_frame(console: Console, headers: Sequence[upload.Header], planned: plan.TrainingPlan) -> None:
    """Says what is not seen of the pictures, or stretched."""
    sizes = [(header.height, header.width) for header in headers]
    unseen = [pixels.unseen(*size, planned.shape, planned.frame) for size in sizes]
    if warning := framing.told_of_unseen(unseen, planned.frame):
        console.print(warning, style="bold red")
    if told := framing.told_of_proportions(sizes, planned.frame):
        console.print(told)


def _judge(
    console: Console,
    detector: Any,
    found: scan_folder.Layout,
    planned: plan.TrainingPlan,
    aside: tuple[Images, list[Path]] | None,
    images: Images,
    train: np.ndarray,
    chosen: argparse.Namespace,
    out: Path,
    room: scratch.Scratch,
) -> fit.Evaluation | None:
    """Prints how it does on known anomalies, and writes the report, if there are any.

    Beside the anomalies stand normal images for testing, else those held out, `aside`; None: the cross-fitted levels.
    `images` are the normal ones that were read, and `train` the rows of those learned from.
    """
    shape = planned.shape
    if not found.test_anomalous:
        console.print(
            "no anomalous/ or test/ to evaluate on: put some known anomalies into anomalous/ to see how it does"
        )
        return None
    reads: dict[str, Any] = {**reading.of(planned), "scratch": room}
    anomalous, odd, broken = gather.images(found.test_anomalous, shape, None, planned.frame, **reads)
    normal: Images | None = None
    beside, also = list[Path](), dict[Path, str]()
    if found.test_normal:
        normal, rows, also = gather.images(found.test_normal, shape, None, planned.frame, **reads)
        beside = [found.test_normal[i] for i in rows]
    elif aside is not None:
        normal, beside = aside
    tell(console, {**broken, **also})
    if not len(anomalous) or (normal is not None and not len(normal)):
        return None
    known, unread = masks.of_pictures([found.test_anomalous[i] for i in odd], chosen.folder, shape, planned.frame)
    tell(console, unread)
    judged = fit.evaluate(detector, normal, anomalous, known, images[train])
    tested = () if normal is None or not found.test_normal else normal
    judged = judged._replace(copied=copied(tested, images), contradicted=copied(anomalous, chain(images, tested)))
    apart = "cross-fitted" if normal is None else "held-out"
    which = "normal test images" if found.test_normal else f"{apart} normal images, which also set the threshold"
    tell_figures(console, judged, which)
    if judged.baselines:
        each = ", ".join(f"{name} {auroc:.4f}" for name, auroc in judged.baselines.items())
        console.print(f"trivial scores of the same pictures (adjax.baselines): {each}")
    if judged.beaten_by:
        console.print(f"{judged.beaten_by} alone does better than this detector", style="bold red")
    if known or found.passed_over["masks"]:
        console.print(_told_of_places(judged.pixels, known, detector))
    unshown = [None] * (judged.normal - len(beside))
    files: list[Path | None] = [*beside, *unshown, *(found.test_anomalous[i] for i in odd)]
    levels = detector.calibration_scores if normal is None else detector.score(normal)
    scores = np.concatenate([np.asarray(x, np.float32) for x in (levels, detector.score(anomalous))])
    look = page.images_of(detector, scores, normal, anomalous)
    own = not found.test_normal
    write_page(console, detector, judged, scores, files, look, planned, chosen, out, own, aside is None)
    return judged


def _told_of_places(places: fit.Pixels | None, known: Mapping[int, np.ndarray], detector: Detector) -> str:
    """How well maps show where, by masks of anomalies; or why nothing tells."""
    if places is not None:
        empty = f", {places.empty:,} of them empty as the network sees them" if places.empty else ""
        return (
            f"where, by {places.masks:,} masks{empty}: pixel AUROC {places.auroc:.4f}, AUPRO {places.aupro:.4f} (to a "
            f"false-positive rate of 0.3), {places.aupro_small:.4f} (to 0.05)"
        )
    if not known:
        return "no figures of where: no mask that can be read is named like an anomaly, see docs/layouts.md"
    if localise.kind(detector) != "score":
        why = f"scorer {detector.spec.names[-1]} has no places in the unit of its score, as padim and patchcore have"
    elif not any(mask.any() for mask in known.values()):
        why = "they mark nothing, as the network sees them"
    else:
        why = "all normal pictures were learned from; put others into test/good/, to be compared with"
    return f"no figures of where by {len(known):,} masks: {why}"
