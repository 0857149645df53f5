"""Trains, saving after every dispatch, until it is done or killed; then writes the state. See test_resume.py.

Arguments: checkpoint folder, file to write.
"""

from __future__ import annotations

import sys
import warnings

from training import of_members, pair, table, write

from adjax import loop
from adjax.checkpoint import Checkpoints

STEPS = 60
MEMBERS = {"counts": (48, 37), "lam": [0.0, 1.0]}


def program():
    return of_members(pair(), table(**MEMBERS))


if __name__ == "__main__":
    warnings.simplefilter("error")
    with Checkpoints(sys.argv[1], {"batch_size": 16}) as checkpoints, loop.StopSignal() as stop:
        state = loop.train(
            program(),
            STEPS,
            checkpoints,
            checkpoint_every=2,
            stop=stop,
            report=lambda step, metrics: print("step", step, flush=True),
            resumed=lambda step: print("from", step, flush=True),
        )
    print(f"end at {int(state.step)}, received {stop.received}", flush=True)
    if stop.received is None:
        write(sys.argv[2], state)
