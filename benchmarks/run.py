"""Times adjax beside its peers: `python -m benchmarks.run [--quick] [--only NAME …]`. Run it on a machine at rest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from adjax import methods, models, scorers, train
from adjax.augment import normalise_of
from benchmarks.harness import Timing, compare
from experiments.rundir import environment

RESULTS = Path(__file__).parent / "results"


def programs(batch_size: int, members: int, layout: str) -> tuple[Callable[[], object], float]:
    """Ten steps of LeNet-5 with center loss for every member, and how long it took to compile."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10 * batch_size, 28, 28, 1), np.uint8)
    labels = rng.integers(0, 10, len(images)).astype(np.int32)
    method = methods.make("centerloss", models.make("lenet5", (28, 28, 1), 10), (28, 28, 1), 10, steps=10**6)
    rows = np.arange(len(images))
    hparams = {name: [value] * members for name, value in method.hparams.items()}
    table = train.members(hparams, range(members), [rows] * members, [labels] * members)
    program = train.compile_program(
        method,
        images,
        table,
        normalise_of(images),
        batch_size=batch_size,
        steps_per_dispatch=10,
        layout=layout,
    )
    state = program.init(program.table)
    order = program.epoch_order(program.table, state.step)

    def ten_steps():
        nonlocal state
        state, metrics = program.run(state, program.table.seed, order, program.images)
        return metrics

    return ten_steps, program.compile_s


def members(layout: str, n: int) -> Timing:
    """A table of ten members as one program against the same members one program after another."""
    together, compile_s = programs(128, 10, layout)
    alone, _ = programs(128, 1, "map")

    def one_by_one():
        return [alone() for _ in range(10)]

    name = f"10 members, LeNet-5 train, batch 128, {layout}"
    return compare(name, "one by one", together, one_by_one, images=12_800, n=n, compile_s=compile_s)


def mahalanobis(covariance: Literal["tied", "class"], rows: int, dim: int, n: int) -> Timing:
    """Distances of many images to ten classes against NumPy's plain float32 form, one class after another."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, dim)).astype(np.float32)
    labels = rng.integers(0, 10, rows).astype(np.int32)
    scorer = scorers.mahalanobis(covariance)
    state = jax.jit(partial(scorers.fit, scorer, classes=10))({"features": x[:20_000]}, labels[:20_000])
    device = {"features": jnp.asarray(x)}
    ours = jax.jit(scorer.distances)
    means = np.stack([x[:20_000][labels[:20_000] == c].mean(0) for c in range(10)])
    precision = np.asarray(jnp.einsum("kde,kfe->kdf", state.whiten, state.whiten))

    def peer():
        distances = np.empty((rows, 10), np.float32)
        for c in range(10):
            rest = x - means[c]
            distances[:, c] = np.sqrt(np.einsum("nd,nd->n", rest @ precision[c % len(precision)], rest))
        return distances

    np.testing.assert_allclose(ours(state, device), peer(), rtol=1e-3)
    name = f"Mahalanobis, {rows:,} × {dim}, 10 classes, {covariance}"
    return compare(name, "NumPy float32", lambda: ours(state, device), peer, images=rows, n=n)


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "members_map": lambda n, quick: members("map", n),
    "members_vmap": lambda n, quick: members("vmap", n),
    "mahalanobis_class": lambda n, quick: mahalanobis("class", 10_000 if quick else 100_000, 84, n),
    "mahalanobis_tied": lambda n, quick: mahalanobis("tied", 10_000 if quick else 100_000, 512, n),
}
"""Name -> `(pairs, quick) -> Timing`. A new benchmark is one function and one line."""


def main() -> None:
    """Runs the chosen benchmarks, prints a table, writes JSON lines."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(BENCHMARKS), help="these alone")
    parser.add_argument("--quick", action="store_true", help="small sizes, 3 pairs: does it run at all?")
    parser.add_argument("--out", type=Path, default=RESULTS / "benchmarks.jsonl", help="where the JSON lines go")
    args = parser.parse_args()

    table = Table(title="adjax against its peers; ratio > 1: adjax is faster")
    for column in ("work", "peer", "ours ms", "peer ms", "ratio", "min–max", "n", "compile s", "images/s"):
        table.add_column(column)
    where, lines = environment("benchmarks.run"), []
    for name in args.only or BENCHMARKS:
        t = BENCHMARKS[name](3 if args.quick else 11, args.quick)
        lines.append(json.dumps({**t.json(), "environment": where}, ensure_ascii=False))
        spread = f"{t.ratio_min:.2f}–{t.ratio_max:.2f}"
        numbers = (
            f"{t.ours_ms:.1f}",
            f"{t.peer_ms:.1f}",
            f"{t.ratio:.2f}",
            spread,
            str(t.n),
            f"{t.compile_s:.1f}",
        )
        table.add_row(t.name, t.peer, *numbers, f"{t.images_per_s:,.0f}")
    Console().print(table)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("".join(line + "\n" for line in lines))
    print(args.out)


if __name__ == "__main__":
    main()
