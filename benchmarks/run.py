"""Times adjax beside its peers: `python -m benchmarks.run [--quick] [--only NAME …]`. Run it on a machine at rest.

Peers are the extra `bench`; what a peer is missing for is skipped, and said. Writes JSON lines, a Markdown table and a
plot of the ratios. With `--only`, the rows of the others stay as they were, each with what it was measured on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console

from adjax import atomic, process, surface
from benchmarks import decoding, extraction, optimizer, protocol, scoring, sweep, training
from benchmarks.harness import Timing, matmul_peak
from experiments.rundir import environment

RESULTS = Path(__file__).parent / "results"
BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    **training.BENCHMARKS,
    **optimizer.BENCHMARKS,
    **extraction.BENCHMARKS,
    **decoding.BENCHMARKS,
    **scoring.BENCHMARKS,
    **sweep.BENCHMARKS,
    **protocol.BENCHMARKS,
}
"""Name -> `(pairs, quick) -> Timing`. A new benchmark is one function and one line."""


def main() -> None:
    """Runs the chosen benchmarks; writes each line as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="names, or beginnings of them: " + ", ".join(BENCHMARKS)
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, 3 pairs: does it run at all?")
    parser.add_argument("--pairs", type=int, help="how often ours and the peer are timed in turn (11, quick: 3)")
    parser.add_argument("--out", type=Path, default=RESULTS / "benchmarks.jsonl", help="where the JSON lines go")
    args = parser.parse_args()
    chosen = [name for name in BENCHMARKS if not args.only or name.startswith(tuple(args.only))]
    if not chosen:
        parser.error(f"--only {' '.join(args.only)}: no such benchmark; there are {', '.join(BENCHMARKS)}")

    console, pairs = Console(), args.pairs or (3 if args.quick else 11)
    where = {**environment("benchmarks.run"), "matmul_gflops": matmul_peak(), "peers": versions()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    earlier = args.out.read_text().splitlines() if args.out.exists() else []
    lines = {line["benchmark"]: line for line in map(json.loads, earlier) if line["benchmark"] not in chosen}
    for name in chosen:
        try:
            timing = BENCHMARKS[name](pairs, args.quick)
        except ModuleNotFoundError as error:
            console.print(f"{name}: skipped, {error}: pip install -e '.\\[bench]'", style="yellow")
            continue
        lines[name] = {"benchmark": name, **timing.json(), "environment": where}
        console.print(f"{timing.name}: {timing.ratio:.2f} × {timing.peer} ({timing.ours_ms:.2f} ms)", highlight=False)
        write(args.out, [lines[name] for name in BENCHMARKS if name in lines])
    print(args.out)


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """Writes the lines, their table and their plot."""
    atomic.write(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    path.with_suffix(".md").write_text(markdown(lines))
    plot(lines, path.with_suffix(".png"))


def markdown(lines: list[dict[str, Any]]) -> str:
    """The table of all timings, and under it what they were made on, a line for each command that made some."""
    rows = [
        "| work | peer | ours, ms | peer, ms | ratio | min–max | n | images/s | GFLOP/s | of the matmul peak | MiB "
        "| compile s | source |",
        "|" + "---|" * 13,
    ]
    for t in lines:
        numbers = [
            f"{t['ours_ms']:.2f}",
            f"{t['peer_ms']:.2f}",
            f"**{t['ratio']:.2f}**",
            f"{t['ratio_min']:.2f}–{t['ratio_max']:.2f}",
            str(t["n"]),
            f"{t['images_per_s']:,.0f}",
            _number(t["gflops"], "{:.0f}"),
            _number(t["peak_share"], "{:.0%}"),
            _number(t["memory_mib"], "{:.0f}"),
            f"{t['compile_s']:.1f}",
            t["reference"] or "",
        ]
        rows.append("| " + " | ".join([t["name"], t["peer"], *numbers]) + " |")
    rows += [
        "",
        "Ratio: the peer's time / ours, median of n pairs timed in turn in one process; above 1 adjax is faster. "
        "Ours has LAPACK on one thread, as adjax's commands set it, and the peer on all. ms of one step or call. "
        "Compile time is apart. float32 unless it says otherwise.",
    ]
    made = [_made(line["environment"]) for line in lines]
    for each in dict.fromkeys(made):
        own = [line["benchmark"] for line, one in zip(lines, made, strict=True) if one == each]
        rows.append(each if len(own) == len(lines) else f"{each} Its rows: {', '.join(own)}.")
    return "\n".join(rows) + "\n"


def _made(where: dict[str, Any]) -> str:
    """What a row was made on, for people."""
    named = ", ".join(f"{k} {v}" for k, v in {**where["versions"], **where["peers"]}.items())
    return (
        f"`{where['command']}`, {where['date']}, {where['cores']} cores of {where['cpu']} "
        f"({where['devices']['platform']}), matmul peak {where['matmul_gflops']:.0f} GFLOP/s, "
        f"Python {where['python']}, {named}."
    )


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """One bar a ratio, from its smallest to its largest pair, on a logarithmic axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.4 * len(lines) + 1.2), layout="constrained")
    axes = figure.subplots()
    for y, t in enumerate(reversed(lines)):
        axes.plot([t["ratio_min"], t["ratio_max"]], [y, y], color="C0", alpha=0.4, linewidth=5)
        axes.plot(t["ratio"], y, "o", color="C0" if t["ratio"] >= 1 else "C3")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(lines)), [f"{t['name']}\n{t['peer']}" for t in reversed(lines)], fontsize=6)
    axes.set_xscale("log")
    axes.set_xlabel("time of the peer / time of adjax")
    figure.savefig(path, dpi=120)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "torchvision", "pytorch-ood"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    process.keep_freed_memory()
    surface.script(main)
