"""Names of options in messages, `--side-px` on a command line, `side_px=` in Python; and how a command ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NoReturn

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
    """Chooses the words for the surface that the reader uses.

    Args:
      command: inside of `command_line`.
      python: everywhere else.

    Returns:
      One of the two.

    Example:
      >>> words("--weights FILE", "weights='FILE'")
      "weights='FILE'"
      >>> with command_line():
      ...     words("--weights FILE", "weights='FILE'")
      '--weights FILE'
    """
    return command if _ON_COMMAND_LINE.get() else python


def named(option: str, value: object) -> str:
    """Names an option and its value, at the head of a message.

    Args:
      option: as in Python.
      value: as given.

    Returns:
      "--batch-size 3" inside of `command_line`, "batch_size 3" everywhere else.
    """
    return f"{words('--' + option.replace('_', '-'), option)} {value}"


DEBUG = "--debug"
UNREAD = 141
"""Exit code of a process that SIGPIPE ends."""


def run(command: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Runs a command; an error that ends it is one line with its cause, and a traceback only with `--debug`.

    Args:
      command: `(arguments) -> exit code`; raises ValueError or OSError for a user's mistake, with what to do.
      arguments: of the command line, `--debug` anywhere among them.

    Returns:
      The exit code of the command; 1 after an error, 130 after Ctrl-C, 141 where who read what it printed has left.
    """
    rest = [argument for argument in arguments if argument != DEBUG]
    try:
        with command_line():
            return command(rest)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who read what was printed has left, as `head` does when it has enough: no error
        return UNREAD
    except Exception as error:
        if len(rest) < len(arguments):
            raise
        if isinstance(error, ValueError | OSError):
            print(f"error: {error}", file=sys.stderr)
        else:
            said = " ".join(str(error).split()) or "no message"
            print(
                f"error: {type(error).__name__}: {said}. This was not foreseen: the same command with {DEBUG} says "
                "where, for a report",
                file=sys.stderr,
            )
        return 1


def leave(code: int) -> NoReturn:
    """Ends the process as `sys.exit` does, but gives its memory back whole: freed one by one, objects took 0.7 s of the
    main job. Where another thread is to be awaited, or what was printed can't be written, it is the ordinary way.

    Args:
      code: the exit code.

    Raises:
      SystemExit: in the ordinary way, with the code.
    """
    if all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        atexit._run_exitfuncs()
        try:
            for stream in filter(None, (sys.stdout, sys.stderr)):  # none, where it was closed from the start
                stream.flush()
            os._exit(code)
        except BrokenPipeError:
            os._exit(UNREAD)
        except (OSError, ValueError):  # the ordinary way tells
            pass
    sys.exit(code)


def script(main: Callable[[], int | None]) -> NoReturn:
    """Runs the `main` of a module that reads `sys.argv`, as `run` does, and exits.

    Args:
      main: returns the exit code, or None for 0.

    Raises:
      SystemExit: always, with the exit code.
    """

    def command(arguments: list[str]) -> int:
        sys.argv[1:] = arguments
        return main() or 0

    sys.exit(run(command, sys.argv[1:]))
