"""How what a message speaks of is called where it is read: `--side-px` on a command line, `side_px=` in Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_ON_COMMAND_LINE = ContextVar("on_command_line", default=False)


@contextmanager
def command_line() -> Iterator[None]:
    """Inside, messages are for somebody who wrote a command."""
    before = _ON_COMMAND_LINE.set(True)
    try:
        yield
    finally:
        _ON_COMMAND_LINE.reset(before)


def words(command: str, python: str) -> str:
    """The words of the surface that the reader stands on.

    Args:
      command: inside of `command_line`.
      python: everywhere else.

    Example:
      >>> words("--weights FILE", "weights='FILE'")
      "weights='FILE'"
      >>> with command_line():
      ...     words("--weights FILE", "weights='FILE'")
      '--weights FILE'
    """
    return command if _ON_COMMAND_LINE.get() else python
