"""Compiles adjax's programs for a TPU that isn't there: `python -m benchmarks.compile`. Predictions, not measurements.

The TPU's own compiler runs on any Linux machine (`pip install -e '.[aot]'`) and says what a program moves, how many
operations it has and what memory it takes. All but the compile time repeats exactly.

    memory      bytes read from and written to the chip's main memory, tiles' padding and all; of programs without loops
    floor       each input read once and each result written once, unpadded
    all bytes   as the compiler counts them: those in the chip's own fast memory too, and a loop's body once
    temporary   memory beside inputs and results
    padding     size of the inputs in tiles of 8 × 128, by their own

`--baseline FILE`, an earlier output of this command, adds ratios to it. Results go to `results/compile.json` and
`compile.md`, a program at a time; `--programs` makes some of them again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from adjax import scorers, surface, thresholds, train
from adjax.augment import Augment, Normalise
from adjax.members import Members
from adjax.sharding import DATA, MEMBER
from benchmarks.training import AUTOENCODER, CNN, LENET, Setting, gan
from experiments.rundir import environment, write_json

HEADING = (
    "By the TPU's compiler, on a machine without one: bounds and counts, no measured times. What the columns mean: "
    "`python -m benchmarks.compile --help`.{}\n"
)
RESULTS = Path(__file__).parent / "results"
TOPOLOGIES = {"v5e": "v5e:2x2", "v6e": "v6e:2x2", "v5p": "v5p:2x2x1", "v4": "v4:2x2x1"}


class Compiled(NamedTuple):
    """A program for one chip, and its arguments' shapes."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def shape(*sides: int, dtype: Any = jnp.float32) -> Any:
    """An array's shape and type, float32 unless told otherwise."""
    return jax.ShapeDtypeStruct(sides, dtype)


def ints(*sides: int) -> Any:
    """An array of whole numbers."""
    return shape(*sides, dtype=jnp.int32)


def scoring(name: str, rows: tuple[int, ...], classes: int = 10, feature: str = "features", **options: Any) -> Compiled:
    """Scores of N images, [N, D] or [N, h, w, C], by one scorer."""
    scorer = scorers.make(name, **options)
    seen = {feature: shape(20_000, *rows[1:])}
    state = jax.eval_shape(lambda o, y: scorers.fit(scorer, o, y, classes), seen, ints(20_000))
    return Compiled(scorer.score, (state, {feature: shape(*rows)}))


def finalizing(dim: int, classes: int) -> Compiled:
    """The end of a fit, which inverts a covariance."""
    scorer = scorers.make("mahalanobis")
    return Compiled(scorer.finalize, (jax.eval_shape(lambda: scorer.init(dim, classes)),))


def quantile(rows: int, classes: int) -> Compiled:
    """Distances to scores, the last step of every detector."""
    levels = len(thresholds.LEVELS)
    calibration = thresholds.Calibration(shape(levels), shape(classes, levels), shape(classes))
    return Compiled(thresholds.classwise_quantile, (calibration, shape(rows, classes)))


def training(
    chip: Any, setting: Setting, batch_size: int, what: str = "run", members: int = 1, images: int = 60_000
) -> Compiled:
    """A training program's `run`, a dispatch of 32 steps, or its `epoch_order`."""
    method = setting.build().method
    functions = train.functions(
        method,
        Normalise(np.full(setting.shape[2], 0.5, np.float32), np.ones(setting.shape[2], np.float32)),
        Mesh(np.array([[chip]]), (MEMBER, DATA)),
        batch_size=batch_size,
        steps_per_epoch=images // batch_size,
        augment=Augment(),
        steps_per_dispatch=32,
        layout="vmap",
    )
    rows = ints(members, images)
    table = Members({h: shape(members) for h in method.hparams}, ints(members), rows, rows, ints(members))
    if what == "epoch_order":
        return Compiled(functions.epoch_order, (table, ints()))
    state = jax.eval_shape(functions.init, table)
    order = jax.eval_shape(functions.epoch_order, table, ints())
    pictures = shape(images, *setting.shape, dtype=jnp.uint8)
    return Compiled(functions.run, (state, table.seed, order, pictures, ints()))


