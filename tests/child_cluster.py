"""One of two processes with two fake devices each, over loopback.

Arguments: process number, port, folder, mode. "members": two members, a process each. "long": one member whose batches
all four devices share, trained until a signal comes. "resume": the same from its checkpoint, for a few steps more.
See test_distributed.py.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import jax

PROCESS, PORT, OUT, MODE = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
MORE, FOREVER = 6, 100_000

if __name__ == "__main__":
    address = f"127.0.0.1:{PORT}"
    jax.distributed.initialize(
        address,
        2,
        PROCESS,
        initialization_timeout=120,
        coordinator_bind_address=address,
        shutdown_timeout_seconds=30,
    )
    from training import compiled, table, write

    from adjax import loop
    from adjax.checkpoint import Checkpoints
    from adjax.sharding import to_host

    program = compiled(table((48, 37) if MODE == "members" else (48,)), devices=4, steps_per_dispatch=2)
    assert jax.process_count() == 2
    seen = []

    def report(step, metrics):
        seen.append((step, float(metrics["loss"].mean())))
        if step == 8:
            print("running", flush=True)
        if MODE == "long":
            time.sleep(0.05)

    with (
        Checkpoints(OUT / f"checkpoints-{MODE == 'members'}", {"mode": "test"}) as checkpoints,
        loop.StopSignal() as stop,
    ):
        start = []
        steps = {"members": 9, "long": FOREVER}.get(MODE)
        if steps is None:
            steps = max(int(p.name) for p in (OUT / "checkpoints-False").iterdir() if p.name.isdigit()) + MORE
        state = loop.train(
            program, steps, checkpoints, checkpoint_every=50, stop=stop, report=report, resumed=start.append
        )
        again = checkpoints.restore(program.init(program.table))
        own, other = to_host(state), to_host(again)
        assert all((a == b).all() for a, b in zip(*map(jax.tree.leaves, (own, other)), strict=True))
    print(
        f"from {start[0]} to {int(state.step)}, received {stop.received}, losses {seen[-1][1]:.6f}",
        flush=True,
    )
    if PROCESS == 0:
        write(OUT / f"{MODE}.npz", own)
    jax.distributed.shutdown()
