"""What the scorer that `adjax train` chooses is worth beside the others: `python -m benchmarks.selection`.

Folders of `benchmarks.picture_sets` and three more categories of stamps, on which the rule of `adjax.auto.select` was
chosen. For each set and seed (of the split and the synthetic defects) there is every candidate's AUROC against
synthetic defects and unrelated photographs in training pictures, by which one is chosen; and, fitted to all training
pictures, against the anomalous test pictures, of which the choice knows nothing. Where pictures are so small that
nothing is compared, pooled features alone stand beside what is taken. Writes `results/selection.json` and a table.
"""

from __future__ import annotations

import argparse
import tempfile
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
from benchmarks.picture_sets import SETS, stamp
from experiments.console import spread
from experiments.rundir import dated, days, earlier_rows, environment, write_json

FOLDERS = {**SETS, **{f"stamps: {name}": stamp(name) for name in ("food", "seasonal", "town")}}
PARTS = {"train": "train/good", "normal": "test/good", "anomalous": "test/anomalous"}
SHOWN = "patchcore with overall", "patchcore with overall and knn", "padim with knn", "knn", "gmm"


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


def candidates(planned: plan.TrainingPlan, train: np.ndarray, seed: int) -> list[Found]:
    """What is compared, in the order of `select.compare`; where that is one, pooled features alone after it."""
    found = select.compare(planned, train, np.zeros(len(train), np.int32), ("normal",), seed)[0]
    if len(found) > 1:
        return found
    alone: dict[str, dict[str, Any]] = {"knn": plan.nearest(len(train)), "gmm": {"shrinkage": 0.1}}
    return found + [Found(name, name, options, np.nan, np.nan) for name, options in alone.items()]


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
        found = candidates(planned, pictures["train"], seed)
        chosen = select.best([one for one in found if not np.isnan(one.defects)]).name
        each = {one.name: {**_figures(one), "auroc": evaluated(one, outputs)} for one in found}
        rows.append({"set": name, "seed": seed, "chosen": chosen, "candidates": each})
        print(f"{name}, seed {seed}: {chosen}, AUROC {each[chosen]['auroc']:.3f}", flush=True)
    return rows


def _figures(one: Found) -> dict[str, Any]:
    return {name: None if isinstance(x, float) and np.isnan(x) else x for name, x in one._asdict().items()}


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table, and under it what it was made on."""
    lines = [f"| set | chosen | {' | '.join(SHOWN)} | best of all |", "|---" * (3 + len(SHOWN)) + "|"]
    for name in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == name]
        figures = [[row["candidates"][row["chosen"]]["auroc"] for row in own]]
        figures += [[row["candidates"][x]["auroc"] for row in own if x in row["candidates"]] for x in SHOWN]
        figures += [[max(one["auroc"] for one in row["candidates"].values()) for row in own]]
        means = [spread(x) if x else None for x in figures]
        cells = ["–" if x is None else f"{x['mean']:.3f} ± {x['sd']:.3f}" for x in means]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    seeds = max(row["seed"] for row in rows) + 1
    lines += [
        "",
        f"AUROC, mean ± standard deviation over {seeds} seeds of the split and the synthetic defects, on one set of "
        f"test pictures each. By these sets the rule was chosen, and what is fused and how: it is not blind to them. "
        f"`{where['command']}`, {days(rows)}, {where['cores']} cores of {where['cpu']}, jax "
        f"{where['versions']['jax']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the sets that the file lacks; writes after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.selection", description=__doc__)
    parser.add_argument("--stamps", type=Path, help="…/share/tuxpaint/stamps of tuxpaint-stamps-default; without, none")
    parser.add_argument("--sets", nargs="+", choices=FOLDERS, default=list(FOLDERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3, help="of the split and the defects (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="run again what the file has")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "selection.json")
    args = parser.parse_args()
    process.prepare()
    rows, where = [] if args.again else earlier_rows(args.out), environment("benchmarks.selection")
    with tempfile.TemporaryDirectory() as work:
        for number, name in enumerate(args.sets):
            have = any(row["set"] == name for row in rows)
            if not have and (args.stamps is not None or not name.startswith("stamps")):
                folder = Path(work) / str(number)
                FOLDERS[name](folder, args.stamps)
                rows += [{**row, "made": dated(where)} for row in rows_of(name, folder, args.seeds)]
                rows.sort(key=lambda row: list(FOLDERS).index(row["set"]))
                write_json(args.out, {"what": __doc__, "environment": where, "rows": rows})
                args.out.with_suffix(".md").write_text(markdown(rows, where))


if __name__ == "__main__":
    surface.script(main)