PROGRAMS: dict[str, Callable[[Any], Compiled]] = {
    "quantile, 100,000 × 10": lambda _: quantile(100_000, 10),
    "calibrate, 60,000 × 10": lambda _: Compiled(thresholds.calibrate, (shape(60_000, 10), ints(60_000))),
    "Mahalanobis, 8,192 × 512, 10 classes": lambda _: scoring("mahalanobis", (8192, 512)),
    "Mahalanobis, 100,000 × 512, 10 classes": lambda _: scoring("mahalanobis", (100_000, 512)),
    "Mahalanobis, 8,192 × 512, 1,000 classes": lambda _: scoring("mahalanobis", (8192, 512), 1000),
    "Mahalanobis, the end of a fit, 512, 10 classes": lambda _: finalizing(512, 10),
    "cosine, 8,192 × 512, 10 classes": lambda _: scoring("cosine", (8192, 512)),
    "cosine, 100,000 × 512, 10 classes": lambda _: scoring("cosine", (100_000, 512)),
    "GMM of 4, 8,192 × 512": lambda _: scoring("gmm", (8192, 512), 1, components=4),
    "GMM of 4, 50,000 × 512": lambda _: scoring("gmm", (50_000, 512), 1, components=4),
    "k-nearest, 10,000 × 512": lambda _: scoring("knn", (10_000, 512), 1),
    "PatchCore, 4,096 × 7 × 7 × 64": lambda _: scoring("patchcore", (4096, 7, 7, 64), 1, "patches"),
    "PaDiM, 1,024 × 7 × 7 × 64": lambda _: scoring("padim", (1024, 7, 7, 64), 1, "patches"),
    "epoch order, 60,000 images": lambda chip: training(chip, LENET, 128, "epoch_order"),
    "LeNet + center loss, batch 128": lambda chip: training(chip, LENET, 128),
    "LeNet + center loss, batch 128, 15 members": lambda chip: training(chip, LENET, 128, members=15),
    "autoencoder, batch 128": lambda chip: training(chip, AUTOENCODER, 128),
    "CNN classifier, batch 128": lambda chip: training(chip, CNN, 128),
    "GAN, float32, batch 16": lambda chip: training(chip, gan(None), 16, images=6000),
}
"""Name -> the program. A new one is one line."""


def compiled(program: Compiled, chip: Any) -> dict[str, Any]:
    """Compiles a program for one chip and reads what its compiler says of it."""
    everywhere = NamedSharding(Mesh(np.array([[chip]]), (MEMBER, DATA)), PartitionSpec())
    arguments = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), program.arguments)
    started, busy = time.perf_counter(), time.process_time()
    lowered = jax.jit(program.function).lower(*arguments)
    executable = lowered.compile()
    row = {"compile_s": time.perf_counter() - started, "compile_cpu_s": time.process_time() - busy}
    cost, memory, text = executable.cost_analysis(), executable.memory_analysis(), executable.as_text()
    assert cost is not None
    assert memory is not None
    assert text is not None
    loops = len(re.findall(r" while\(", text))
    return row | {
        "gflop": cost.get("flops", 0) / 1e9,
        "all_bytes": cost["bytes accessed"],
        "memory_bytes": None if loops else moved_bytes(text),
        "floor_bytes": size((program.arguments, lowered.out_info)),
        "temporary_bytes": memory.temp_size_in_bytes,
        "padding": memory.argument_size_in_bytes / max(size(program.arguments), 1),
        "code_bytes": memory.generated_code_size_in_bytes,
        "loops": loops,
        **{kind: len(re.findall(rf" {kind}\(", text)) for kind in ("fusion", "gather", "sort", "custom-call")},
    }


