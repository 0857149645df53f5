"""Compiles adjax's programs for chips that aren't there: `python -m benchmarks.compile`. Predictions, not measurements.

The TPU's own compiler runs on any Linux machine (`pip install -e '.[aot]'`), and so does NVIDIA's (`jax[cuda12]`, as
`--chip h100`). They say what a program moves, how many operations it has, what memory it takes and what chips send each
other. All but the compile time repeats exactly; the CUDA compiler counts neither bytes nor operations.

    memory      bytes read from and written to the chip's main memory, tiles' padding and all; of programs without loops
    floor       each input that is looked at read once and each result written once, unpadded
    all bytes   as the compiler counts them: those in the chip's own fast memory too, and a loop's body once
    needed      10⁹ operations that the algorithm needs, of all chips, a loop's body as often as it runs
    bound       no chip can be faster: needed operations at the data sheet's peak, or the floor at its bandwidth. Peaks
                are those of exact float32 products where the program asks for them
    sent        bytes of collectives on one chip, and how many operations they are; a loop's body once,
                of a choice's branches the one that sends most
    links       the least time of them, as all-reduces at the data sheet's rate and without latency; a loop's body as
                often as it runs
    scaling     bound / (bound + links): what remains of a chip's rate if it was at the bound and nothing overlaps
    temporary   memory beside inputs and results
    padding     size of the inputs in tiles of 8 × 128, by their own

`--chips 4` shares batches, members and rows among four of them: those programs that can be shared. `--baseline FILE`,
an earlier output of this command, adds ratios to it. Results go to `results/compile.json`, `compile.md` and
`compile.png`, a program at a time; `--programs` makes some of them again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from adjax import metrics, models, scorers, surface, thresholds, train
from adjax.augment import Augment, Normalise
from adjax.members import Members
from adjax.sharding import DATA, MEMBER, make_mesh, on_own_rows
from adjax.spec import Precision
from benchmarks import chips, needs, plain
from benchmarks.compile_page import page, plot
from benchmarks.compiled import Compiled, compiled, listed, size
from benchmarks.harness import flops
from benchmarks.training import AUTOENCODER, CNN, EFFICIENTNET, LENET, Setting, gan, step_flop
from experiments.rundir import environment, write_json

RESULTS = Path(__file__).parent / "results"
MUON = Setting("centerloss", "lenet5")
"""As `experiments.run` trains it; `LENET` by AdamW, as the peers have it."""
STEPS = 32
"""Optimiser steps a dispatch."""


def shape(*sides: int, dtype: Any = jnp.float32) -> Any:
    """An array's shape and type, float32 unless told otherwise."""
    return jax.ShapeDtypeStruct(sides, dtype)


def ints(*sides: int) -> Any:
    """An array of whole numbers."""
    return shape(*sides, dtype=jnp.int32)


def scoring(
    chip: Any, name: str, rows: tuple[int, ...], classes: int = 10, feature: str = "features", **options: Any
) -> Compiled:
    """Scores of N images by one scorer.

    Args:
      chip: it, or several that share the images.
      name: of the scorer.
      rows: shape of the features, [N, D] or [N, h, w, C].
      classes: that it is fitted to.
      feature: the features' name.
      options: of the scorer.
    """
    scorer, several = scorers.make(name, **options), listed(chip)
    seen = {feature: shape(20_000, *rows[1:])}
    state = jax.eval_shape(lambda o, y: scorers.fit(scorer, o, y, classes), seen, ints(20_000))
    needed = needs.of_scorer(name, rows, classes, **options)
    shares = PartitionSpec(), PartitionSpec((MEMBER, DATA))
    score = scorer.score if len(several) == 1 else on_own_rows(scorer.score, make_mesh(1, several))
    return Compiled(score, (state, {feature: shape(*rows)}), needed and needed.flop, shares=shares)


def finalizing(dim: int, classes: int) -> Compiled:
    """The end of a fit, which inverts a covariance."""
    scorer = scorers.make("mahalanobis")
    return Compiled(scorer.finalize, (jax.eval_shape(lambda: scorer.init(dim, classes)),))


def quantile(rows: int, classes: int) -> Compiled:
    """Distances to scores, the last step of every detector."""
    levels = len(thresholds.LEVELS)
    calibration = thresholds.Calibration(shape(levels), shape(classes, levels), shape(classes))
    shares = PartitionSpec(), PartitionSpec((MEMBER, DATA))
    return Compiled(thresholds.classwise_quantile, (calibration, shape(rows, classes)), shares=shares)


