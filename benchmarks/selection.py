"""What the scorer that `adjax train` chooses is worth beside the others: `python -m benchmarks.selection`.

For each set and seed (of the split and the synthetic defects) there is every candidate's AUROC against synthetic
defects and unrelated photographs in training pictures, by which one is chosen; and, fitted to all training pictures,
against the anomalous test pictures, of which the choice knows nothing. On the sets of `SEEN` the rule of
`adjax.auto.select` was itself chosen; those of `HELD_OUT` were named before any was run, and run when it was fixed. It
was changed once since, for pictures below 96 px, of which there are none among them.
Writes `results/selection.json` and a table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adjax import metrics, process, surface
from adjax.auto import plan, select
from adjax.auto.select import Found
from adjax.data.io import gather
from adjax.data.io.upload import Header
from adjax.types import Outputs
from benchmarks.picture_sets import SETS, Writer, drawing, game_texture, needs, stamp, texture
from experiments.console import spread
from experiments.rundir import dated, days, earlier_rows, environment, write_json


def _sets(kind: str, writer: Callable[[str], Writer], *names: str) -> dict[str, Writer]:
    return {f"{kind}: {name}": writer(name) for name in names}


SEEN: dict[str, Writer] = {
    **SETS,
    **{f"{name}, {px} px": texture(name, px) for name, px in (("brick", 32), ("grass", 48), ("gravel", 64))},
    **_sets("stamps", stamp, "food", "seasonal", "town"),
    **_sets("drawings", drawing, "animals", "food/fruit", "people", "plants", "recreation/music"),
    **_sets("drawings", drawing, "signs_and_symbols/flags", "tools", "transportation"),
}
HELD_OUT: dict[str, Writer] = {
    **_sets("game textures", game_texture, "acc_dm3/concrt", "acc_dm5/mud02", "base_wall/patch10_beatup4"),
    **_sets("game textures", game_texture, "clown/stone_tile", "cosmo_block/ancient_bricks2", "proto2/tin_floor01"),
    **_sets("game textures", game_texture, "stone/pjrock21"),
    **_sets("drawings", drawing, "buildings", "computer/buttons", "food/desserts", "geography", "office"),
    **_sets("drawings", drawing, "recreation/sports", "signs_and_symbols/map_symbols"),
}
"""Of drawings no category is part of one above; up to five of each were among the anomalies there."""
FOLDERS = {**SEEN, **HELD_OUT}
PARTS = {"train": "train/good", "normal": "test/good", "anomalous": "test/anomalous"}
SHOWN = "patchcore with overall", "patchcore with overall and knn", "knn with patchcore and overall", "knn"


def read(folder: Path) -> tuple[plan.TrainingPlan, dict[str, np.ndarray]]:
    """The plan for a folder, and its pictures as the detector gets them."""
    files = {name: sorted((folder / part).iterdir()) for name, part in PARTS.items()}
    headers = [_header(file) for file in files["train"]]
    planned = plan.choose(headers, 1, plan.UserChoices())
    return planned, {name: gather.images(x, planned.shape, frame=planned.frame)[0] for name, x in files.items()}


def _header(file: Path) -> Header:
    with Image.open(file) as image:
        channels = 1 if image.mode == "L" else 3
        return Header(image.height, image.width, channels, image.mode)


def evaluated(one: Found, outputs: dict[str, Outputs]) -> float:
    """AUROC of a candidate that is fitted to all training pictures."""
    train = outputs["train"]
    rows = [slice(at, at + select.BATCH_SIZE) for at in range(0, len(train["features"]), select.BATCH_SIZE)]
    parts = ({name: x[own] for name, x in train.items()} for own in rows)
    learned = ((part, np.zeros(len(part["features"]), np.int32)) for part in parts)
    score = select.fitted_to(one.scorer, one.options, learned, 1)
    found = [score(outputs[part]) for part in ("normal", "anomalous")]
    truth = np.repeat([0, 1], [len(x) for x in found])
    return float(metrics.auroc(np.concatenate(found), truth))


def rows_of(name: str, folder: Path, seeds: int) -> list[dict[str, Any]]:
    """A row for each seed."""
    planned, pictures = read(folder)
    said = select.seen_by_network(planned, pictures["train"], ("normal",), pictures.values(), 0)
    outputs, rows = dict(zip(pictures, said, strict=True)), []
    for seed in range(seeds):
        labels = np.zeros(len(pictures["train"]), np.int32)
        found = select.compare(planned, pictures["train"], labels, ("normal",), seed)[0]
        chosen = select.best(found).name
        each = {one.name: {**one._asdict(), "auroc": evaluated(one, outputs)} for one in found}
        rows.append({"set": name, "seed": seed, "chosen": chosen, "candidates": each})
        print(f"{name}, seed {seed}: {chosen}, AUROC {each[chosen]['auroc']:.3f}", flush=True)
    return rows


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table of the sets that were seen, that of those held out, and under them what they were made on."""
    seeds = max(row["seed"] for row in rows) + 1
    parts = {
        "Sets by which the rule was chosen, and what is fused and how: it is not blind to them.": SEEN,
        "Sets that were named before any was run, and run once, when the rule was fixed.": HELD_OUT,
    }
    lines = []
    for said, names in parts.items():
        own = [row for row in rows if row["set"] in names]
        lines += [said, "", *table(own), ""] if own else []
    lines += [
        f"AUROC, mean ± standard deviation over {seeds} seeds of the split and the synthetic defects, on one set of "
        f"test pictures each. `{where['command']}`, {days(rows)}, {where['cores']} cores of {where['cpu']}, jax "
        f"{where['versions']['jax']}.",
    ]
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each set, and the mean of those for which every candidate was compared."""
    lines, means = [f"| set | chosen | {' | '.join(SHOWN)} | best of all |", "|---" * (3 + len(SHOWN)) + "|"], []
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [{which: one["auroc"] for which, one in row["candidates"].items()} for row in rows if row["set"] == name]
        chosen = [row["chosen"] for row in rows if row["set"] == name]
        figures = [[each[which] for each, which in zip(own, chosen, strict=True)]]
        figures += [[each[which] for each in own if which in each] for which in SHOWN]
        figures += [[max(each.values()) for each in own]]
        each = [spread(x) if x else None for x in figures]
        compared = [x["mean"] for x in each if x is not None]
        means += [compared] if len(compared) == len(each) else []
        cells = ["–" if x is None else f"{x['mean']:.3f} ± {x['sd']:.3f}" for x in each]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append(f"| *mean of {len(means)} with all* | {' | '.join(f'{x:.3f}' for x in np.mean(means, 0))} |")
    return lines


def main() -> None:
    """Runs the sets that the file lacks; writes after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--share", type=Path, help="the usr/share of the packages of `picture_sets`; without, none")
    parser.add_argument("--sets", nargs="+", choices=FOLDERS, default=list(FOLDERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="of the split and the defects (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="run again what the file has")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "selection.json")
    args = parser.parse_args()
    process.prepare()
    rows, where = earlier_rows(args.out), environment("benchmarks.selection")
    done = set() if args.again else {row["set"] for row in rows}
    with tempfile.TemporaryDirectory() as work:
        for number, name in enumerate(args.sets):
            if name not in done and (args.share is not None or needs(name) is None):
                folder = Path(work) / str(number)
                FOLDERS[name](folder, args.share)
                found = [{**row, "made": dated(where)} for row in rows_of(name, folder, args.seeds)]
                rows = [row for row in rows if row["set"] != name] + found
                rows.sort(key=lambda row: list(FOLDERS).index(row["set"]))
                write_json(args.out, {"what": __doc__, "environment": where, "rows": rows})
                args.out.with_suffix(".md").write_text(markdown(rows, where))


if __name__ == "__main__":
    surface.script(main)