def size(tree: Any) -> int:
    """Bytes of all arrays in a tree of shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


_ARRAY = re.compile(r"(pred|[a-z]+\d+)\[([\d,]*)\](?:\{([\d,]*)(?::T\((\d+)(?:,(\d+))?\))?([^}]*)\})?")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][a-z-]*)\((.*?)\)(?:,|$)")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all"}


def moved_bytes(text: str) -> int:
    """Bytes that the operations of a program read from the chip's main memory and write to it, loops aside.

    Args:
      text: of the compiled program, whose arrays in fast memory are marked S(1).

    Returns:
      Bytes, padded to tiles.
    """
    sizes: dict[str, list[int]] = {}
    moved = 0
    for line in text[text.index("ENTRY ") :].splitlines()[1:]:
        if not (found := _INSTRUCTION.match(line)):
            continue
        name, kind, operation, operands = found.groups()
        sizes[name] = [_padded(*array.groups()) for array in _ARRAY.finditer(kind)]
        if operation in _FREE or operation.endswith("-done"):
            continue
        written = sizes[name][:1] if operation.endswith("-start") else sizes[name]
        read = [sum(sizes.get(operand, ())) for operand in re.findall(r"%([\w.-]+)", operands)]
        moved += sum(written) + sum(read)
    return moved


def _padded(dtype: str, sides: str, order: str | None, first: str | None, second: str | None, rest: str | None) -> int:
    """Bytes in main memory of an array as it is written in a program; 0 in another."""
    if "S(" in (rest or "") or not sides:
        return 0
    minor = [int(sides.split(",")[int(axis)]) for axis in (order or "0").split(",")]
    for axis, tile in enumerate((first,) if second is None else (second, first)):
        if tile and axis < len(minor):
            minor[axis] = -(-minor[axis] // int(tile)) * int(tile)
    return math.prod(minor) * (1 if dtype == "pred" else int(re.sub(r"\D", "", dtype)) // 8)


def table(rows: dict[str, dict[str, Any]], baseline: dict[str, dict[str, Any]]) -> str:
    """Formats all rows as Markdown, with the ratio to an earlier row in brackets."""
    columns = {
        "compile, CPU s": ("compile_cpu_s", 1, ",.0f"),
        "GFLOP": ("gflop", 1, ",.2f"),
        "memory, MB": ("memory_bytes", 1e-6, ",.1f"),
        "floor, MB": ("floor_bytes", 1e-6, ",.1f"),
        "all bytes, MB": ("all_bytes", 1e-6, ",.1f"),
        "temporary, MB": ("temporary_bytes", 1e-6, ",.1f"),
        "padding": ("padding", 1, ",.2f"),
        "loops": ("loops", 1, "d"),
    }
    lines = ["| program | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        before, cells = baseline.get(name, {}), []
        for key, unit, form in columns.values():
            value = row[key]
            cell = "–" if value is None else format(value * unit if unit != 1 else value, form)
            if value is not None and before.get(key):
                cell += f" ({value / before[key]:.3g} ×)"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def chip_of(topology: str) -> Any:
    """The first chip of a slice that the TPU compiler knows.

    Raises:
      SystemExit: no compiler is installed.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise SystemExit("the TPU compiler is missing: pip install -e '.[aot]'")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no host to be asked what chips it has
    from jax.experimental import topologies

    return topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGIES[topology]).devices[0]


def main() -> None:
    """Compiles the programs and writes what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", choices=TOPOLOGIES, default="v5e", help="default: %(default)s")
    parser.add_argument("--programs", nargs="+", metavar="WORD", help="only those whose name has one of these words")
    parser.add_argument("--baseline", type=Path, help="an earlier compile.json, to compare with")
    parser.add_argument("--out", type=Path, default=RESULTS / "compile.json", help="default: %(default)s")
    args = parser.parse_args()
    chosen = [n for n in PROGRAMS if not args.programs or any(word.lower() in n.lower() for word in args.programs)]
    if not chosen:
        raise SystemExit(f"--programs {' '.join(args.programs)} names none of: {'; '.join(PROGRAMS)}")
    jax.config.update("jax_platforms", "cpu")  # the compiler is asked, not a chip
    chip = chip_of(args.chip)
    before = {} if args.baseline is None else json.loads(args.baseline.read_text())["programs"]
    where = environment("benchmarks.compile") | {"libtpu": version("libtpu")}
    for name in chosen:
        row = compiled(PROGRAMS[name](chip), chip) | {"revision": where["revision"]}
        print(f"{name}: compiled in {row['compile_cpu_s']:.0f} CPU s, {row['all_bytes'] / 1e6:,.0f} MB", flush=True)
        written = json.loads(args.out.read_text())["programs"] if args.out.exists() else {}
        rows = written.get(args.chip, {}) | {name: row}
        written[args.chip] = {n: rows[n] for n in PROGRAMS if n in rows}
        write_json(args.out, {"environment": where, "programs": written})
        args.out.with_suffix(".md").write_text(page(written, before))


def page(written: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> str:
    """The tables of all chips."""
    brackets = " In brackets: × the earlier program." if before else ""
    tables = (f"## {chip}\n\n{table(rows, before.get(chip, {}))}" for chip, rows in written.items())
    return "\n".join(["# Programs compiled for TPUs", "", HEADING.format(brackets), *tables])


if __name__ == "__main__":
    surface.script(main)
