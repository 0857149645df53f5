"""`python -m adjax COMMAND`: each command is one line in `COMMANDS`, imported only when it is called."""

from __future__ import annotations

import importlib
import sys

from adjax import surface

COMMANDS = {
    "data": ("adjax.data.cli", "list and fetch data sets"),
    "train": ("adjax.auto.cli", "make a detector of a folder of normal images"),
    "predict": ("adjax.predict.cli", "score the picture files of a folder with a detector"),
    "doctor": ("adjax.doctor.cli", "look at this machine, and at a folder of pictures"),
    "export": ("adjax.export_cli", "write a detector as a program that runs without adjax's networks"),
}
"""Command → (module with `main(arguments) -> exit code`, what it does)."""


DEBUG_HELP = "  --debug    an error ends in a traceback, not in one line"


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
      0 if all went well, 1 after an error that a message explains, 2 for a command line that makes no sense.
    """
    return surface.run(_command, sys.argv[1:] if arguments is None else arguments)


def _command(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in COMMANDS:
        print(f"no command {command!r}\n{usage()}", file=sys.stderr)
        return 2
    if command != "data":  # whose own options come without JAX
        importlib.import_module(f"adjax.cli.{command}").parser().parse_args(rest)  # help, and mistakes, at once
    return importlib.import_module(COMMANDS[command][0]).main(rest)


def usage() -> str:
    """The list of commands."""
    lines = [f"  {name:10}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(["usage: python -m adjax COMMAND [--help] [--debug]", "", *lines, "", DEBUG_HELP])


if __name__ == "__main__":
    sys.exit(main())
