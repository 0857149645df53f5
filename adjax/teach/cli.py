"""`python -m adjax train`: a folder of normal images to a detector."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from adjax import artefact, process
from adjax.data import depth, gather, upload
from adjax.data.split import DataError
from adjax.models import MODELS
from adjax.progress import ImageProgress
from adjax.report import Report
from adjax.report import write as write_report
from adjax.scorers import SCORERS
from adjax.sealed import MANIFEST
from adjax.teach import fit, layout, page, plan, record

EPILOG = """\
examples:
  python -m adjax train photos/                            normal pictures, in subfolders or not
  python -m adjax train parts/ --out detectors/parts       parts/normal/, parts/anomalous/ and parts/test/good/, ...
  python -m adjax train parts/ --normal good --anomalous crack colour        subfolders whose names don't say it
  python -m adjax train set/ --labels set/train.csv        file,label in each line; --normal 0 says which are normal
  python -m adjax train photos/ --method autoencoder --side-px 32
  python -m adjax train photos/ --weights vgg16.safetensors --model vgg16

At least 50 normal pictures. A fifth of them (20 at least) is held out, so that the threshold can promise how many
normal pictures it flags; with anomalous/ or test/ it says how well it does. Then:
  python -m adjax predict runs/photos photos/ --out scores.csv

Folders and labels are understood by common words, in any case: normal, good, OK; anomalous, defect, NG; mask,
ground_truth; train, test. Many examples, and what becomes of them: docs/layouts.md
"""


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax train ARGUMENTS`; returns the exit code."""
    chosen = _parser().parse_args(arguments)
    upload.quiet()
    process.prepare()
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, soft_wrap=True)
    found = _layout(chosen)
    out = chosen.out or Path("runs") / (chosen.folder.resolve().name or "detector")
    artefact.SEAL.check_target(out)
    console.print(found.about)
    if found.passed_over:
        kinds = ", ".join(f"{why} {count:,}" for why, count in found.passed_over.most_common())
        console.print(f"passed over: {kinds}")
    if len(found.files) < fit.FEWEST:
        raise DataError(
            f"{len(found.files)} normal pictures: at least {fit.FEWEST} are needed to learn and to calibrate"
        )

    errors: dict[Path, str] = {}
    headers = gather.headers(found.files)
    errors |= {f: h for f, h in zip(found.files, headers, strict=True) if isinstance(h, str)}
    readable = [header for header in headers if isinstance(header, upload.Header)]
    _refuse_if_many(errors, found.files)
    layout.refuse_lone(found, [not isinstance(header, str) for header in headers])
    asked = plan.Asked(chosen.method, chosen.model, chosen.scorer, chosen.side_px, chosen.weights)
    planned = plan.choose(readable, len(found.classes), asked)
    console.print(f"trains {planned.name}")
    for line in planned.why:
        console.print(f"  {line}")
    console.print("  to choose otherwise: --method, --model, --scorer, --side-px, --weights, --steps (see --help)")

    depths = depth.Depths()
    images, rows, broken = gather.images(found.files, planned.shape, depths)
    errors |= broken
    _refuse_if_many(errors, found.files)
    _tell(console, errors)
    if warning := depths.told():
        console.print(warning, style="bold red")
    labels = found.labels[rows]
    parts = fit.hold_out(labels, chosen.false_positive_rate, chosen.seed, images)
    if parts.copies:
        console.print(
            f"{parts.copies:,} pictures, as the network sees them, are exact copies of others: each is trained on or "
            "held out together with what it copies"
        )
    steps = plan.steps(planned.method, len(parts.train), planned.batch_size, chosen.steps)
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
                report=report,
            )
        except fit.Stopped as stopped:
            console.print("stopped; nothing was kept")
            return 128 + stopped.signal
    detector = fitted.detector
    detector.save(out)
    held_out = len(parts.held_out)
    console.print(
        f"{detector}\nat most {chosen.false_positive_rate:.2%} of normal images like these will be flagged, on average "
        f"(conformal, {held_out} held out, which could promise {1 / (held_out + 1):.2%}: --false-positive-rate)"
    )
    held_out_files = [found.files[rows[i]] for i in parts.held_out]
    judged, shown = _judge(console, detector, found, planned, images[parts.held_out], held_out_files, chosen, out)
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
    if shown is not None:
        write_report(shown, out / page.NAME)
        console.print(f"how it does, picture by picture: {out / page.NAME}")
    console.print(f"written to {out}\nNext:\n  python -m adjax predict {out} FOLDER --out scores.csv")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m adjax train",
        description="Make a detector of a folder of normal images.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of normal pictures")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the detector (default: runs/NAME OF THE FOLDER)")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="a table, file,label, instead of subfolders")
    parser.add_argument(
        "--normal",
        "--normal-label",
        nargs="+",
        default=(),
        metavar="NAME",
        help="subfolders, or labels of the table, that are normal; all others are anomalous (default: by their names)",
    )
    parser.add_argument(
        "--anomalous",
        nargs="+",
        default=(),
        metavar="NAME",
        help="those that are anomalous; all others are normal. With --normal: those named by neither are left out",
    )
    parser.add_argument(
        "--classes",
        action="store_true",
        dest="all_classes",
        help="subfolders, or labels, are all classes of normal ones",
    )
    parser.add_argument("--one-class", action="store_true", help="subfolders of normal pictures are no classes")
    parser.add_argument("--method", choices=plan.CHOICES, help="default: chosen from the data, and told")
    parser.add_argument("--model", choices=MODELS, metavar="NAME", help=f"the network: {', '.join(MODELS)}")
    parser.add_argument("--scorer", choices=SCORERS, metavar="NAME", help="features to score: any of adjax.scorers")
    parser.add_argument("--side-px", type=int, metavar="N", help="side of the square that pictures are brought to")
    parser.add_argument("--weights", metavar="FILE", help="pre-trained weights, .safetensors, .h5 or .pth")
    parser.add_argument("--steps", type=int, metavar="N", help="of training (default: by the number of pictures)")
    parser.add_argument(
        "--false-positive-rate",
        type=float,
        default=0.05,
        metavar="A",
        help="share of normal pictures that the threshold may flag (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all draws (default: %(default)s)")
    return parser


