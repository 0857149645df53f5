"""A whole λ sweep as one program, against its members one after another, in adjax and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks.harness import Timing, compare
from benchmarks.training import EAGER, LENET, program

LAMS = (0.0, 0.001, 0.01, 0.1, 1.0)


def sweep(peer: str, layout: str, n: int, quick: bool) -> Timing:
    """Fifteen LeNets, five λ × three seeds, batch 128, the same number of steps each."""
    steps, lams = (1 if quick else 8), [lam for lam in LAMS for _ in range(3)]
    together = program(LENET, 128, steps, len(lams), layout, lam=lams)
    if peer == "adjax":
        alone = program(LENET, 128, steps)

        def one_by_one():
            return [alone.work() for _ in lams]
    else:
        from benchmarks.peers.training import lenet

        works = [lenet(128, steps, channels_last=True, lam=lam) for lam in lams]

        def one_by_one():
            return [work() for work in works]

    return compare(
        f"λ sweep, 15 members as one program ({layout}), LeNet, batch 128",
        "adjax, one after another" if peer == "adjax" else f"{EAGER}, channels_last, one after another",
        together.work,
        one_by_one,
        images=128 * steps * len(lams),
        n=n,
        steps=steps,
        compile_s=together.compile_s,
        gflop=together.gflop,
        memory_mib=together.memory_mib,
    )


BENCHMARKS: dict[str, Callable[[int, bool], Timing]] = {
    "sweep_map": partial(sweep, "adjax", "map"),
    "sweep_vmap": partial(sweep, "adjax", "vmap"),
    "sweep_eager": partial(sweep, "PyTorch", "auto"),
}
"""Name -> `(pairs, quick) -> Timing`."""
