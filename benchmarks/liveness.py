"""How much memory a lowered program holds at its fullest, if every operation's result is written and nothing is fused.

A compiler that fuses holds less: it is an upper bound, up to padding and to what a library keeps for itself. An array
is given up after its last use, arguments too, as they are where a training state is donated; a reshaped one is the same
array.
"""

from __future__ import annotations

import math
import re
from typing import Any

import jax

_SAME = ("stablehlo.reshape", "stablehlo.optimization_barrier")
_RETURNS = ("func.return", "stablehlo.return")


def held_bytes(program: jax.stages.Lowered) -> tuple[int, int]:
    """Of a program lowered for one platform: its arguments, those that it uses; and all that it holds at its fullest.

    Raises:
      ValueError: an array whose size is not known.
    """
    module: Any = program.compiler_ir("stablehlo")
    functions = {
        f.name.value: f.regions[0].blocks[0] for f in module.body.operations if f.operation.name == "func.func"
    }
    given = list(functions["main"].arguments)
    return sum(map(_bytes, given)), _peak(functions["main"], functions, given)


def _peak(block: Any, functions: dict[str, Any], given: list[Any]) -> int:
    """Bytes at a block's fullest moment, beside what it was given by others; `given` is its own to give up."""
    array = {value: value for value in given}  # value -> the array that it is a name of
    operations = list(block.operations)
    last: dict[Any, int] = {}
    for i, operation in enumerate(operations):
        for value in _uses(operation):
            last[array.get(value, value)] = i
        if operation.operation.name in _SAME:
            for made, old in zip(operation.results, operation.operands, strict=True):
                array[made] = array.get(old, old)
    held = {value: _bytes(value) for value in given}
    live = peak = sum(held.values())
    for i, operation in enumerate(operations):
        name, inner = operation.operation.name, 0
        if name == "func.call":
            inner = _peak(functions[operation.attributes["callee"].value], functions, [])
        for region in operation.regions:
            inner = max([inner, *(_peak(inside, functions, []) for inside in region)])
        made = {value: _bytes(value) for value in operation.results if array.get(value, value) == value}
        peak = max(peak, live + max(inner, sum(made.values())))  # what is inside returns what is made
        held |= made
        if name not in _RETURNS:
            for value in [v for v in held if last.get(v, i) <= i]:
                del held[value]
        live = sum(held.values())
    return peak


def _uses(operation: Any) -> list[Any]:
    """The values that an operation takes, those that its regions take from outside included."""
    inside = [v for region in operation.regions for block in region for o in block.operations for v in _uses(o)]
    return [*operation.operands, *inside]


def _bytes(value: Any) -> int:
    text = str(value.type)
    if text == "!stablehlo.token":
        return 0
    found = re.fullmatch(r"tensor<((?:\d+x)*)(?:[a-z]*?)(\d+)>", text)
    if found is None:
        raise ValueError(f"the size of {text} is not known: lower the program for shapes that are")
    return math.prod(int(side) for side in found[1].split("x") if side) * max(int(found[2]), 8) // 8
