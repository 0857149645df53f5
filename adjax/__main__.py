"""`python -m adjax COMMAND`: each command is one line in `COMMANDS`, imported only when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import NoReturn

from adjax import surface

COMMANDS = {
    "example": "write a folder of made pictures with defects, to try the others on",
    "data": "list and fetch data sets",
    "train": "make a detector of a folder of normal images",
    "refit": "fit another scorer to the network of a trained run",
    "predict": "score the picture files of a folder with a detector",
    "serve": "score pictures over HTTP",
    "threshold": "decide again on a scored table, without scoring again",
    "doctor": "look at this machine, and at a folder of pictures",
    "export": "write a detector as a program that runs without adjax's networks",
}
"""Command → what it does. `adjax.cli.parsers.COMMAND` has its `parser()`, `adjax.cli.COMMAND` its `main(arguments)`."""


DEBUG_HELP = "  --debug    an error ends in a traceback, not in one line"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 if all went well, 1 after an error that a message explains, 2 for a command line that makes no sense.
    """
    return surface.run(_command, sys.argv[1:] if arguments is None else arguments)


def script() -> NoReturn:
    """Runs one command, and ends the process."""
    surface.leave(main())


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in COMMANDS:
        print(f"no command {command!r}\n{usage()}", file=sys.stderr)
        return 2
    importlib.import_module(f"adjax.cli.parsers.{command}").parser().parse_args(rest)  # help, and mistakes, at once
    return importlib.import_module(f"adjax.cli.{command}").main(rest)


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:11}{about}" for name, about in COMMANDS.items()]
    return "\n".join(["usage: python -m adjax COMMAND [--help] [--debug]", "", *lines, "", DEBUG_HELP])


if __name__ == "__main__":
    script()
