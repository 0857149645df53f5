"""What can be said of accelerators without one: `python -m benchmarks.lowering`. Predictions, never measurements.

Every training step and every scorer is exported for CUDA and TPU: it lowers, or the table says why not. From the
program lowered for a TPU, where a convolution is one operation, come floating-point operations and the bytes that its
operations read and write, one by one. A step then takes at least operations / peak, and at most bytes / bandwidth if
nothing is fused and that is slower: the truth lies between, near the first where matmuls are large. A program with a
loop has no figures, since its body would count once. In the same way a step holds at least its arguments in memory (the
state, which it gives up for the next one, and the batch), and at most what its results and all arrays still to be used
take if nothing is fused (`benchmarks.liveness`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from adjax import scorers, surface
from adjax.scorers import SCORERS
from benchmarks import chips
from benchmarks.liveness import held_bytes
from benchmarks.training import AUTOENCODER, CNN, EFFICIENTNET, LENET, Setting, gan
from experiments.rundir import environment, write_json

PLATFORMS = ("cuda", "tpu")
N, D, K = 4096, 512, 10


CHIPS = chips.CHIPS["h100"], chips.CHIPS["v5e"]
STEPS: dict[str, tuple[Setting, int]] = {
    "LeNet + center loss": (LENET, 1024),
    "conv autoencoder": (AUTOENCODER, 1024),
    "CNN classifier": (CNN, 1024),
    "GAN, float32": (gan(None), 64),
    "GAN, bfloat16": (gan("bfloat16"), 64),
    "EfficientNet-B0 + center loss, 128 px": (EFFICIENTNET, 64),
}
"""Name -> what is trained, images a step."""


def lowered(function: Callable, *arguments: Any) -> str:
    """The platforms that it lowers for; else the first line of why not."""
    try:
        return ", ".join(jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).platforms)
    except Exception as error:  # whatever the reason: it is what the table has to say
        return f"no: {type(error).__name__}: {str(error).splitlines()[0]}"


def step_row(name: str, setting: Setting, batch_size: int) -> dict[str, Any]:
    """One training step: operations, bytes, and what follows for each chip."""
    method = setting.build().method
    assert method.step is not None
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(method.init, key, {h: jnp.float32(0) for h in method.hparams})
    batch = {
        "images": jax.ShapeDtypeStruct((batch_size, *setting.shape), jnp.float32),
        "labels": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
    }
    row: dict[str, Any] = {"name": f"{name}, batch {batch_size}", "lowers": lowered(method.step, state, batch, key)}
    return row | predicted(jax.jit(method.step), (state, batch, key), batch_size)


def scorer_row(name: str, options: dict[str, Any], outputs: dict[str, jax.ShapeDtypeStruct]) -> dict[str, Any]:
    """Scoring N images with one scorer."""
    scorer = scorers.make(name, **options)
    labels = jax.ShapeDtypeStruct((N,), jnp.int32)
    state = jax.eval_shape(lambda o, y: scorers.fit(scorer, o, y, K), outputs, labels)
    row = {"name": f"{name}, {N:,} images", "lowers": lowered(scorer.score, state, outputs)}
    return row | predicted(jax.jit(scorer.score), (state, outputs), N)


def predicted(function: Any, arguments: tuple, images: int) -> dict[str, Any]:
    """Operations, unfused bytes, bounds of the memory, and of the time on each chip."""
    program = function.trace(*arguments).lower(lowering_platforms=("tpu",))
    given, fullest = held_bytes(program)
    memory = {"mib_at_least": given / 2**20, "mib_at_most": fullest / 2**20}
    cost = program.cost_analysis() or {}
    flops, moved = float(cost.get("flops", 0)), float(cost.get("bytes accessed", 0))
    if "stablehlo.while" in program.as_text() or not moved:
        return memory | {"gflop": None, "gb_unfused": None, "flop_per_byte": None, "predicted": {}}
    found = {}
    for chip in CHIPS:
        least = flops / (chip.tflops * 1e12)
        most = max(least, moved / (chip.gb_per_s * 1e9))
        rate = images / most
        found[chip.name] = {"ms_at_least": least * 1e3, "ms_at_most": most * 1e3, "images_per_s_at_least": rate}
    counts = {"gflop": flops / 1e9, "gb_unfused": moved / 1e9, "flop_per_byte": flops / moved}
    return memory | counts | {"predicted": found}


def available() -> dict[str, Any]:
    """Shapes that feed every scorer."""
    shapes = {"features": (N, D), "logits": (N, K), "pool": (N, 7, 7, 64), "score": (N,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def markdown(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """The table."""
    names = [chip.name for chip in CHIPS]
    lines = [
        "**Predictions** from operation and byte counts and the chips' data sheets; nothing here was measured on one.",
        "",
        "| work | lowers for | GFLOP | GB unfused | FLOP/byte | MiB, at least – at most | "
        + " | ".join(f"{name}: ms, at least – at most" for name in names)
        + " |",
        "|---" * (6 + len(names)) + "|",
    ]
    for row in rows:
        times = [row["predicted"].get(name) for name in names]
        cells = [
            row["name"],
            row["lowers"],
            *("" if row[key] is None else f"{row[key]:.2f}" for key in ("gflop", "gb_unfused", "flop_per_byte")),
            f"{row['mib_at_least']:,.1f} – {row['mib_at_most']:,.1f}",
            *("" if t is None else f"{t['ms_at_least']:.3f} – {t['ms_at_most']:.3f}" for t in times),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    sheets = "; ".join(f"{c.name}: {c.tflops:g} TFLOP/s, {c.gb_per_s:,g} GB/s, {c.gib:g} GiB" for c in CHIPS)
    lines += ["", f"{sheets}. `{where['command']}`, {where['date']}, jax {where['versions']['jax']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Lowers everything, writes lowering.json and lowering.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lowering", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "lowering.json")
    args = parser.parse_args()
    rows = []
    for name, (setting, batch_size) in STEPS.items():
        rows.append(step_row(name, setting, batch_size))
        print(rows[-1]["name"], rows[-1]["lowers"], flush=True)
    for name, options in scorers.suite(SCORERS, available(), K).items():
        rows.append(scorer_row(name, options, available()))
        print(rows[-1]["name"], rows[-1]["lowers"], flush=True)
    where = environment("benchmarks.lowering")
    write_json(args.out, {"what": __doc__, "rows": rows, "environment": where})
    args.out.with_suffix(".md").write_text(markdown(rows, where))


if __name__ == "__main__":
    surface.script(main)
