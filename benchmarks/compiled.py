"""A program that its chip's compiler is asked about, and what it says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from adjax.sharding import make_mesh
from benchmarks.chips import Chip
from benchmarks.hlo import collectives, counts, moved_bytes


class Compiled(NamedTuple):
    """A program, and its arguments' shapes.

    Attributes:
      function, arguments: as they say.
      flop: that the algorithm needs at least; None: not stated.
      exact: its matmuls keep float32.
      shares: how several chips share each argument; None: it is for one chip.
      members: over how many runs `make_mesh` spreads chips first.
      weight_bytes: of what is trained, whose gradients chips must average in a step; 0 where none share it, None where
        nothing is trained. Running means of batch norm are among them.
      unread: bytes of inputs that a call doesn't look at, such as images of other steps.
      repeats: how often its loop runs, in whose body collectives are.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    flop: float | None = None
    exact: bool = True
    shares: tuple[Any, ...] | None = None
    members: int = 1
    weight_bytes: int | None = None
    unread: int = 0
    repeats: int = 1


def listed(chip: Any) -> list[Any]:
    """One chip or several, as a list."""
    return list(chip) if isinstance(chip, list | tuple) else [chip]


def compiled(program: Compiled, chip: Any, chosen: Chip) -> dict[str, Any]:
    """Compiles a program and reads what its compiler says of it.

    Args:
      program: to compile.
      chip: for which, or several that share it.
      chosen: what its data sheet says.

    Returns:
      A row; what this compiler doesn't say is None.
    """
    several = listed(chip)
    mesh = make_mesh(program.members, several)
    shares = program.shares if program.shares and len(several) > 1 else PartitionSpec()
    placed = jax.tree.map(lambda s: NamedSharding(mesh, s), shares, is_leaf=lambda s: isinstance(s, PartitionSpec))
    arguments = jax.tree.map(
        lambda at, xs: jax.tree.map(lambda x: x if x.sharding else x.update(sharding=at), xs),
        placed,
        program.arguments,
    )
    started, busy = time.perf_counter(), time.process_time()
    lowered = jax.jit(program.function).lower(*arguments)
    executable = lowered.compile()
    row = {"compile_s": time.perf_counter() - started, "compile_cpu_s": time.process_time() - busy}
    cost, memory, text = executable.cost_analysis(), executable.memory_analysis(), readable(executable)
    assert memory is not None
    floor = size((program.arguments, lowered.out_info)) - program.unread
    peak = (chosen.exact_tflops if program.exact else chosen.tflops) * 1e12
    least = {
        "operations": (program.flop or 0) / len(several) / peak,
        "memory": floor / len(several) / (chosen.gb_per_s * 1e9),
    }
    bound_us = max(least.values()) * 1e6
    return row | {
        "gflop": cost["flops"] / 1e9 if cost else None,
        "all_bytes": cost["bytes accessed"] if cost else None,
        "floor_bytes": floor,
        "needed_gflop": None if program.flop is None else program.flop / 1e9,
        "bound_us": bound_us,
        "bound_by": max(least, key=lambda why: least[why]),
        "weight_bytes": program.weight_bytes,
        "peak_bytes": memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "padding": memory.argument_size_in_bytes / max(size(arguments), 1) if len(several) == 1 else None,
        "code_bytes": memory.generated_code_size_in_bytes,
        **(in_text(text, len(several), chosen, program.repeats, bound_us, counted=bool(cost)) if text else {}),
    }


def readable(executable: jax.stages.Compiled) -> str | None:
    """The text of a compiled program; None where this jaxlib can't read that of a newer compiler."""
    try:
        return executable.as_text()
    except jax.errors.JaxRuntimeError as error:
        print(f"  its text can't be read, and nothing in it is counted: {str(error).splitlines()[0][:150]}", flush=True)
        return None


def in_text(text: str, count: int, chip: Chip, repeats: int, bound_us: float, *, counted: bool) -> dict[str, Any]:
    """The part of a row that the program's text says.

    Args:
      text: of the compiled program.
      count: chips that share it.
      chip: one of them.
      repeats: how often its loop runs.
      bound_us: the least time of what each chip does by itself.
      counted: the compiler marks what lies in fast memory, so that bytes can be counted.

    Returns:
      Loops, fusions, bytes and collectives.
    """
    found, sent = counts(text), collectives(text)
    links_us = repeats * ring_us(sum(one["bytes"] for one in sent), count, chip)
    kinds = sorted({one["kind"] for one in sent})
    return {
        "memory_bytes": None if found["loops"] or not counted else moved_bytes(text),
        "sent_bytes": sum(one["bytes"] for one in sent),
        "collectives": len(sent),
        "sent": {kind: [one["bytes"] for one in sent if one["kind"] == kind] for kind in kinds},
        "link_us": links_us,
        "scaling": bound_us / (bound_us + links_us),
        **found,
    }


def size(tree: Any) -> int:
    """Bytes of all arrays in a tree of shapes."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def ring_us(sent: int, count: int, chip: Chip) -> float:
    """The least time that an all-reduce of these bytes takes: each chip sends 2 (n − 1) / n of them.

    Args:
      sent: bytes.
      count: n, chips.
      chip: what its data sheet says.
    """
    return 2 * (count - 1) / count * sent / (chip.link_gb_per_s * 1e9) * 1e6