def extracting(model: str, side_px: int, batch_size: int, precision: Precision = "default") -> Compiled:
    """Images to features through a network.

    Args:
      model: its name.
      side_px, batch_size: of the images.
      precision: of its products.
    """
    network = models.make(model, (side_px, side_px, 3), 10)
    params = jax.eval_shape(network.init, jax.eval_shape(lambda: jax.random.key(0)))
    arguments = params, shape(batch_size, side_px, side_px, 3)

    def features(params: Any, images: jax.Array) -> jax.Array:
        with jax.default_matmul_precision(precision):
            return network.apply(params, images)["features"]

    shares = PartitionSpec(), PartitionSpec((MEMBER, DATA))
    return Compiled(
        features, arguments, flops(jax.jit(features), *arguments), exact=precision != "default", shares=shares
    )


def training(
    chip: Any, setting: Setting, batch_size: int, what: str = "run", members: int = 1, images: int = 60_000
) -> Compiled:
    """A training program's `run`, a dispatch of 32 steps, or its `epoch_order`.

    Args:
      chip: it, or several that share the batch and the members.
      setting: what is trained.
      batch_size: of all chips together.
      what: of the program's functions.
      members: networks in one program.
      images: that lie on the chip.
    """
    method = setting.build().method
    mesh = make_mesh(members, listed(chip))
    functions = train.functions(
        method,
        Normalise(np.full(setting.shape[2], 0.5, np.float32), np.ones(setting.shape[2], np.float32)),
        mesh,
        image_shape=setting.shape,
        batch_size=batch_size,
        steps_per_epoch=images // batch_size,
        augment=Augment(),
        steps_per_dispatch=STEPS,
        layout="vmap",
    )
    rows = ints(members, images)
    table = Members({h: shape(members) for h in method.hparams}, ints(members), rows, rows, ints(members))
    one_each, everywhere = PartitionSpec(MEMBER), PartitionSpec()
    if what == "epoch_order":
        return Compiled(functions.epoch_order, (table, ints()))
    state = jax.eval_shape(functions.init, table)
    weights = {name: x for name, x in state.members.items() if name not in ("optimizer", "hparams")}
    order = train.ordered(jax.eval_shape(functions.epoch_order, table, ints()), mesh)
    rows = train.in_rows(mesh, everywhere, 2)
    pictures = jax.ShapeDtypeStruct((images, math.prod(setting.shape)), jnp.uint8, sharding=rows)
    read = min(members * STEPS * batch_size / images, 1), min(STEPS * batch_size / images, 1)  # shares of both
    return Compiled(
        functions.run,
        (state, table.seed, order, pictures, ints()),
        step_flop(setting, batch_size) * members * STEPS,
        exact=False,
        shares=(train.State(everywhere, one_each), one_each, PartitionSpec(MEMBER, None, DATA), everywhere, everywhere),  # type: ignore[arg-type]
        members=members,
        weight_bytes=size(weights) // mesh.shape[MEMBER] if mesh.shape[DATA] > 1 else 0,
        unread=int((1 - read[0]) * size(pictures) + (1 - read[1]) * size(order)),
        repeats=STEPS,
    )


