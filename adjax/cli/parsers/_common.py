"""Argument types of the commands: ranges, and names in registries, read without importing them."""

from __future__ import annotations

import argparse
import ast
import functools
import math
from collections.abc import Callable
from pathlib import Path

MAX_SEED = 2**31 - 1
"""Seeds are int32."""


def new_parser(command: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Makes the parser of a command, without options yet.

    Args:
      command: its name.
      description: what it does.
      epilog: examples, printed as they are.

    Returns:
      The parser.
    """
    return argparse.ArgumentParser(
        prog=f"python -m adjax {command}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    """Builds an argparse type for whole numbers in a range.

    Args:
      low, high: the least and the greatest number allowed.

    Returns:
      A function from text to int, which raises `argparse.ArgumentTypeError`.
    """

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value}: must be between {low:,} and {high:,}")
        return value

    return number


def share(text: str) -> float:
    """A type of argparse: numbers between 0 and 1, both excluded."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number") from None
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{value:g}: must lie between 0 and 1, both excluded")
    return value


def finite(text: str) -> float:
    """A type of argparse: any finite number."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{value:g}: must be finite")
    return value


def add_reading(options: argparse.ArgumentParser) -> None:
    """Adds what nothing in a picture file may say: which of its pages, and which of its values are black and white."""
    options.add_argument(
        "--page",
        type=whole(1, 100_000),
        metavar="N",
        help="look at page N, from 1, of every file that has several: TIFF, DICOM, GIF, ...; files with fewer are "
        "refused (default: files with several are)",
    )
    options.add_argument(
        "--range",
        dest="limits",
        nargs=2,
        type=finite,
        metavar=("LOW", "HIGH"),
        help="for grey TIFF of floats, signed or 32-bit integers: the values that are black and white; pictures with "
        "values outside are refused (default: all such are)",
    )


@functools.cache
def names(module: str, registry: str) -> tuple[str, ...]:
    """Reads the keys of a registry such as `METHODS` from its source, since importing it would import JAX or NumPy.

    Args:
      module: of the registry, as "adjax.methods".
      registry: name of the dict.

    Returns:
      The keys, in order.

    Raises:
      LookupError: no such dict in that module.
    """
    place = Path(__file__).parents[3].joinpath(*module.split("."))
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.target) == registry
            and isinstance(node.value, ast.Dict)
        ):
            return tuple(ast.literal_eval(key) for key in node.value.keys if key is not None)
    raise LookupError(f"{module} has no dict {registry}")
