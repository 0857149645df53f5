"""`python -m adjax example`: a folder of made pictures, to try the other commands on."""

from __future__ import annotations

from pathlib import Path

from adjax.cli.parsers.example import parser
from adjax.data import example


def main(arguments: list[str]) -> int:
    """Runs `python -m adjax example ARGUMENTS`; returns the exit code."""
    chosen = parser().parse_args(arguments)
    written = example.write(chosen.folder, chosen.texture, chosen.seed)
    print(
        f"{chosen.folder}: {written.trained} normal pictures to learn from in train/good, {written.tested} to evaluate "
        f"on in test/good, {written.defects} with a defect in {', '.join(f'test/{kind}' for kind in example.SHOWN)}; "
        f"masks in ground_truth\n"
        f"Next:\n  python -m adjax train {chosen.folder}\n"
        f"  python -m adjax predict {Path('runs') / chosen.folder.resolve().name} {chosen.folder / 'test'} "
        "--out scores.csv --maps maps/"
    )
    return 0
