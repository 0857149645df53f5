"""A page and a plot of all rows: `python -m benchmarks.gpu.summary FOLDER`; exit status 1 if anything failed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from adjax import surface
from benchmarks.gpu.rows import FILE

_ENDED = "ended"
Row = dict[str, Any]


def read(folder: Path) -> dict[str, list[Row]]:
    """Stage -> its rows, of the last time that each was run."""
    stages: dict[str, list[Row]] = {}
    ended: set[str] = set()
    for line in (folder / FILE).read_text().splitlines():
        row = json.loads(line)
        if row["stage"] in ended:  # it was run again
            stages[row["stage"]] = []
            ended.discard(row["stage"])
        stages.setdefault(row["stage"], []).append(row)
        if row["name"] == _ENDED:
            ended.add(row["stage"])
    return stages


def failures(stages: dict[str, list[Row]]) -> list[str]:
    """What went wrong, a line each: rows with an error, and stages that ended badly, ran out of time or never ended."""
    lines = []
    for stage, rows in stages.items():
        lines += [f"{stage}: {row['name']}: {row['error']}" for row in rows if "error" in row]
        last = rows[-1]
        if last["name"] != _ENDED:
            lines.append(f"{stage}: never ended")
        elif last["exit"]:
            reason = "ran out of its time" if last["exit"] in (124, 137) else f"exit status {last['exit']}"
            lines.append(f"{stage}: {reason} after {last['seconds']} s; {len(rows) - 1} rows were written")
    return lines


def page(stages: dict[str, list[Row]], where: Row) -> str:
    """A table a stage, in Markdown."""
    lines = ["# A day with a GPU", ""]
    if where:
        device, versions = where["devices"], {**where["versions"], **where["peers"]}
        lines += [
            f"{device['count']} × {device['kind']}, {where['cores']} cores of {where['cpu']}, {where['date']}, "
            f"Python {where['python']}, {', '.join(f'{k} {v}' for k, v in versions.items())}, "
            f"revision {where['revision']}.",
            "",
        ]
    if wrong := failures(stages):
        lines += ["**Failed:**", "", *(f"* {line}" for line in wrong), ""]
    for stage, rows in stages.items():
        shown = [row for row in rows if row["name"] != _ENDED]
        hidden = {"stage", "name", "metrics", "reference", "peak_share"}
        columns = list(dict.fromkeys(key for row in shown for key in row if key not in hidden))
        lines += [f"## {stage}", ""]
        if ended := [row for row in rows if row["name"] == _ENDED]:
            lines += [f"{ended[0]['seconds']} s.", ""]
        lines += ["| | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
        lines += [f"| {row['name']} | " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in shown]
        lines.append("")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plot(stages: dict[str, list[Row]], path: Path) -> None:
    """One panel a stage that has rows to draw."""
    from matplotlib.figure import Figure

    panels = {
        "same_numbers": ("difference", "difference to the CPU / bound", lambda r: r["difference"] / r["bound"], 1),
        "main_job": ("elapsed_s", "main job, s; with a filled cache below", lambda r: r["elapsed_s"], None),
        "beside": ("ratio", "time of PyTorch / time of adjax", lambda r: r["ratio"], 1),
        "members": ("images_per_s", "images/s of members in one program", lambda r: r["images_per_s"], None),
        "large": ("share", "share of what the device's own rates allow", lambda r: r["share"], 1),
    }
    stages = stages | {"main_job": stages.get("main_job", []) + stages.get("cache", [])}
    drawn = {
        stage: found
        for stage, (key, *_) in panels.items()
        if (found := [r for r in stages.get(stage, []) if r.get(key) is not None and r.get("bound") != 0])
    }
    if not drawn:
        return
    sizes = [len(found) + 2 for found in drawn.values()]
    figure = Figure(figsize=(9, 0.22 * sum(sizes) + 0.5), layout="constrained")
    axes = figure.subplots(len(drawn), squeeze=False, height_ratios=sizes)[:, 0]
    for one, (stage, found) in zip(axes, drawn.items(), strict=True):
        _, title, value, line = panels[stage]
        values = [max(value(row), 1e-9) for row in reversed(found)]
        one.plot(values, range(len(values)), "o")
        one.set_yticks(range(len(values)), [row["name"] for row in reversed(found)], fontsize=6)
        one.set_xscale("log")
        one.set_title(title, fontsize=8)
        one.grid(axis="x", linewidth=0.3)
        one.set_ylim(-0.7, len(values) - 0.3)
        if line is not None:
            one.axvline(line, color="grey", linewidth=0.8)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Writes gpu_day.md and gpu_day.png beside the rows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.summary", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    stages, environment = read(folder), folder / "environment.json"
    where = json.loads(environment.read_text()) if environment.is_file() else {}
    (folder / "gpu_day.md").write_text(page(stages, where))
    plot(stages, folder / "gpu_day.png")
    wrong = failures(stages)
    for line in wrong:
        print(f"FAILED: {line}")
    print(f"{folder / 'gpu_day.md'}: " + (f"{len(wrong)} FAILURES" if wrong else "no failures"))
    return int(bool(wrong))


if __name__ == "__main__":
    surface.script(main)
