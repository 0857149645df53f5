"""What the text of a compiled program says: bytes moved through main memory, loops, and what chips send each other."""

from __future__ import annotations

import math
import re
from typing import Any

_ARRAY = re.compile(r"(pred|[a-z]+\d+)\[([\d,]*)\](?:\{([\d,]*)(?::T\((\d+)(?:,(\d+))?\))?([^}]*)\})?")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.*?) ([a-z][a-z-]*)\((.*?)\)(?:,|$)")
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "iota", "after-all"}
COLLECTIVES = "all-reduce", "reduce-scatter", "all-gather", "all-to-all", "collective-permute"
_COLLECTIVE = re.compile(rf"^\s+(?:ROOT )?%\S+ = (.*?) ({'|'.join(COLLECTIVES)})(-start)?\((.*?)\)(?:,|$)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%(\S+) \(.*\{$")
_CALLS = re.compile(r"\b(?:calls|to_apply|body|condition)=%([\w.-]+)")
_BRANCHES = re.compile(r"\b(?:branch_computations=\{([^}]*)\}|true_computation=(\S+), false_computation=(\S+))")
COUNTED = "fusion", "gather", "scatter", "sort", "custom-call"


def moved_bytes(text: str) -> int:
    """Bytes that the operations of a program read from the chip's main memory and write to it, loops aside.

    Args:
      text: of the compiled program, whose arrays in fast memory are marked S(1).

    Returns:
      Bytes, padded to tiles.
    """
    sizes: dict[str, list[int]] = {}
    moved = 0
    for line in text[text.index("ENTRY ") :].splitlines()[1:]:
        if not (found := _INSTRUCTION.match(line)):
            continue
        name, kind, operation, operands = found.groups()
        sizes[name] = [_padded(*array.groups()) for array in _ARRAY.finditer(kind)]
        if operation in _FREE or operation.endswith("-done"):
            continue
        written = sizes[name][:1] if operation.endswith("-start") else sizes[name]
        read = [sum(sizes.get(operand, ())) for operand in re.findall(r"%([\w.-]+)", operands)]
        moved += sum(written) + sum(read)
    return moved


def counts(text: str) -> dict[str, int]:
    """How many loops, fusions and other notable operations a program has."""
    found = {kind: len(re.findall(rf" {kind}\(", text)) for kind in COUNTED}
    return {"loops": len(re.findall(r" while\(", text)), **found}


def collectives(text: str) -> list[dict[str, Any]]:
    """What the chips send each other, an operation each: a loop's body once, and of a choice's branches the one that
    sends most, since one is taken.

    Args:
      text: of the compiled program.

    Returns:
      Rows of `kind`; `bytes` of the result on one chip, unpadded; and `arrays`, how many were put together.
    """
    computations: dict[str, list[str]] = {}
    own: list[str] = computations.setdefault("", [])
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            own = computations.setdefault(found[1], [])
        else:
            own.append(line)

    def sent(name: str) -> list[dict[str, Any]]:
        rows = []
        for line in computations.get(name, ()):
            if found := _COLLECTIVE.match(line):
                rows.append(_row(*found.groups()[:3]))
            for called in _CALLS.findall(line):
                rows += sent(called)
            if branches := _branches(line):
                rows += max(map(sent, branches), key=lambda each: sum(row["bytes"] for row in each))
        return rows

    called = {name for line in text.splitlines() for name in (*_CALLS.findall(line), *_branches(line))}
    return [row for name in computations if name not in called for row in sent(name)]


def _branches(line: str) -> list[str]:
    """The computations of a conditional's branches; none, if the line has no conditional."""
    return [name for found in _BRANCHES.findall(line) for name in re.findall(r"%?([\w.-]+)", " ".join(found))]


def _row(result: str, kind: str, start: str | None) -> dict[str, Any]:
    arrays = [_bytes(dtype, sides) for dtype, sides, *_ in _ARRAY.findall(result)]
    if start and kind != "all-reduce":  # (operands, results, …): the results alone
        arrays = arrays[len(arrays) // 2 :]
    return {"kind": kind, "bytes": sum(arrays), "arrays": len(arrays)}


def _bytes(dtype: str, sides: str) -> int:
    return math.prod(int(side) for side in sides.split(",") if side) * _width(dtype)


def _width(dtype: str) -> int:
    return 1 if dtype == "pred" else max(int(re.sub(r"\D", "", dtype)) // 8, 1)


def _padded(dtype: str, sides: str, order: str | None, first: str | None, second: str | None, rest: str | None) -> int:
    """Bytes in main memory of an array as it is written in a program; 0 in another."""
    if "S(" in (rest or "") or not sides:
        return 0
    minor = [int(sides.split(",")[int(axis)]) for axis in (order or "0").split(",")]
    for axis, tile in enumerate((first,) if second is None else (second, first)):
        if tile and axis < len(minor):
            minor[axis] = -(-minor[axis] // int(tile)) * int(tile)
    return math.prod(minor) * _width(dtype)
