"""What a detector knows of its picture files besides their size: bits of 16-bit grey, page, and range of values.

`train` is told it, or fits it, and `adjax.spec.Spec` keeps it. So whoever reads a picture for a detector, reads it so:

    upload.read(file, spec.image_shape, spec.frame, **reading.of(spec))
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from adjax.data.split import DataError
from adjax.surface import words

DEFAULTS: dict[str, Any] = {"depth": 16, "page": None, "limits": None}
"""Arguments of `adjax.data.io.upload.read`, and what they are for a detector that doesn't say."""


class NoReader(DataError):
    """A file of a format that is read, once what the message names is installed."""


def of(owner: Any) -> dict[str, Any]:
    """What a spec, a plan or a `Preprocessing` says, as arguments of `adjax.data.io.upload.read`."""
    return {name: getattr(owner, name, default) for name, default in DEFAULTS.items()}


def checked(depth: int, page: int | None, limits: Sequence[float] | None) -> dict[str, Any]:
    """Checks all of it.

    Args:
      depth, page, limits: as of `adjax.data.io.upload.read`; `limits` any sequence of two.

    Returns:
      The same as a dict, `limits` a tuple of two floats.

    Raises:
      ValueError: what can't be, and what can.
      TypeError: a page that is no whole number, or limits that are no two numbers.
    """
    if not 8 <= depth <= 16:
        raise ValueError(f"depth={depth!r}: must be 8 to 16 bits")
    if page is not None and operator.index(page) < 1:
        raise ValueError(f"page={page!r}: must be 1 or more")
    if limits is None:
        return {"depth": depth, "page": page, "limits": None}
    low, high = map(float, limits)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{_named(low, high)}: must be two finite numbers, the smaller one first")
    if depth < DEFAULTS["depth"]:
        both = f"{words(f'--depth {depth}', f'depth={depth}')} and {_named(low, high)}"
        raise ValueError(f"{both}: each says which value is white; leave out one")
    return {"depth": depth, "page": page, "limits": (low, high)}


def _named(low: float, high: float) -> str:
    return words(f"--range {low:g} {high:g}", f"limits=({low:g}, {high:g})")


def frame_of(page: int | None, frames: int) -> int:
    """Chooses one of the frames, or pages, of a file.

    Args:
      page: wanted, from 1; None: nobody said which.
      frames: that there are, at least 1.

    Returns:
      Its number, from 0.

    Raises:
      DataError: several, and nobody said which; or fewer than that.
    """
    if page is None and frames > 1:
        raise several()
    if page is not None and page > frames:
        raise DataError(f"{frames:,} {'page' if frames == 1 else 'pages'}, but page {page:,} is expected (--page)")
    return 0 if page is None else page - 1


def several() -> DataError:
    """The reason why a file of several frames is not read, if nobody said which of them."""
    return DataError("several frames: save each of them alone, or train on one of them by --page N")
