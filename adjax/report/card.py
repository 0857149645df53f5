"""Model card, MODEL_CARD.md, beside a detector's files.

The card is made for people and loads nothing, so the manifest does not list it; instead it names the sums of
the very files it speaks of. `speaks_of` says whether it still does: a card beside another detector is a stale one.

References:
  Mitchell et al. 2019, "Model cards for model reporting".
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adjax import atomic
from adjax.report.contents import Cell, Table

NAME = "MODEL_CARD.md"
MANIFEST = "manifest.json"

USE = (
    "Ranks images by how little they look like the normal images it was fitted to, and flags those above its "
    "threshold, for a person or a later step to look at.",
    "Not for decisions about people, nor where a single missed anomaly does harm that nobody else would catch.",
)
LIMITS = (
    "Figures are of the test images named here. Anomalies of another kind may be found better or worse: nothing here "
    "promises a rate of misses.",
    "Rates of false alarms hold for images drawn as the held-out ones were. Another camera, place, time, size or file "
    "format can break them: hold out some new normal images, and calibrate again.",
    "The network may find an image ordinary for reasons that no person would accept: look at its report's gallery.",
)


@dataclass(frozen=True)
class Card:
    """Contents of a model card; empty parts are left out.

    Attributes:
      title: of the detector.
      about: sentences on what it is.
      data: (name, value): sets, counts, SHA-256.
      figures: with intervals.
      calibration: sentences: how the threshold was set, what it gave, what can be promised.
      weights: (name, value) of weights it started from: source, SHA-256, licence.
      made: (name, value): command, versions, date.
      use, limits: sentences.
    """

    title: str
    about: Sequence[str] = ()
    data: Sequence[tuple[str, str]] = ()
    figures: Table | None = None
    calibration: Sequence[str] = ()
    weights: Sequence[tuple[str, str]] = ()
    made: Sequence[tuple[str, str]] = ()
    use: Sequence[str] = USE
    limits: Sequence[str] = LIMITS
    load: str = field(default='detector = adjax.load("THIS DIRECTORY")')


def write(card: Card, directory: str | os.PathLike) -> Path:
    """Writes the card of the detector in `directory`, atomically.

    Args:
      card: its contents.
      directory: of the detector, which is there.

    Returns:
      The path of the card.
    """
    folder = Path(directory)
    atomic.write(folder / NAME, render(card, _sums(folder)))
    return folder / NAME


def speaks_of(directory: str | os.PathLike) -> bool:
    """Tells whether a directory's card names the sums of its detector."""
    try:
        text, sums = (Path(directory) / NAME).read_text(encoding="utf-8"), _sums(Path(directory))
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if not isinstance(sums, dict) or not sums:
        return False
    return all(isinstance(value, str) and value in text for value in sums.values())


def render(card: Card, sums: Mapping[str, str]) -> str:
    """Renders the card in Markdown.

    Args:
      card: its contents.
      sums: name → SHA-256 of the detector's files.

    Returns:
      The text.
    """
    files = [(f"{name} (SHA-256)", value) for name, value in sums.items()]
    parts = [
        f"# {escape(card.title)}",
        *map(escape, card.about),
        _section("Intended use", _bullets(card.use)),
        _section("Figures", _table(card.figures)),
        _section("Data", _pairs(card.data)),
        _section("Calibration", _bullets(card.calibration)),
        _section("Limits", _bullets(card.limits)),
        _section("Weights it started from", _pairs(card.weights)),
        _section("How it was made", _pairs(card.made)),
        _section("This card speaks of", _pairs(files)),
        f"```python\n{card.load}\n```" if card.load else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is: names of files and classes are not markup."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(str(text).split()))


def _sums(folder: Path) -> dict[str, str]:
    return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["sha256"]


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"* {escape(sentence)}" for sentence in sentences)


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        return ""
    return "\n".join(["| | |", "|---|---|", *(f"| {escape(name)} | {escape(value)} |" for name, value in pairs)])


def _table(table: Table | None) -> str:
    if table is None:
        return ""

    def row(cells: Sequence[Cell]) -> str:
        return "| " + " | ".join("" if x is None else escape(str(x)) for x in cells) + " |"

    lines = [row(table.columns), "|---" * len(table.columns) + "|", *map(row, table.rows)]
    return "\n".join([*([escape(table.caption), ""] if table.caption else []), *lines])
