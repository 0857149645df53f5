"""The report of a scored folder, with the pictures that tell most, made from the journal.

The journal is read twice, row by row: for the scores, and for the names of the few pictures shown. Those are decoded
again from disk by the code that decoded them for scoring. So memory is a few bytes a file, and a restart that had
nothing left to do writes the same page.
"""

from __future__ import annotations

import html
import importlib.metadata
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import jax
import numpy as np

from adjax import distribution, drift, overlays
from adjax.data.io import reading, upload
from adjax.data.io.sources.types import Source
from adjax.data.split import DataError
from adjax.detector import Detector
from adjax.overlays import SIDE
from adjax.predict.stream import Prediction
from adjax.report import Figure, Pictures, Report, Table, View, choose
from adjax.report.pictures import shrunk

NAME = "report.html"
NEAR = 12
"""Pictures shown on either side of the threshold, beside those of `adjax.report.choose`."""
TILED = 12
"""Pictures in tiles that are drawn on, those of the highest scores: each is scored again."""
SEEN = {
    "middle": "the middle of each picture, resized",
    "whole": "each picture whole, resized",
    "tiles": "each picture in overlapping tiles, at its own resolution",
    "letterbox": "each picture whole, in its own proportions between black bars",
}
MAX_ERRORS, LONGEST_NAME = 300, 160
"""Rows of the table of errors; characters of a name, of which the end is kept."""


class Journal(Protocol):
    """What a report is made from: a `ResumeLog`, or a table that is read again."""

    def rows(self) -> Iterator[Prediction]:
        """All rows, in order, as often as asked."""
        ...


class Scored(NamedTuple):
    """Scores and decisions of all files, from the journal.

    Attributes:
      uncertain: how many; None: not tell.
      scores: float32[N], of the files that were read, in order; NaN where it was not finite.
      nearest: int16[N], the nearest class, -1 for none.
      kinds: of rows → how many: "normal", "anomalous", "error".
      errors: (name, reason), the first few.
    """

    uncertain: int | None
    scores: np.ndarray
    nearest: np.ndarray
    kinds: Counter[str]
    errors: list[tuple[str, str]]


def of_scores(
    detector: Detector, sha256: str, source: Source, journal: Journal, alpha: float | None, command: str, table: str
) -> Report:
    """Builds the report of a scored folder.

    Args:
      detector: that scored.
      sha256: of its manifest.
      source: whose files were scored.
      journal: with all rows.
      alpha: the share of normal images that the threshold may flag; None: not known.
      command: makes the report again.
      table: name of the file that has all rows.

    Returns:
      The `Report`.
    """
    scored = read(journal, detector.spec.classes)
    held_out, threshold = np.asarray(detector.calibration_scores, np.float32), float(detector.threshold)
    views = []
    if len(scored.scores):
        classes = detector.spec.classes if (scored.nearest >= 0).any() else ()
        views = [
            View(
                name=upload.line(source.title) or "files",
                scores=scored.scores,
                threshold=threshold,
                labels=scored.nearest if classes else None,
                classes=classes,
                held_out=held_out if len(held_out) else None,
                nominal=alpha,
                pictures=pictures(detector, source, journal, near(scored.scores, threshold)),
            )
        ]
    facts = {
        "Files": [
            ("folder", upload.line(source.where)),
            ("all rows", upload.line(table)),
            ("scored on", time.strftime("%Y-%m-%d", time.gmtime())),
        ],
        "Detector": [
            ("made of", ", ".join(detector.spec.names)),
            ("takes", "×".join(map(str, detector.spec.image_shape)) + f" px: {SEEN[detector.spec.frame]}"),
            ("manifest (SHA-256)", sha256),
            ("threshold", f"{threshold:.6g}"),
            ("held-out normal images", f"{len(held_out):,}"),
        ],
        "Versions": [
            ("adjax", distribution.VERSION),
            *((name, importlib.metadata.version(name)) for name in ("jax", "numpy", "pillow")),
        ],
    }
    return Report(
        title=title(source, table),
        lead=_lead(len(held_out), bool(views)),
        figures=_figures(scored, threshold, alpha, held_out),
        views=views,
        errors=_errors(scored),
        facts=facts,
        command=upload.line(command),
    )


