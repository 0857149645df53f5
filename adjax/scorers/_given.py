"""What is given to a fit, checked on the host: errors name what is missing, or has another type."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from adjax.types import Outputs


def check_labels(labels: Any) -> None:
    """Refuses labels that are no classes.

    Raises:
      ValueError: None, or of another type than integers.
    """
    if labels is None:
        raise ValueError("labels are None: must be int[N], the class of each image; zeros where there is one class")
    dtype = labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype
    if np.size(labels) and dtype.kind not in "iub":
        raise ValueError(f"labels are {dtype}: must be int[N], the class of each image, such as labels.astype('int32')")


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
