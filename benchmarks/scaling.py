"""How cost grows with images, features, classes; what devices say to each other: `python -m benchmarks.scaling`.

Where there is one device, more are made of it (`--xla_force_host_platform_device_count`): their times would say
nothing and are not given, but their numbers must be those of one, and the bytes that a step sends between them are read
from the compiled program. Scoring is timed at one size after another, in one process, the median of a few runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import scorers, surface
from adjax.pipeline import Recipe, train_members
from adjax.sharding import make_mesh
from experiments.rundir import environment, write_json

DEVICES = (1, 2, 4, 8)
STEPS, BATCH = 20, 128
BASE = {"images": 100_000, "features": 128, "classes": 10}
SWEEPS: dict[str, tuple[int, ...]] = {
    "images": (1_000, 10_000, 100_000, 1_000_000),
    "features": (16, 64, 256, 1024),
    "classes": (2, 10, 100, 1000),
}
"""What grows, the rest as in `BASE`."""
_COLLECTIVE = re.compile(r"= (\(?[a-z]\w*\[.*?) (all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\(")
_ARRAY = re.compile(r"([a-z]+)(\d+)\[([\d,]*)\]")


def collective_bytes(program: str) -> int:
    """Bytes of the results of all collectives in a compiled program's text; a loop's body counts once."""
    total = 0
    for shapes, _ in _COLLECTIVE.findall(program):
        for _, bits, sides in _ARRAY.findall(shapes):
            total += int(bits) // 8 * int(np.prod([int(side) for side in sides.split(",") if side], dtype=np.int64))
    return total


def train_on(devices: int) -> dict[str, Any]:
    """LeNet with center loss for a few steps of one batch shared by the devices: its weights, and what it sent."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (STEPS * BATCH, 28, 28, 1), np.uint8)
    labels = rng.integers(0, 10, len(images)).astype(np.int32)
    built = Recipe("centerloss", method_options={"optimizer": "adamw"}).build(
        images.shape[1:], tuple("0123456789"), steps=STEPS
    )
    trained = train_members(
        built,
        images,
        built.members([np.arange(len(images))], [labels]),
        built.normalise(images),
        STEPS,
        batch_size=BATCH,
        steps_per_dispatch=STEPS,
        mesh=make_mesh(1, jax.devices()[:devices]),
    )
    assert trained.program is not None
    weights = np.concatenate([np.ravel(x) for x in jax.tree.leaves(trained.params)])
    sent = collective_bytes(trained.program.executable.as_text() or "")
    return {"devices": devices, "bytes_per_step": sent, "weights": weights.tolist(), "parameters": len(weights)}


def scored(images: int, features: int, classes: int, runs: int) -> dict[str, Any]:
    """Tied Mahalanobis scores of features that lie on the device."""
    rng = np.random.default_rng(0)
    x = {"features": jnp.asarray(rng.normal(size=(images, features)).astype(np.float32))}
    few = {"features": x["features"][: min(images, 20_000)]}
    scorer = scorers.mahalanobis("tied")
    labels = jnp.arange(len(few["features"])) % classes
    state = jax.jit(partial(scorers.fit, scorer, classes=classes))(few, labels)
    score: Callable = jax.jit(scorer.score)
    started = time.perf_counter()
    score(state, x).block_until_ready()
    first = time.perf_counter() - started
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        score(state, x).block_until_ready()
        times.append(time.perf_counter() - started)
    median = statistics.median(times)
    sizes = {"images": images, "features": features, "classes": classes}
    return {
        **sizes,
        "ms": median * 1e3,
        "compile_s": max(first - median, 0),
        "images_per_s": images / median,
        "n": runs,
    }


def markdown(devices: list[dict[str, Any]], sweeps: dict[str, list[dict[str, Any]]], where: dict[str, Any]) -> str:
    """Both tables."""
    lines = [
        f"LeNet-5 with center loss, batch {BATCH} shared by all devices, {STEPS} steps; weights after them against one "
        "device's.",
        "",
        "| devices | parameters | bytes sent a step, by each | largest difference / largest weight |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {d['devices']} | {d['parameters']:,} | {d['bytes_per_step']:,} | {d['difference']:.1e} |" for d in devices
    ]
    lines += [
        "",
        "Tied Mahalanobis scores:",
        "",
        "| images | features | classes | ms | images/s | n |",
        "|---" * 6 + "|",
    ]
    for r in itertools.chain(*sweeps.values()):
        sizes = f"{r['images']:,} | {r['features']} | {r['classes']}"
        lines.append(f"| {sizes} | {r['ms']:.2f} | {r['images_per_s']:,.0f} | {r['n']} |")
    lines += [
        "",
        f"`{where['command']}`, {where['date']}, {where['cores']} cores of {where['cpu']} "
        f"({where['devices']['platform']}), jax {where['versions']['jax']}.",
    ]
    return "\n".join(lines) + "\n"


def plot(sweeps: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Time against each size, both logarithmic, and a line of slope one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, len(sweeps)), sweeps.items(), strict=True):
        sizes, times = [r[name] for r in rows], [r["ms"] for r in rows]
        axes.loglog(sizes, times, "o-")
        axes.loglog(sizes, [times[-1] * s / sizes[-1] for s in sizes], "--", color="grey", linewidth=0.8)
        rest = ", ".join(f"{v:,} {k}" for k, v in BASE.items() if k != name)
        axes.set(xlabel=name, ylabel="ms", title=rest)
        axes.title.set_fontsize(8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Trains on 1, 2, 4, 8 devices, each in a process of its own; times scoring; writes scaling.json, .md and .png."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each size")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "scaling.json")
    parser.add_argument("--devices", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.devices:  # a process with so many devices: its answer goes to the parent
        print(json.dumps(train_on(args.devices)))
        return
    real = len(jax.devices())
    devices = [_with_devices(n) if real < n else train_on(n) for n in DEVICES if real == 1 or n <= real]
    one = np.array(devices[0]["weights"])
    for row in devices:
        row["difference"] = float(np.abs(np.array(row.pop("weights")) - one).max() / np.abs(one).max())
        print(row, flush=True)
    sweeps: dict[str, list[dict[str, Any]]] = {}
    for name, sizes in SWEEPS.items():
        sweeps[name] = [scored(**{**BASE, name: size}, runs=args.runs) for size in sizes]
        print(*sweeps[name], sep="\n", flush=True)
    where = environment("benchmarks.scaling")
    write_json(args.out, {"what": __doc__, "devices": devices, "scoring": sweeps, "environment": where})
    args.out.with_suffix(".md").write_text(markdown(devices, sweeps, where))
    plot(sweeps, args.out.with_suffix(".png"))


def _with_devices(n: int) -> dict[str, Any]:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={n}"
    command = [sys.executable, "-m", "benchmarks.scaling", "--devices", str(n)]
    environ = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    surface.script(main)
