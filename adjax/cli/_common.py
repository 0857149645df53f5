"""What the commands share: how they begin."""

from __future__ import annotations

import sys

from rich.console import Console


def console() -> Console:
    """Where a command prints: as wide as the terminal, or 160 columns of a file; text as it is."""
    return Console(width=None if sys.stdout.isatty() else 160, highlight=False, markup=False, soft_wrap=True)


def start() -> Console:
    """Sets the process up for images and arrays, before the first of either; returns its `console`."""
    from adjax import process
    from adjax.data.io import upload

    upload.quiet()
    process.prepare()
    return console()
