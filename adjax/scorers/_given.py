"""What is given to a fit, checked on the host: errors name what is missing, or has another type."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax.types import Outputs


def check_labels(labels: Any) -> None:
    """Refuses labels that are no classes.

    Raises:
      ValueError: None, of another type than integers, or not one for each image.
    """
    if labels is None:
        raise ValueError("labels are None: must be int[N], the class of each image; zeros where there is one class")
    dtype = labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype
    if np.size(labels) and dtype.kind not in "iub":
        raise ValueError(f"labels are {dtype}: must be int[N], the class of each image, such as labels.astype('int32')")
    if np.ndim(labels) != 1:
        raise ValueError(f"labels {list(np.shape(labels))}: must be [N], the class of each image")


def check_outputs(outputs: Any) -> None:
    """Refuses outputs that are no named arrays.

    Raises:
      ValueError: with what they are.
    """
    if not isinstance(outputs, Mapping):
        raise ValueError(f"outputs are {type(outputs).__name__}: must be named arrays, such as {{'features': x}}")
    for name, x in outputs.items():
        if not getattr(x, "shape", ()):
            raise ValueError(
                f"outputs[{name!r}] is {type(x).__name__}: must be an array [N, ...], such as np.asarray(x)"
            )


def check_sizes(classes: int, batch_size: int | None) -> None:
    """Refuses fewer than one class, or row in a batch.

    Raises:
      ValueError: with the number.
    """
    if classes < 1:
        raise ValueError(f"classes={classes}: must be at least 1")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: must be at least 1")


def narrowed(labels: Any, classes: int) -> jax.Array | np.ndarray:
    """Labels int[N] in int32, −1 where they are outside of 0 … K−1: those beyond int32 would wrap to a class."""
    xp = jnp if isinstance(labels, jax.Array) else np
    labels = xp.asarray(labels)
    if labels.dtype.itemsize < 4:  # too narrow, maybe, for K to be compared with
        labels = labels.astype(np.int32)
    known = (labels >= 0) & (labels < classes)
    return xp.where(known, xp.where(known, labels, 0).astype(np.int32), -1)


def pair(batch: Any) -> tuple[Outputs, Any]:
    """Takes a batch of a stream apart.

    Raises:
      ValueError: it is no pair of outputs and labels.
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[0], Mapping):
        check_labels(batch[1])
        return batch[0], batch[1]
    given = "outputs without labels" if isinstance(batch, Mapping) else type(batch).__name__
    raise ValueError(f"a batch is {given}: must be a pair (outputs, labels) of named arrays [N, ...] and int[N]")


@contextmanager
def naming(outputs: Collection[str]) -> Iterator[None]:
    """Names an output that a scorer asks for in vain.

    Raises:
      ValueError: instead of its KeyError.
    """
    try:
        yield
    except KeyError as error:
        name = error.args[0] if error.args else None
        if not isinstance(name, str) or name in outputs:
            raise
        have = ", ".join(map(repr, outputs)) or "none"
        raise ValueError(f"this scorer takes an output {name!r}, and there are {have}: add it") from error
