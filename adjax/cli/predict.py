"""`python -m adjax predict`: files to a table of decisions."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from adjax import drift, features, localise
from adjax.cli._common import start
from adjax.cli.parsers.predict import parser
from adjax.cluster import connection, scoring
from adjax.data.io import depth, framing, sources, upload, walk
from adjax.data.io.probabilities import write_probabilities
from adjax.data.io.sources.folder import Folder
from adjax.data.io.sources.remote import Unreachable
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError
from adjax.loop import StopSignal
from adjax.predict import loading, page, resume_log, stream, writers
from adjax.predict.resume_log import ResumeLog
from adjax.predict.stream import Prediction
from adjax.progress import ImageProgress
from adjax.report import write as write_report

Rows = Callable[..., Generator[list[Prediction]]]
Engine = Callable[[Path, str], Rows]


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax predict ARGUMENTS`; returns the exit code: 130 after Ctrl-C, 143 after SIGTERM."""
    chosen = parser().parse_args(arguments)
    _check_engine(chosen)
    console = start()
    writers.check(chosen.out)
    with _engine(chosen) as engine:
        return _predict(chosen, arguments, console, engine)


def _predict(chosen: argparse.Namespace, arguments: list[str], console: Console, engine: Engine) -> int:
    detector, sha256, alpha, interval, directory = loading.load(chosen.detector, chosen.false_positive_rate)
    if chosen.submission and not detector.calibration_scores.shape[0]:
        raise DataError("--submission needs p-values, and this detector was fitted without held-out normal images")
    source = sources.of(chosen.source)
    report = None if chosen.no_report else chosen.report or page.path_beside(chosen.out, source)
    if report is not None and report.resolve() == chosen.out.resolve():
        raise DataError(f"--report {report} is the table of --out: name another")
    _check_outside(source, "--copy-flagged", chosen.copy_flagged)
    _check_outside(source, "--maps", chosen.maps)
    if chosen.maps and localise.kind(detector) is None:
        raise DataError(
            f"--maps {chosen.maps}: scorer {detector.spec.names[-1]} has no places, and the network does not "
            "reconstruct; train with --scorer padim, patchcore or subspace, or with --method autoencoder"
        )
    if chosen.maps:
        try:
            chosen.maps.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"--maps {chosen.maps} can't be made a folder: {error.strerror}; name another") from error
    found = source.find(links=chosen.follow_links, hidden=chosen.hidden, any_name=chosen.any_name)
    _check_found(source, found)

    shared: dict[str, str | float] = {"threshold": float(detector.threshold), "detector": sha256}
    journal_path = resume_log.path_beside(chosen.out)
    if chosen.out.exists() and not journal_path.exists() and not chosen.fresh:
        raise DataError(
            f"{chosen.out} is there already, and no {journal_path.name} to go on from: name another, or --fresh"
        )
    batch_size = chosen.batch_size or features.batch_size_for(detector.spec.seen_shape)
    with (
        ResumeLog(
            journal_path,
            {**shared, "false-positive rate": alpha, "folder": source.where},
            chosen.fresh,
            {"directory": str(directory.resolve()), "maps": localise.kind(detector)},
        ) as journal,
        StopSignal() as stop,
    ):
        anew = _changed(source, found.names, journal)
        todo = [name for name in found.names if name not in journal.done or name in anew]
        retried = sum(name in journal.failed for name in todo)
        console.print(f"{detector}\n{_told(found, len(found.names) - len(todo), retried, len(anew))}")
        made = " and ".join(["maps"] * bool(chosen.maps) + ["copies"] * bool(chosen.copy_flagged))
        if made and len(todo) < len(found.names):
            console.print(f"{made} are made of what is scored now; of all by --fresh")
        copied, unmade = 0, dict[str, list[str]]({"flagged files can't be copied": [], "maps can't be drawn": []})
        not_copied, not_drawn = unmade.values()
        depths = depth.Depths()
        work = engine(directory, sha256)(
            detector,
            source,
            todo,
            batch_size=batch_size,
            threads=chosen.threads,
            interval=interval,
            depths=depths,
            maps=chosen.maps,
            unmade=not_drawn,
        )
        with ImageProgress(console, len(todo), "scoring") as progress, closing(work):
            for rows in work:
                if rows:
                    if chosen.copy_flagged:
                        failed = _copy_flagged(rows, source, chosen.copy_flagged)
                        copied += sum(row.decision == "anomalous" for row in rows) - len(failed)
                        not_copied += failed
                    journal.append(rows)
                    progress.advance(len(rows))
                if stop.received is not None:
                    break
            rate = progress.rate()
        journal.append(Prediction(name, "error", f"can't be listed: {why}") for name, why in found.unlisted.items())
        writers.write(chosen.out, journal.rows(), shared)
        if stop.received is not None:
            _tell_unmade(console, unmade)
            console.print(f"stopped; {chosen.out} has what is done, and the same command continues")
            return 128 + stop.received
        if chosen.submission:
            _submission(chosen.submission, journal)
        if report is not None:
            command = shlex.join(["python", "-m", "adjax", "predict", *arguments])
            report.parent.mkdir(parents=True, exist_ok=True)
            write_report(page.of_scores(detector, sha256, source, journal, alpha, command, chosen.out.name), report)
        written = {
            "table": chosen.out,
            "report": report,
            "submission": chosen.submission,
            "flagged files": chosen.copy_flagged if copied else None,
            "maps": chosen.maps,
        }
        _summary(console, journal, rate, written)
        if chosen.copy_flagged and not copied:
            why = "" if not_copied else ": nothing is flagged of what was scored now"
            console.print(f"  no files are copied to {chosen.copy_flagged}{why}")
        _tell_unmade(console, unmade)
        if (drifted := drift.compare(*page.compared(detector, journal))) is not None and drifted.alarm:
            console.print(str(drifted), style="bold red")
        unseen = [row.unseen for row in journal.rows() if row.unseen is not None]
        if warning := framing.told_of_unseen(unseen, detector.spec.frame):
            console.print(warning, style="bold red")
        if warning := depths.told(depth.trained(directory), detector.spec.depth):
            console.print(warning, style="bold red")
    return 0


