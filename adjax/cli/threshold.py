"""`python -m adjax threshold`: other decisions on a table that `predict` wrote, without scoring again."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich.console import Console

from adjax import features, manifest, serialization, thresholds
from adjax.cli._common import start
from adjax.cli.parsers.threshold import CONFIDENCE, parser
from adjax.data.io import sources, upload
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.predict import decide, page, readers, resume_log, stream, writers
from adjax.predict.decide import Decider
from adjax.predict.loading import check_rate, find_detector
from adjax.progress import ImageProgress
from adjax.report import write as write_report


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax threshold ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    console = start()
    source, out = chosen.scores, chosen.out or _beside(chosen)
    if chosen.threshold is not None and chosen.confidence is not None:
        raise DataError(
            f"--confidence {chosen.confidence:g} with --threshold: a threshold that you choose promises nothing, so "
            "that nothing is known to be uncertain; leave it out"
        )
    readers.check(source)
    writers.check(out)
    if out.suffix.lower() != source.suffix.lower():
        raise DataError(f"--out {out}: the new table is written as {source.suffix}, as {source.name} is: name it so")
    for path in filter(None, (out, chosen.report)):
        if path.resolve() == source.resolve():
            raise DataError(f"{path} is the table that is read: name another")
        if path.exists() and not chosen.overwrite:
            raise DataError(f"{path} is there already: name another, or --overwrite")
    if chosen.report and chosen.report.resolve() == out.resolve():
        raise DataError(f"--report {chosen.report} is the new table: name another")
    if not source.is_file():
        raise DataError(f"{source} is not there: name a table that predict wrote")
    beside = resume_log.head(resume_log.path_beside(source))
    for option, wanted in (("--report", chosen.report), ("--boxes", chosen.boxes)):
        if wanted and "folder" not in beside:
            raise DataError(f"{option}: no {source.name}.journal says which folder was scored: use predict")
    directory, rate = _directory(chosen, beside), chosen.false_positive_rate
    draws = beside.get("maps", "unknown") is not None
    scores, sha256 = serialization.calibration_scores(directory), manifest.digest(directory)
    threshold, interval = chosen.threshold, None
    if rate is not None:
        check_rate(len(scores), rate)
        threshold = thresholds.conformal(scores, rate)
        interval = thresholds.threshold_interval(scores, rate, chosen.confidence or CONFIDENCE)
    threshold = float(np.float32(threshold))
    decider = Decider(sha256, threshold, interval, draws)
    if chosen.report or chosen.boxes:
        detector = dataclasses.replace(serialization.load(directory), threshold=jnp.float32(threshold))
        pictures = sources.of(beside["folder"])
    if chosen.boxes:
        again = decide.flagged(decider.parts(readers.parts(source)))
        names = _names(resume_log.path_beside(source), again)
        decider = Decider(sha256, threshold, interval, draws, _boxes(console, detector, pictures, names))
    writers.write_parts(out, decider.parts(readers.parts(source)))
    counts = decider.counts
    console.print(
        f"above {threshold:.6g}: {counts['anomalous']:,} anomalous, {counts['normal']:,} normal, {counts['error']:,} "
        f"not readable\n  table         {out}"
    )
    if decider.lost:
        console.print(
            f"  boxes of {decider.lost:,} flagged files are left empty, since they are those of another threshold: "
            "--boxes looks at these pictures again"
        )
    if chosen.report:
        command = shlex.join(["python", "-m", "adjax", "threshold", *arguments])
        table = readers.Table(out)
        write_report(page.of_scores(detector, sha256, pictures, table, rate, command, out.name), chosen.report)
        console.print(f"  report        {chosen.report} (open it in a browser)")
    return 0


def _beside(chosen: argparse.Namespace) -> Path:
    """SCORES-0.02.csv for a rate, SCORES-above-3.5.csv for a threshold."""
    rate, path = chosen.false_positive_rate, chosen.scores
    return path.with_name(f"{path.stem}-{f'above-{chosen.threshold:g}' if rate is None else f'{rate:g}'}{path.suffix}")


def _directory(chosen: argparse.Namespace, beside: dict[str, Any]) -> Path:
    """That of the detector: named, or as it was when the table was begun."""
    if chosen.detector:
        return find_detector(chosen.detector)
    journal = resume_log.path_beside(chosen.scores)
    if "directory" not in beside:
        raise DataError(f"no {journal} says which detector scored: name it by --detector DIR")
    directory = Path(beside["directory"])
    if not (directory / manifest.MANIFEST).exists():
        raise DataError(f"{directory}, which scored {chosen.scores}, has gone: name the detector by --detector DIR")
    return directory


def _names(journal: Path, shown: list[str]) -> list[str]:
    """Names of pictures as their source has them: a table escapes bytes that are no UTF-8, and its journal has them."""
    escaped = {name for name in shown if r"\x" in name}
    if not escaped:
        return shown
    with open(journal, "rb") as file:
        next(file)
        paths = (json.loads(line)[0] for line in file if line.endswith(b"\n"))  # the last may be cut short by a kill
        own = {text: path for path in paths if (text := upload.text(path)) in escaped}
    return [own.get(name, name) for name in shown]


def _boxes(console: Console, detector: Detector, source: Source, names: list[str]) -> dict[str, str | None]:
    """Boxes at the threshold of the detector, by a picture's name in the table; None: it has none, or can't be read."""
    work = stream.rows(detector, source, names, batch_size=features.batch_size_for(detector.spec.seen_shape))
    found, lost = dict[str, str | None](), list[str]()
    with ImageProgress(console, len(names), "boxes") as progress, closing(work):
        for rows in work:
            found |= {upload.text(row.path): row.boxes for row in rows}
            lost += [f"{upload.line(row.path)}: {row.error}" for row in rows if row.error is not None]
            progress.advance(len(rows))
    if lost:
        told = f"{len(lost):,} of {len(names):,} flagged pictures can't be read any more, and get no boxes"
        console.print(f"{told}: {lost[0]}", style="bold red")
    return found
