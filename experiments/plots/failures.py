"""The worst mistakes, looked at: often the label is wrong, or the image shows what the score can't see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from experiments.plots.canvas import BLUE, GREY, VERMILION, finish, save
from experiments.plots.scores import by_truth, flagged
from experiments.plots.sheet import GAP, WIDTH, below, close, heading, place, rgb, sheet, unit

COLUMNS = 6


def failures_gallery(
    path: str | Path,
    images: ArrayLike,
    scores: ArrayLike,
    truth: ArrayLike,
    threshold: float,
    *,
    title: str,
    per_side: int = 12,
    reconstructions: ArrayLike | None = None,
    note: str = "",
) -> Path:
    """The worst false alarms, above, and the worst misses, below, each with its score and row.

    False alarms are normal images above the threshold, the highest score first; misses are anomalous images not above
    it, the lowest first. Where there are none of a kind, the sheet says so and shows the images nearest to one.

    Args:
      path: PNG to write; folders are made.
      images: uint8[N, H, W, C], or floats in 0..1; 3 channels or more are the first three as RGB, fewer are grey.
      scores: float[N], higher = more anomalous; NaN counts as flagged, above all others.
      truth: [N], 1 = anomalous.
      threshold: flagged above.
      title: what is scored by what.
      per_side: images of each kind at most.
      reconstructions: as images, and of the same size; each stands to the right of its image.
      note: printed in red on top.
    """
    return save(_figure(images, scores, truth, threshold, title, per_side, reconstructions, note), path)


def _worst(scores: np.ndarray, rows: np.ndarray, threshold: float, sign: int, most: int) -> tuple[np.ndarray, int]:
    """Rows of the images to show, the worst first, and the number of failures (none: the nearest are shown).

    Args:
      scores: float[N], of all images.
      rows: of one kind.
      sign: 1, the highest are worst (normal images); -1, the lowest.
    """
    ranked = np.where(np.isnan(scores), np.inf, scores)[rows]
    order = rows[np.argsort(-sign * ranked, kind="stable")]
    wrong = flagged(scores[order], threshold) == (sign > 0)
    return (order[wrong] if wrong.any() else order)[:most], int(wrong.sum())


def _figure(
    images: ArrayLike,
    scores: ArrayLike,
    truth: ArrayLike,
    threshold: float,
    title: str,
    per_side: int,
    reconstructions: ArrayLike | None,
    note: str,
) -> Figure:
    values, normal, anomalous = by_truth(scores, truth)
    pictures = np.asarray(images)
    again = None if reconstructions is None else np.asarray(reconstructions)
    figure, ax = sheet()
    columns = min(COLUMNS, max(per_side, 1))
    pitch = WIDTH / COLUMNS
    kinds = (
        ("False alarms", "false alarm", "normal", "flagged", "highest", normal, 1, BLUE),
        ("Misses", "miss", "anomalous", "not flagged", "lowest", anomalous, -1, VERMILION),
    )
    top = 0.0
    for many, one, group, verdict, end, rows, sign, colour in kinds:
        show, wrong = _worst(values, rows, threshold, sign, per_side)
        if not len(rows):
            text = f"No {group} image"
        elif wrong:
            text = f"{many}: {wrong:,} of {len(rows):,} {group} images {verdict} ({wrong / len(rows):.2%})"
            text += f"; the {len(show)} {end} scores" if wrong > len(show) else ""
        else:
            text = f"No {one} among {len(rows):,} {group} images; shown: the {len(show)} nearest to one"
        top = heading(ax, top, text)
        sides = [pictures, *([] if again is None else [again])]
        thumbs = [rgb(unit(x[show]), 2 * per_side * len(sides)) for x in sides]
        width = (pitch - GAP * 1.5) / len(sides)
        for start in range(0, len(show), columns):
            lower = top
            for i in range(start, min(start + columns, len(show))):
                left = (i - start) * pitch + GAP / 2
                for k, side in enumerate(thumbs):
                    lower = place(ax, side[i], left + k * width, top, width, colour)
                middle = left + (pitch - GAP * 1.5) / 2
                below(ax, middle, lower, f"{values[show[i]]:.4g}", pitch)
                below(ax, middle, lower + 0.13, f"#{show[i]}", pitch, GREY)
            top = lower + 0.4
        top += 0.06
    close(figure, ax, top)
    remark = f"threshold {threshold:.4g}, flagged above; below each image: score and #row"
    remark += "" if again is None else "; left image, right reconstruction"
    return finish(figure, title, note, [], [], remark=remark)