PROGRAMS: dict[str, Callable[[Any], Compiled]] = {
    "quantile, 100,000 × 10": lambda _: quantile(100_000, 10),
    "calibrate, 60,000 × 10": lambda _: Compiled(thresholds.calibrate, (shape(60_000, 10), ints(60_000))),
    "Mahalanobis, 8,192 × 512, 10 classes": lambda chip: scoring(chip, "mahalanobis", (8192, 512)),
    "Mahalanobis, 100,000 × 512, 10 classes": lambda chip: scoring(chip, "mahalanobis", (100_000, 512)),
    "Mahalanobis, 8,192 × 512, 1,000 classes": lambda chip: scoring(chip, "mahalanobis", (8192, 512), 1000),
    "Mahalanobis, the end of a fit, 512, 10 classes": lambda _: finalizing(512, 10),
    "cosine, 8,192 × 512, 10 classes": lambda chip: scoring(chip, "cosine", (8192, 512)),
    "cosine, 100,000 × 512, 10 classes": lambda chip: scoring(chip, "cosine", (100_000, 512)),
    "GMM of 4, 8,192 × 512": lambda chip: scoring(chip, "gmm", (8192, 512), 1, components=4),
    "GMM of 4, 50,000 × 512": lambda chip: scoring(chip, "gmm", (50_000, 512), 1, components=4),
    "k-nearest, 10,000 × 512": lambda chip: scoring(chip, "knn", (10_000, 512), 1),
    "PatchCore, 4,096 × 7 × 7 × 64": lambda chip: scoring(chip, "patchcore", (4096, 7, 7, 64), 1, "patches"),
    "PaDiM, 1,024 × 7 × 7 × 64": lambda chip: scoring(chip, "padim", (1024, 7, 7, 64), 1, "patches"),
    "epoch order, 60,000 images": lambda chip: training(chip, LENET, 128, "epoch_order"),
    "LeNet + center loss, batch 128": lambda chip: training(chip, LENET, 128),
    "LeNet + center loss, batch 128, 15 members": lambda chip: training(chip, LENET, 128, members=15),
    "LeNet + center loss by Muon, batch 128": lambda chip: training(chip, MUON, 128),
    "LeNet + center loss by Muon, batch 128, 15 members": lambda chip: training(chip, MUON, 128, members=15),
    "LeNet in plain JAX, a step of 128": lambda _: Compiled(
        plain.step, plain.arguments(128), step_flop(LENET, 128), exact=False
    ),
    "autoencoder, batch 128": lambda chip: training(chip, AUTOENCODER, 128),
    "CNN classifier, batch 128": lambda chip: training(chip, CNN, 128),
    "GAN, float32, batch 16": lambda chip: training(chip, gan(None), 16, images=6000),
    "GAN, bfloat16, batch 16": lambda chip: training(chip, gan("bfloat16"), 16, images=6000),
    "Deep SVDD, batch 128": lambda chip: training(chip, Setting("deep_svdd", "svdd_lenet"), 128),
    "OOD head on LeNet, batch 128": lambda chip: training(chip, Setting("ood_head", "lenet5"), 128),
    "EfficientNet-B0 + center loss, 128 px, batch 32": lambda chip: training(chip, EFFICIENTNET, 32, images=2000),
    "LeNet + center loss, batch 128 a chip": lambda chip: training(chip, LENET, 128 * len(listed(chip))),
    "LeNet + center loss, batch 128, 4 members": lambda chip: training(chip, LENET, 128, members=4),
    "features of EfficientNet-B0, 128 px, batch 64": lambda _: extracting("efficientnet_b0", 128, 64),
    "features of EfficientNet-B0 in float32": lambda _: extracting("efficientnet_b0", 128, 64, "highest"),
    "AUROC of 100,000 scores": lambda _: Compiled(metrics.auroc, (shape(100_000), ints(100_000))),
    "average precision of 100,000 scores": lambda _: Compiled(metrics.aupr, (shape(100_000), ints(100_000))),
    "FPR at 95 % TPR of 100,000 scores": lambda _: Compiled(metrics.fpr_at_tpr, (shape(100_000), ints(100_000))),
}
"""Name -> the program. A new one is one line."""


def main() -> None:
    """Compiles the programs and writes what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", choices=chips.CHIPS, default="v5e", help="default: %(default)s")
    parser.add_argument("--chips", type=int, default=1, help="how many share the programs; default: %(default)s")
    parser.add_argument(
        "--programs", nargs="+", metavar="WORD", help="only these, or those whose name has one of these words"
    )
    parser.add_argument("--baseline", type=Path, help="an earlier compile.json, to compare with")
    parser.add_argument("--out", type=Path, default=RESULTS / "compile.json", help="default: %(default)s")
    args = parser.parse_args()
    chosen = [n for n in PROGRAMS if not args.programs or any(_names(word, n) for word in args.programs)]
    if not chosen:
        raise SystemExit(f"--programs {' '.join(args.programs)} names none of: {'; '.join(PROGRAMS)}")
    chips.prepare([args.chip])
    jax.config.update("jax_platforms", "cpu")  # the compiler is asked, not a chip
    several = chips.devices(args.chip, args.chips)
    target = args.chip if args.chips == 1 else f"{args.chips} × {args.chip}"
    before = {} if args.baseline is None else json.loads(args.baseline.read_text())["programs"]
    where = environment("benchmarks.compile") | {"compilers": compilers()}
    for name in chosen:
        program = PROGRAMS[name](several if args.chips > 1 else several[0])
        if args.chips > 1 and program.shares is None:
            continue
        row = compiled(program, several, chips.CHIPS[args.chip]) | {"revision": where["revision"]}
        print(f"{target}: {name}: compiled in {row['compile_cpu_s']:.0f} CPU s", flush=True)
        written = json.loads(args.out.read_text())["programs"] if args.out.exists() else {}
        rows = written.get(target, {}) | {name: row}
        written[target] = {n: rows[n] for n in PROGRAMS if n in rows}
        write_json(args.out, {"environment": where, "programs": written})
        args.out.with_suffix(".md").write_text(page(written, before))
        plot(written, args.out.with_suffix(".png"))


def _names(word: str, program: str) -> bool:
    """Whether a word of `--programs` chooses a program: a whole name that one alone, a part of names all with it."""
    return word == program if word in PROGRAMS else word.lower() in program.lower()


def compilers() -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for name in ("libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    surface.script(main)
