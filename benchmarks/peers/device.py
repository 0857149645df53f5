"""Where PyTorch's peers run, and in how many digits: on the device that JAX has, so that both use the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import jax
import numpy as np
import torch

Precision = Literal["float32", "tf32", "bfloat16"]
"""Of convolutions and matmuls: float32 without TF32, float32 whose operands may be TF32, or bfloat16 by autocast."""


def device() -> torch.device:
    """The GPU if JAX has one, else the CPU."""
    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


def tensor(values: np.ndarray) -> torch.Tensor:
    """An array on that device."""
    return torch.from_numpy(values).to(device())


@contextmanager
def allowed(precision: Precision) -> Iterator[None]:
    """Inside, matmuls and convolutions in float32 may be TF32, or may not; on a CPU it changes nothing."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def rounded(precision: Precision) -> torch.autocast:
    """Autocast for a forward pass, if its operands are to be bfloat16."""
    return torch.autocast(device().type, torch.bfloat16, enabled=precision == "bfloat16")


def work(run: Callable[[], float], precision: Precision) -> Callable[[], float]:
    """What is timed, with the digits that it may use."""

    def allowed_run() -> float:
        with allowed(precision):
            return run()

    return allowed_run
