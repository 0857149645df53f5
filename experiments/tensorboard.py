"""A training's curves for TensorBoard, beside metrics.jsonl, which is always written. Needs the extra `tensorboard`.

Each member is a run of its own, so that TensorBoard draws one metric of all of them on the same axes:

    tensorboard --logdir RUN/tensorboard
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adjax import distribution

NAME = "tensorboard"


def check() -> Any:
    """The writer's class; of tensorboardX, which writes TensorBoard's files without TensorFlow.

    Raises:
      ValueError: it is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise ValueError(
            f"--tensorboard needs tensorboardX: {distribution.install('tensorboard')}, or leave the option out: "
            "metrics.jsonl has the same numbers"
        ) from None
    return SummaryWriter


class Curves:
    """Open files of all members."""

    def __init__(self, directory: Path, names: Sequence[str], step: int):
        """Goes on from `step`; what was written of later steps, after the last checkpoint, is not drawn any more.

        Args:
          directory: gets a folder a member.
          names: of the members.
          step: 0 begins again.
        """
        writer = check()
        if not step:
            shutil.rmtree(directory, ignore_errors=True)
        purge = {"purge_step": step + 1} if step else {}
        folders = [re.sub(r"[^\w=.,+-]+", "_", name) or "member" for name in names]
        if len(set(folders)) < len(folders):
            folders = [f"{m:03}-{folder}" for m, folder in enumerate(folders)]
        self._writers = [writer(str(directory / folder), **purge) for folder in folders]

    def write(self, step: int, metrics: dict[str, Any]) -> None:
        """A point of each metric: name → a value a member."""
        for m, writer in enumerate(self._writers):
            for name, values in metrics.items():
                writer.add_scalar(name, float(values[m]), step)

    def close(self) -> None:
        """Writes what is left."""
        for writer in self._writers:
            writer.close()