def _check_engine(chosen: argparse.Namespace) -> None:
    """Refuses options of a cluster where this process scores."""
    if chosen.engine == "ray":
        return
    for option in ("ray_address", "workers", "worker_cpus", "worker_gpus"):
        if value := getattr(chosen, option):
            raise DataError(
                f"--{option.replace('_', '-')} {value} is of --engine ray, and this process scores: add --engine ray, "
                "or leave it out (--threads says how many decode here)"
            )


@contextmanager
def _engine(chosen: argparse.Namespace) -> Iterator[Engine]:
    """What scores, of a detector's directory and SHA-256: `stream.rows`, or that on a Ray cluster, which starts now."""
    if chosen.engine == "local":
        yield lambda *_: stream.rows
        return
    asked = connection.Cluster(chosen.ray_address, chosen.workers, chosen.worker_cpus, chosen.worker_gpus)
    with connection.connecting(asked) as wait:

        def engine(directory: Path, sha256: str) -> Rows:
            wait()
            return partial(scoring.rows, directory, sha256, asked)

        yield engine


def _check_outside(source: Source, option: str, target: Path | None) -> None:
    """Refuses to write among the files that are scored."""
    if target and isinstance(source, Folder) and source.holds(target):
        raise DataError(f"{option} {target} lies in {source.root}, whose files are scored: name another")


def _check_found(source: Source, found: walk.Found) -> None:
    """Refuses a folder of shards, whose pictures have to be named."""
    if found.names or found.unlisted:
        return
    shards = [suffix for suffix in sources.SHARDS if found.passed_over[suffix]]
    pattern = getattr(source, "pattern", "")
    if shards:
        choices = " or ".join(f"'{'FOLDER' if pattern else source.where}/*{suffix}'" for suffix in shards)
        raise DataError(f"{source.where} holds no pictures, but {' and '.join(shards)} files: name them, {choices}")
    if pattern:
        raise DataError(
            f"no picture file fits {source.where}: * stays in one folder, ** stands for any, as in 'photos/**/*.jpg', "
            "and --any-name takes files that aren't named like pictures"
        )


def _changed(source: Source, names: Sequence[str], journal: ResumeLog) -> set[str]:
    """Files that are done but have changed since: of a folder; other sources are known by their names alone."""
    if not isinstance(source, Folder):
        return set()
    return {name for name in names if name in journal.done and source.changed(name, journal.written)}


def _told(found: walk.Found, before: int, retried: int, changed: int) -> str:
    """How many files there are, what was skipped, and what is done again."""
    parts = [f"{len(found.names):,} picture files"]
    if before:
        parts.append(f"{before:,} of them done before")
    if retried:
        parts.append(f"tried again, as they could not be read before: {retried:,}")
    if changed:
        parts.append(f"scored again, as they have changed since: {changed:,}")
    if found.passed_over:
        kinds = ", ".join(f"{why} {count:,}" for why, count in found.passed_over.most_common())
        parts.append(f"skipped: {kinds}")
    return "; ".join(parts)


def _copy_flagged(rows: list[Prediction], source: Source, to: Path) -> list[str]:
    """Copies files; those that can't be, and why: they have gone since, or have names that no folder can."""
    failed = []
    for row in rows:
        if row.decision == "anomalous":
            target = to / row.path
            try:
                file = source.open(row.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(file, str | os.PathLike):
                    shutil.copyfile(file, target)
                else:
                    target.write_bytes(file.read())
            except Unreachable:
                raise
            except (DataError, OSError) as error:
                failed.append(stream.not_made(row.path, error))
    return failed


def _tell_unmade(console: Console, unmade: dict[str, list[str]]) -> None:
    for what, each in unmade.items():
        if each:
            console.print(f"{len(each):,} {what}: {each[0]}, …", style="bold red")


def _submission(path: Path, journal: ResumeLog) -> None:
    answers = [(upload.text(row.path), row.evidence) for row in journal.rows()]
    write_probabilities(path, [name for name, _ in answers], [value for _, value in answers])


def _summary(console: Console, journal: ResumeLog, rate: float, written: dict[str, Path | None]) -> None:
    counts = Counter(row.decision or row.status for row in journal.rows())
    total, scored = counts.total(), counts["normal"] + counts["anomalous"]
    share = f" ({counts['anomalous'] / scored:.1%} of those read)" if scored else ""
    console.print(
        f"{total:,} files: {counts['normal']:,} normal, {counts['anomalous']:,} anomalous{share}, "
        f"{counts['error']:,} not readable; {rate:,.0f} images/s, compiling included",
    )
    for what, path in written.items():
        if path is not None:
            beside = " (open it in a browser)" if what == "report" else ""
            line = f"  {what:14}{os.fspath(path)}{beside}"
            console.print(line)
