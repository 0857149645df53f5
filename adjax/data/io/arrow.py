"""pyarrow, which only Parquet needs (extra `parquet`)."""

from __future__ import annotations

from typing import Any

from adjax import distribution
from adjax.data.split import DataError


def import_arrow(otherwise: str = "") -> Any:
    """Imports pyarrow, its `compute` and its `parquet`.

    Args:
      otherwise: what to do without it, as the end of a sentence.

    Raises:
      DataError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"Parquet needs pyarrow: {distribution.install('parquet')}{otherwise}") from error
    return pyarrow
