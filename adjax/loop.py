"""The host's side of training: dispatch, fetch metrics one dispatch late, save, and stop cleanly when asked.

Example:
  >>> with StopSignal() as stop:  # SIGINT and SIGTERM ask for a checkpoint and a clean end
  ...     stop.received is None
  True
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import jax
import numpy as np

from adjax.checkpoint import Checkpoints
from adjax.sharding import to_host
from adjax.train import Program, State, epochs


class StopSignal:
    """A context in which SIGTERM and SIGINT ask for a clean stop instead of ending the process; twice, for a hasty one.

    With several processes the signal may reach only some of them. JAX's preemption service, on by default since
    `jax.distributed.initialize`, then names a step that none has done yet, and all stop there; it looks for the signal
    once a second.

    Attributes:
      received: the signal, once training was asked to stop; None before.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}
        self._asked_until = 0

    def __enter__(self) -> StopSignal:
        # Of several processes' signals SIGTERM is JAX's, whose handler must stay.
        for number in (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else (signal.SIGINT,):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)

    def asked(self, step: int) -> bool:
        """Tells whether to stop after `step` steps; the same on every process, which each must ask for."""
        if jax.process_count() == 1:
            return self.received is not None
        from jax.experimental import multihost_utils

        # The service may name any step, and answers for exactly that one: a dispatch asks for each of its steps.
        steps = range(self._asked_until + 1, step + 1)
        self._asked_until = step
        if any(multihost_utils.reached_preemption_sync_point(s) for s in steps):
            self.received = self.received or signal.SIGTERM
            return True
        return False


def train(
    program: Program,
    steps: int,
    checkpoints: Checkpoints | None = None,
    *,
    checkpoint_every: int | None = None,
    stop: StopSignal | None = None,
    report: Callable[[int, dict[str, np.ndarray]], None] = lambda step, metrics: None,
    resumed: Callable[[int], None] = lambda step: None,
    after_epoch: Callable[[int, State], bool] = lambda step, state: False,
) -> State:
    """Trains a compiled program up to `steps`, from its newest checkpoint if it has one.

    Args:
      program: from `adjax.train.compile_program`.
      steps: where to end, in optimiser steps from the start.
      checkpoints: where to save; None to save nothing.
      checkpoint_every: steps between saves, once an epoch by default; saved at the next end of a dispatch.
      stop: asked after every dispatch; if it says so, the state is saved and returned early.
      report: called with (steps done, metrics, float32[M] each) while later steps run already.
      resumed: called once with the step that training starts from.
      after_epoch: called with (steps done, state) whenever an epoch is done, the same on every process; True ends
        training. The state is donated to the next steps: copy what is to be kept.

    Returns:
      The state, `state.step` < `steps` only if it was stopped.
    """
    state = program.init(program.table)
    if checkpoints is not None:
        found = checkpoints.restore(state)
        state = state if found is None else found
    step = int(state.step)
    resumed(step)
    checkpoint_every = checkpoint_every or program.steps_per_epoch
    saved, pending = step, None
    dispatches = epochs(program, state, steps)
    for step, state, metrics in dispatches:
        if pending is not None:
            report(pending[0], to_host(pending[1]))
        pending = (step, metrics)
        asked = stop is not None and stop.asked(step)
        ended = step % program.steps_per_epoch == 0 and after_epoch(step, state)
        if checkpoints is not None and (asked or ended or step >= steps or step - saved >= checkpoint_every):
            checkpoints.save(step, state)
            saved = step
        if asked or ended:
            break
    if pending is not None:
        report(pending[0], to_host(pending[1]))
    return state