def _layout(chosen: argparse.Namespace) -> layout.Layout:
    given = layout.Given(tuple(chosen.normal), tuple(chosen.anomalous), chosen.all_classes)
    if given.classes and (given.normal or given.anomalous or chosen.one_class):
        raise DataError("--classes says that all are normal: leave out --normal, --anomalous and --one-class")
    if chosen.labels is None:
        return layout.of_folder(chosen.folder, chosen.one_class, given)
    return layout.of_table(chosen.labels, given, chosen.one_class)


def _refuse_if_many(errors: dict[Path, str], files: Sequence[Path]) -> None:
    if len(errors) > len(files) / 2:
        first = next(iter(errors))
        raise DataError(
            f"{len(errors):,} of {len(files):,} pictures can't be read, the first "
            f"{upload.line(str(first))}: {errors[first]}"
        )


def _tell(console: Console, errors: dict[Path, str]) -> None:
    """Says which files were left out, the first few by name."""
    if errors:
        console.print(f"{len(errors):,} pictures can't be read and are left out ({record.NAME} has them all):")
    for path, why in itertools.islice(errors.items(), 3):
        console.print(f"  {upload.line(str(path))}: {why}")


def _judge(
    console: Console,
    detector: Any,
    found: layout.Layout,
    planned: plan.Plan,
    held_out: np.ndarray,
    held_out_files: list[Path],
    chosen: argparse.Namespace,
    out: Path,
) -> tuple[fit.Judged | None, Report | None]:
    """Prints how it does on known anomalies, if there are any; that, and the report."""
    shape = planned.shape
    if not found.test_anomalous:
        console.print("no anomalous/ or test/ to judge by: put some known anomalies into anomalous/ to see how it does")
        return None, None
    anomalous, odd, broken = gather.images(found.test_anomalous, shape)
    beside = found.test_normal or held_out_files
    normal, rows, also = gather.images(beside, shape) if found.test_normal else (held_out, np.arange(len(held_out)), {})
    _tell(console, {**broken, **also})
    if not len(anomalous) or not len(normal):
        return None, None
    judged = fit.judge(detector, normal, anomalous)
    value, low, high = judged.auroc
    which = "test" if found.test_normal else "the held-out"
    console.print(
        f"against {judged.anomalous:,} anomalies, {which} {judged.normal:,} normal images beside them: "
        f"AUROC {value:.4f} ({low:.4f}–{high:.4f}), AUPR {judged.aupr:.4f}, FPR95 {judged.fpr95:.2%}; at the threshold "
        f"{judged.flagged:.1%} of the anomalies are flagged, and {judged.false_alarms:.1%} of the normal images"
    )
    files = [*(beside[i] for i in rows), *(found.test_anomalous[i] for i in odd)]
    shown = page.of_training(
        detector,
        judged,
        normal,
        anomalous,
        files,
        about=f"{planned.name} on {upload.line(chosen.folder.resolve().name)}",
        alpha=chosen.false_positive_rate,
        calibrated_on=not found.test_normal,
        sha256=hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest(),
    )
    return judged, shown
