"""Training beside PyTorch on the same device: `python -m benchmarks.gpu.beside --out FOLDER`.

PyTorch eager, in the faster of its layouts, and the same by `torch.compile`; both have Adam fused and images on the
device. Each row says its digits: float32 without TF32, float32 that may be TF32, and bfloat16 where both have it. The
most important rows come first, so that what runs out of time is the least.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from adjax import surface
from benchmarks.gpu.rows import Rows, arguments
from benchmarks.harness import compare
from benchmarks.sweep import LAMS
from benchmarks.training import AUTOENCODER, LENET, Program, Setting, fastest, gan, program

OURS = {"float32": "highest", "tf32": "default", "bfloat16": "default"}
"""PyTorch's digits -> what JAX's matmuls are told."""


class Work(NamedTuple):
    """A training of both.

    Attributes:
      setting: ours.
      peer: module in `benchmarks.peers`, and the factory in it.
      batch_size, steps: images a step; steps a call.
      options: of the factory.
      members: that ours trains as one program and PyTorch one after another.
    """

    setting: Setting
    peer: tuple[str, str]
    batch_size: int
    steps: int
    options: Mapping[str, Any] = {}
    members: int = 1


def _gan(batch_size: int, compute: str | None = None) -> Work:
    norm = {"norm": "batch" if batch_size > 1 else "instance"}
    return Work(gan(compute), ("gan", "gan"), batch_size, 16, norm)


_LENET = Work(LENET, ("training", "lenet"), 128, 64)
_AUTOENCODER = Work(AUTOENCODER, ("training", "autoencoder"), 128, 32, {"transposed": True})
WORKS: dict[str, tuple[Work, str]] = {
    "LeNet + center loss, batch 128": (_LENET, "float32"),
    "GAN, batch 1": (_gan(1), "float32"),
    "15 LeNets, λ sweep, batch 128": (_LENET._replace(members=15, steps=8), "float32"),
    "autoencoder, batch 128": (_AUTOENCODER, "float32"),
    "LeNet + center loss, batch 128, TF32": (_LENET, "tf32"),
    "15 LeNets, λ sweep, batch 128, TF32": (_LENET._replace(members=15, steps=8), "tf32"),
    "GAN, batch 1, TF32": (_gan(1), "tf32"),
    "GAN, batch 16, bfloat16": (_gan(16, "bfloat16"), "bfloat16"),
    "autoencoder, batch 128, TF32": (_AUTOENCODER, "tf32"),
    "GAN, batch 16": (_gan(16), "float32"),
    "GAN, batch 16, TF32": (_gan(16), "tf32"),
}
"""Name -> work and digits. A new row is one line."""


def small(work: Work) -> Work:
    """The same in small, for a dry run."""
    return work._replace(batch_size=min(work.batch_size, 8), steps=2, members=min(work.members, 2))


def ours_of(work: Work, precision: str) -> Program:
    """Our program."""
    hparams: dict[str, Any] = {"lam": [LAMS[m % len(LAMS)] for m in range(work.members)]} if work.members > 1 else {}
    with jax.default_matmul_precision(OURS[precision]):
        return program(work.setting, work.batch_size, work.steps, work.members, **hparams)


def theirs_of(work: Work, precision: str, channels_last: bool, compiled: str | None) -> Callable[[], Any]:
    """PyTorch's, as many times as there are members."""
    module, factory = work.peer
    make = getattr(importlib.import_module(f"benchmarks.peers.{module}"), factory)
    options = {**work.options, "channels_last": channels_last, "compiled": compiled, "precision": precision}
    works = [make(work.batch_size, work.steps, **options) for _ in range(work.members)]
    return lambda: [one() for one in works]


def row(rows: Rows, name: str, work: Work, precision: str) -> None:
    """Two rows: beside eager mode, and beside `torch.compile`, which in a dry run compiles no kernels."""
    pairs, backend = (2, "aot_eager") if rows.dry else (7, "inductor")
    layouts = {"contiguous": False, "channels_last": True}
    eager = {label: theirs_of(work, precision, last, None) for label, last in layouts.items()}
    label, ours = fastest(eager), ours_of(work, precision)
    peers: dict[str, Callable[[], Callable[[], Any]]] = {
        "eager": lambda: eager[label],
        "torch.compile": lambda: theirs_of(work, precision, layouts[label], backend),
    }
    for mode, make in peers.items():
        with rows.guarded(f"{name}, beside {mode}"):
            timing = compare(
                name,
                f"PyTorch {mode}, {label}, fused Adam",
                ours.work,
                make(),
                images=work.batch_size * work.steps * work.members,
                n=pairs,
                steps=work.steps,
                compile_s=ours.compile_s,
                gflop=ours.gflop,
                memory_mib=ours.memory_mib,
            )
            digits = {"precision": precision, "jax_precision": OURS[precision], "members": work.members}
            rows.add(f"{name}, beside {mode}", **digits, **{k: v for k, v in timing.json().items() if k != "name"})


def main() -> int:
    """Times every work."""
    args = arguments("beside", __doc__).parse_args()
    rows = Rows("beside", args.out, args.dry)
    chosen = dict(list(WORKS.items())[:3]) if args.dry else WORKS
    for name, (work, precision) in chosen.items():
        with rows.guarded(name):
            row(rows, name, small(work) if args.dry else work, precision)
    return rows.status()


if __name__ == "__main__":
    surface.script(main)
