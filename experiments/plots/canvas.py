"""What all plots share: colours, an empty canvas, what stands round the panels, and the PNG.

A plot draws on a `canvas`, hands its legend, title and note to `finish` and the figure to `save`.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

Records = Sequence[Mapping[str, Any]]
References = Sequence[tuple[str, float | tuple[float, float]]]
"""Others' figures: (label, value) is a broken line, (label, (low, high)) a band."""

DPI, MAX_BYTES, MAX_POINTS = 150, 300_000, 3000
BLUE, VERMILION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
INK, GREY, NOTE = "#222222", "#6b6b6b", "#d00000"
CLASSES = (BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", VERMILION, "#F0E442", "#332288", "#882255", "#999933")
MARKERS, DASHES = "osD^vPX", ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)))


def canvas(panels: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Up to three panels a row, each `width` × `height` inches; `finish` adds what stands round them."""
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(columns * width, rows * height), dpi=DPI, layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#dddddd", lw=0.6)
        ax.set_axisbelow(True)
    return figure, axes


def draw_references(ax: Axes, figures: References, axis: Literal["x", "y"]) -> None:
    """Draws others' figures, values on this axis, as broken lines and bands across the panel."""
    line, band = (ax.axvline, ax.axvspan) if axis == "x" else (ax.axhline, ax.axhspan)
    for (label, value), colour, dash in zip(figures, cycle((VERMILION, GREEN, PURPLE)), cycle(DASHES[1:])):
        if np.ndim(value):
            low, high = np.sort(np.asarray(value, float))
            band(low, high, fc=(colour, 0.12), ec=colour, ls=dash, label=label)
        else:
            line(float(np.asarray(value)), color=colour, ls=dash, lw=1.5, label=label)


def finish(figure: Figure, title: str, note: str, handles: list, labels: list[str], remark: str = "") -> Figure:
    """Note and title above the panels, the legend, headed by `remark`, below; the figure grows by these."""
    wide, tall = figure.get_size_inches()
    warning = textwrap.wrap(note, int(8 * wide))
    heading = textwrap.wrap(title, int(9 * wide), break_on_hyphens=False)
    caption = textwrap.wrap(remark, int(14 * wide))
    columns = min(max(1, int(15 * wide / (max(map(len, labels), default=0) + 9))), max(1, len(labels)))
    above = 0.21 * len(warning) + 0.1
    room = above + 0.22 * len(heading)
    tall += room + 0.17 * len(caption) + 0.19 * -(-len(labels) // columns)
    figure.set_size_inches(wide, tall)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, 1 - room / tall), w_pad=0.06, h_pad=0.08)
    style: dict[str, Any] = {"weight": "bold", "ha": "center", "va": "top"}
    figure.text(0.5, 1 - 0.05 / tall, "\n".join(warning), size=11, color=NOTE, **style)
    figure.text(0.5, 1 - above / tall, "\n".join(heading), size=12, color=INK, **style)
    style = {"fontsize": 8.5, "title_fontsize": 8.5, "frameon": False, "handlelength": 3, "ncols": columns}
    legend = figure.legend(handles, labels, loc="outside lower center", title="\n".join(caption), **style)
    legend.get_title().set_multialignment("center")
    return figure


def say(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def number(value: Any) -> float:
    return np.nan if value is None else float(value)


def some(n: int, most: int) -> np.ndarray:
    """At most `most` of n row numbers, the same ones every time."""
    return np.sort(np.random.default_rng(0).choice(n, min(n, most), replace=False))


def save(figure: Figure, path: str | Path) -> Path:
    """Writes the PNG. One that is too large gives up shades, not pixels: rounded ones, then 256 of them."""
    path, buffer = Path(path), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    if buffer.tell() > MAX_BYTES:
        rounded = np.round(np.asarray(Image.open(buffer).convert("RGB")) / 15) * 15
        picture = Image.fromarray(rounded.astype(np.uint8))
        buffer = io.BytesIO()
        picture.save(buffer, "png", optimize=True, dpi=(DPI, DPI))
    if buffer.tell() > MAX_BYTES:
        buffer, method = io.BytesIO(), Image.Quantize.MAXCOVERAGE
        palette = picture.quantize(256, method, kmeans=3, dither=Image.Dither.NONE)
        palette.save(buffer, "png", optimize=True, dpi=(DPI, DPI))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return path