def path_beside(out: Path, source: Source) -> Path:
    """Chooses the path of a table's report: report.html beside it, unless that is another table's.

    Args:
      out: path of the table.
      source: whose files were scored.

    Returns:
      The path.
    """
    path = out.with_name(NAME)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            own = f"<title>{html.escape(title(source, out.name))}</title>" in file.read(8192)
    except OSError:  # there is none
        own = True
    return path if own else out.with_name(f"{out.name}.{NAME}")


def title(source: Source, table: str) -> str:
    """Title of the report, which tells whose it is.

    Args:
      source: whose files were scored.
      table: name of the file that has all rows.

    Returns:
      One line.
    """
    return _short(f"Scores of {upload.line(source.title) or 'a folder'}, {upload.line(table)}")


def read(journal: Journal, classes: Sequence[str]) -> Scored:
    """Reads all rows, in a few bytes each.

    Args:
      journal: of the scoring.
      classes: names, in the order of the labels.

    Returns:
      A `Scored`.
    """
    number = {name: k for k, name in enumerate(classes)}
    scores, nearest, kinds = array("f"), array("h"), Counter[str]()
    errors: list[tuple[str, str]] = []
    uncertain: int | None = None
    for row in journal.rows():
        kinds[row.decision or row.status] += 1
        if row.uncertain is not None:
            uncertain = (uncertain or 0) + row.uncertain
        if row.status == "ok":
            scores.append(np.nan if row.score is None else row.score)
            nearest.append(number.get(row.nearest_class or "", -1))
        elif len(errors) < MAX_ERRORS:
            errors.append((row.path, row.error or ""))
    return Scored(uncertain, np.array(scores, np.float32), np.array(nearest, np.int16), kinds, errors)


def compared(detector: Detector, journal: Journal) -> tuple[np.ndarray, np.ndarray, float]:
    """Takes what `adjax.drift.compare` compares.

    Args:
      detector: that scored.
      journal: of the scoring.

    Returns:
      Scores that calibrated, scores of the files, the threshold.
    """
    scores = read(journal, detector.spec.classes).scores
    return np.asarray(detector.calibration_scores), scores, float(detector.threshold)


