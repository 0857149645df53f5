"""The tables and the plot of `benchmarks.compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Row = dict[str, Any]
HEADING = (
    "By the chips' compilers, on a machine without any: bounds and counts, no measured times. What the columns mean: "
    "`python -m benchmarks.compile --help`.{}\n"
)
COLUMNS = {
    "compile, CPU s": ("compile_cpu_s", 1, ",.0f"),
    "GFLOP": ("gflop", 1, ",.2f"),
    "needed GFLOP": ("needed_gflop", 1, ",.2f"),
    "memory, MB": ("memory_bytes", 1e-6, ",.1f"),
    "floor, MB": ("floor_bytes", 1e-6, ",.1f"),
    "all bytes, MB": ("all_bytes", 1e-6, ",.1f"),
    "bound, µs": ("bound_us", 1, ",.1f"),
    "peak, MB": ("peak_bytes", 1e-6, ",.1f"),
    "temporary, MB": ("temporary_bytes", 1e-6, ",.1f"),
    "padding": ("padding", 1, ",.2f"),
    "loops": ("loops", 1, "d"),
    "fusions": ("fusion", 1, "d"),
    "custom calls": ("custom-call", 1, "d"),
}
SHARED = {
    "collectives": ("collectives", 1, "d"),
    "sent, kB": ("sent_bytes", 1e-3, ",.1f"),
    "weights, kB": ("weight_bytes", 1e-3, ",.1f"),
    "links, µs": ("link_us", 1, ",.2f"),
    "scaling": ("scaling", 1, ".2f"),
}
"""Columns of several chips."""


def page(written: dict[str, dict[str, Row]], before: dict[str, dict[str, Row]]) -> str:
    """The tables of all targets."""
    brackets = " In brackets: × the earlier program." if before else ""
    tables = (f"## {target}\n\n{table(rows, before.get(target, {}))}" for target, rows in written.items())
    return "\n".join(["# Programs compiled for accelerators", "", HEADING.format(brackets), *tables])


def table(rows: dict[str, Row], baseline: dict[str, Row]) -> str:
    """Formats all rows as Markdown, with the ratio to an earlier row in brackets."""
    shared = any(row.get("collectives") for row in rows.values())
    columns = {
        name: column
        for name, column in {**COLUMNS, **(SHARED if shared else {})}.items()
        if any(row.get(column[0]) is not None for row in rows.values())
    }
    lines = ["| program | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        before, cells = baseline.get(name, {}), []
        for key, unit, form in columns.values():
            value = row.get(key)
            cell = "–" if value is None else format(value * unit if unit != 1 else value, form)
            if value is not None and before.get(key):
                cell += f" ({value / before[key]:.3g} ×)"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(written: dict[str, dict[str, Row]], path: Path) -> None:
    """What each program moves, by what it must; and memory beside inputs and results, a panel each."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for rows in written.values() for name in rows))[::-1]
    figure = Figure(figsize=(11, 0.24 * len(names) + 1.4), layout="constrained")
    panels = {
        "all bytes (a loop's body once) / floor": lambda row: _ratio(row.get("all_bytes"), row.get("floor_bytes")),
        "bound, µs: no chip can be faster": lambda row: row.get("bound_us"),
        "temporary memory, MB": lambda row: _ratio(row.get("temporary_bytes"), 1e6),
    }
    for axes, (title, value) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        for (target, rows), marker in zip(written.items(), "osd^v<>ph*" * 2, strict=False):
            found = [(value(rows[name]), y) for y, name in enumerate(names) if name in rows]
            drawn = [(x, y) for x, y in found if x]
            axes.plot([x for x, _ in drawn], [y for _, y in drawn], marker, label=target, markersize=4, alpha=0.7)
        axes.set_xscale("log")
        axes.set_title(title, fontsize=8)
        axes.grid(linewidth=0.3)
        axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.legend(fontsize=6)
    figure.savefig(path, dpi=120)


def _ratio(value: float | None, by: float | None) -> float | None:
    return None if value is None or not by else value / by
