"""Trains, saving after every dispatch, until it is done or killed; then writes the state. See test_resume.py.

Arguments: checkpoint folder, file to write.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from training import of_members, pair, table, write

from adjax import loop
from adjax.checkpoint import Checkpoints

STEPS = 60
MEMBERS = {"counts": (48, 37), "lam": [0.0, 1.0]}


def program():
    return of_members(pair(), table(**MEMBERS))


def live(folder: str | Path, end: str | Path) -> None:
    """Goes on from the newest checkpoint in `folder`; at the end the state goes to the file `end`."""
    with Checkpoints(folder, {"batch_size": 16}) as checkpoints, loop.StopSignal() as stop:
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
        write(end, state)


if __name__ == "__main__":
    warnings.simplefilter("error")
    live(*sys.argv[1:])