def near(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Chooses the rows to show: the highest, some of all, and those on either side of the threshold.

    Args:
      scores: float32[n].
      threshold: of the score.

    Returns:
      int[k], ascending.
    """
    order = np.argsort(np.where(np.isnan(scores), np.inf, scores), kind="stable")
    at = int(np.sum(scores <= threshold))
    return np.union1d(choose(scores), order[max(at - NEAR, 0) : at + NEAR])


def pictures(detector: Detector, source: Source, journal: Journal, rows: np.ndarray) -> Pictures | None:
    """Reads some of the scored files again; files that have gone or become unreadable are left out.

    Args:
      detector: that scored.
      source: whose files were scored.
      journal: of the scoring.
      rows: int[k], among those with status "ok".

    Returns:
      The `Pictures`; None if none can be read.
    """
    wanted = set(rows.tolist())
    scored = enumerate(row for row in journal.rows() if row.status == "ok")
    chosen = [(at, row) for at, row in scored if at in wanted]
    tiled = detector.spec.frame == "tiles"
    return (_tiled if tiled else _whole)(detector, source, chosen)


def _whole(detector: Detector, source: Source, chosen: Sequence[tuple[int, Prediction]]) -> Pictures | None:
    shape, frame, reads = detector.spec.image_shape, detector.spec.frame, reading.of(detector.spec)
    scale = max(SIDE / max(shape[:2]), 1)
    large = (max(round(shape[0] * scale), 1), max(round(shape[1] * scale), 1), 3)
    found: list[tuple[int, Prediction, np.ndarray, np.ndarray]] = []
    for at, row in chosen:
        try:
            seen, shown = (upload.read(source.open(row.path), size, frame, **reads).pixels for size in (shape, large))
        except (DataError, OSError):
            continue
        found.append((at, row, seen, shown))
    if not found:
        return None
    numbers, read, small, images = zip(*found, strict=True)
    again = reconstructions(detector, np.stack(small))
    maps = None if again is None else np.abs(np.stack(small).astype(np.float32) - again).mean(-1)
    flagged = [row.decision == "anomalous" for row in read]
    drawn = overlays.of_images(detector, np.stack(small), flagged, images)
    return Pictures(np.array(numbers), images, again, maps, [_name(row) for row in read], drawn)


def _tiled(detector: Detector, source: Source, chosen: Sequence[tuple[int, Prediction]]) -> Pictures | None:
    """Each in its own proportions, the highest of them drawn on."""
    highest = {
        at for at, _ in sorted(chosen, key=lambda one: -(np.inf if one[1].score is None else one[1].score))[:TILED]
    }
    found: list[tuple[int, Prediction, np.ndarray, np.ndarray | None]] = []
    for at, row in chosen:
        try:
            file = source.open(row.path)
            found.append(
                (at, row, *(overlays.of_tiled(detector, file) if at in highest else (_small(file, detector), None)))
            )
        except (DataError, OSError):
            continue
    if not found:
        return None
    numbers, read, images, drawn = zip(*found, strict=True)
    return Pictures(np.array(numbers), images, names=[_name(row) for row in read], overlays=drawn)


def _small(file: upload.Source, detector: Detector) -> np.ndarray:
    shape = detector.spec.image_shape
    return shrunk(upload.read(file, shape, "tiles", **reading.of(detector.spec)).pixels, SIDE)


def _name(row: Prediction) -> str:
    return _short(upload.line(row.path))


def reconstructions(detector: Detector, images: np.ndarray) -> np.ndarray | None:
    """Computes the network's reconstructions.

    Args:
      detector: to ask.
      images: uint8[k, H, W, C].

    Returns:
      uint8[k, H, W, C]; None if the network does not reconstruct.
    """
    few = jax.eval_shape(detector.outputs, jax.ShapeDtypeStruct((1, *images.shape[1:]), np.uint8))
    if detector.normalise is None or getattr(few.get("reconstruction"), "shape", ())[1:] != images.shape[1:]:
        return None
    x = np.asarray(detector.outputs(images, {"reconstruction"})["reconstruction"])
    pixels = (x * np.asarray(detector.normalise.sd) + np.asarray(detector.normalise.mean)) * 255
    return np.clip(np.round(np.nan_to_num(pixels)), 0, 255).astype(np.uint8)


def _lead(held_out: int, any_scored: bool) -> str:
    if not any_scored:
        return "No file could be scored: each is listed below with its reason."
    tells = (
        f"A p-value is the share of {held_out:,} normal images, set aside in training, that are at least as anomalous: "
        "a small one means unusual, not wrong."
        if held_out
        else "The detector was made without held-out normal images, so there are no p-values."
    )
    return f"Higher scores are more anomalous. {tells} Nobody has checked the decisions."


def _figures(scored: Scored, threshold: float, alpha: float | None, held_out: np.ndarray) -> list[Figure]:
    total, n = scored.kinds.total(), len(scored.scores)
    flagged, broken = scored.kinds["anomalous"], scored.kinds["error"]
    rule = f"flagged if score > {threshold:.4g}"
    promise = f"{rule}; chosen to flag at most {alpha:.2%} of normal images" if alpha is not None else rule
    found = [
        Figure("Files", f"{total:,}", about=f"{n:,} scored"),
        Figure("Flagged", f"{flagged:,}", f"{flagged / n:.1%} of those scored" if n else ""),
        Figure("Not readable", f"{broken:,}", f"{broken / total:.1%} of all" if total else ""),
        Figure("Threshold", f"{threshold:.4g}", about=promise),
    ]
    if scored.uncertain is not None:
        doubt = "other held-out images might have decided otherwise"
        found.insert(2, Figure("Uncertain", f"{scored.uncertain:,}", about=doubt))
    if n and len(held_out):
        rare = int(np.sum(~(scored.scores <= np.where(np.isnan(held_out), np.inf, held_out).max())))
        about = f"more anomalous than each of {len(held_out):,} held-out normal images"
        found.insert(2, Figure("Beyond all normal ones", f"{rare:,}", about=about))
    drifted = drift.compare(held_out, scored.scores, threshold)
    if drifted is not None:
        about = f"chance that normal scores as unlike those of {drifted.calibration:,} held-out images, if unchanged"
        found.append(Figure("Drift", f"p = {drifted.p_value:.2g}", "ALARM" if drifted.alarm else "", about))
    return found


def _errors(scored: Scored) -> Table | None:
    if not scored.errors:
        return None
    total, shown = scored.kinds["error"], len(scored.errors)
    caption = f"{total:,} files" + (f", the first {shown:,} of them; the table of scores has all" * (total > shown))
    return Table(("file", "why"), [(_short(upload.line(name)), why) for name, why in scored.errors], caption=caption)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]
