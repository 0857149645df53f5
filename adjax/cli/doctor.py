"""`python -m adjax doctor`: what this machine has, and what a folder of pictures holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import jax
from rich.console import Console

from adjax.auto import scan_folder
from adjax.cli import data as data_command
from adjax.cli._common import start
from adjax.cli.parsers.doctor import SHOWN, parser
from adjax.data.io import depth, framing, reading, upload, walk
from adjax.data.split import DataError
from adjax.doctor import findings, folder, machine, rounding
from adjax.progress import ImageProgress


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax doctor ARGUMENTS`; returns the exit code: 1 if an accelerator stands idle."""
    chosen = parser().parse_args(arguments)
    console = start()
    if chosen.csv and not chosen.folder:
        raise DataError(f"--csv {chosen.csv} is a list of what is found in a folder: name one")
    found = walk.find(chosen.folder) if chosen.folder else None  # a wrong name is told before anything else
    reads = reading.checked(depth.WHOLE, chosen.page, chosen.limits)
    idle = _machine(console)
    if chosen.detector:
        for line in rounding.lines(chosen.detector):
            console.print(f"detector   {line}", style="bold red" if line.startswith("WARNING") else None)
    if chosen.datasets:
        console.print("data sets")
        data_command.show(None)
    if found is not None:
        with ImageProgress(console, len(found.names), "reading") as progress:
            examined = folder.examine(
                chosen.folder, progress.advance, found, sides(chosen.folder), reads["page"], reads["limits"]
            )
        _folder(console, chosen.folder, examined, None if chosen.all_names else SHOWN)
        if chosen.csv:
            findings.write(chosen.csv, examined.findings)
            console.print(f"  all {len(examined.findings):,} findings: {chosen.csv}")
    return 1 if idle else 0


def sides(root: Path) -> tuple[set[str], set[str]]:
    """Names of the files that `train` would learn from, and of those that it would evaluate on.

    Args:
      root: the folder.

    Returns:
      Both, relative to it; empty where `train` would refuse the folder.
    """
    try:
        layout = scan_folder.of_folder(root)
    except DataError:
        return set(), set()
    train, test = layout.files, [*layout.test_normal, *layout.test_anomalous]
    return {file.relative_to(root).as_posix() for file in train}, {file.relative_to(root).as_posix() for file in test}


def _machine(console: Console) -> bool:
    console.print(f"versions   {machine.versions()}")
    console.print(f"devices    {machine.devices()}")
    idle = machine.idle_accelerators(jax.default_backend())
    for line in idle:
        console.print(f"  WARNING: {line}", style="bold red")
    console.print(f"speed      LeNet-5, 28×28 px: {machine.speed():,.0f} images/s, compiled")
    for what, where, size in machine.caches():
        console.print(f"cache      {what}: {where}, {size / 2**20:,.1f} MiB")
    for model, place in machine.weights():
        console.print(f"weights    {model}: {place}")
    return bool(idle)


def _folder(console: Console, root: Path, examined: folder.Examined, most: int | None) -> None:
    readable = examined.modes.total()
    console.print(f"\n{root}: {len(examined.found.names):,} picture files, {readable:,} can be read")
    if examined.found.passed_over:
        kinds = ", ".join(f"{why} {count:,}" for why, count in examined.found.passed_over.most_common())
        console.print(f"  skipped: {kinds}")
    _list(console, "folders that can't be listed", examined.found.unlisted.items(), most)
    _list(console, "can't be read", examined.unreadable.items(), most)
    if readable:
        widths, heights = zip(*examined.sizes, strict=True)
        ranges = f"{min(widths)}–{max(widths)} × {min(heights)}–{max(heights)} px"
        most_common = ", ".join(f"{w}×{h}: {n:,}" for (w, h), n in examined.sizes.most_common(5))
        console.print(f"  sizes: {len(examined.sizes):,} ({ranges}); {most_common}")
        console.print(f"  modes: {', '.join(f'{mode} {n:,}' for mode, n in examined.modes.most_common())}")
    sizes = [(height, width) for (width, height), count in examined.sizes.items() for _ in range(count)]
    if told := framing.told_of_proportions(sizes):
        console.print(f"  {told}")
    fitted = examined.depths.fitted()
    if fitted < depth.WHOLE:
        console.print(f"  {examined.depths.rule()}")
    if warning := examined.depths.told(depth=fitted):
        console.print(f"  {warning}", style="bold red")
    if len(examined.classes) > 1 or "" not in examined.classes:
        counts = ", ".join(f"{upload.line(name) or '(none)'} {n:,}" for name, n in sorted(examined.classes.items()))
        console.print(f"  subfolders: {counts}")
    copies = sum(len(names) - 1 for names in examined.duplicates)
    console.print(f"  exact duplicates (SHA-256): {copies:,}")
    for names in examined.duplicates[:most]:
        shown = names if most is None else names[:4]
        console.print(f"    {' = '.join(map(upload.line, shown))}{' = …' if len(names) > len(shown) else ''}")
    if copies:
        console.print(f"    → {findings.KINDS[findings.EXACT][1]}")
    _findings(console, examined.findings, most)


def _findings(console: Console, found: list[findings.Finding], most: int | None) -> None:
    """Those that have not been told: what can't be read has."""
    for kind, (what, to_do) in findings.KINDS.items():
        own = [(one.path, one.about) for one in found if one.kind == kind]
        if kind not in ("unreadable", findings.EXACT):
            _list(console, what, own, most)
        if own and kind != findings.EXACT:
            console.print(f"    → {to_do}")


def _list(console: Console, title: str, items: Iterable[tuple[str, str]], most: int | None) -> None:
    items = list(items)
    if items:
        console.print(f"  {title}: {len(items):,}")
        for name, why in items[:most]:
            console.print(f"    {upload.line(name)}: {why}")
        if most is not None and len(items) > most:
            console.print(f"    … and {len(items) - most:,} more (--all-names)")
