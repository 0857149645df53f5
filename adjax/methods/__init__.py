"""What training optimises. A new method is one file here and one line in `METHODS`."""

from __future__ import annotations

from collections.abc import Callable

from adjax.methods.centerloss import centerloss
from adjax.types import Method

METHODS: dict[str, Callable[..., Method]] = {
    "centerloss": centerloss,
}
"""Name -> factory, called as `(network, image_shape, classes, *, steps, **options)`."""

__all__ = ["METHODS", "make"]


def make(name: str, *args, **options) -> Method:
    """The method of that name; arguments are those of its factory.

    Raises:
      ValueError: no such method.
    """
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; there are: {', '.join(sorted(METHODS))}")
    return METHODS[name](*args, **options)
