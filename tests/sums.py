"""How often a program waits for other devices, by its jaxpr."""

from __future__ import annotations

from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

_SENT = {"psum", "psum_invariant", "pmax", "pmin", "all_gather", "all_to_all", "ppermute", "reduce_scatter"}


def chain(program: Jaxpr, before: list[int] | None = None) -> list[int]:
    """For each result, how many sums over devices it waits for that wait for each other.

    XLA can combine the others into one operation.
    """
    known = dict(zip(program.invars, before or [0] * len(program.invars), strict=True))
    for one in program.eqns:
        given = [0 if isinstance(x, Literal) else known.get(x, 0) for x in one.invars]
        found = [max(given, default=0) + (one.primitive.name in _SENT)] * len(one.outvars)
        inner = [part for value in one.params.values() for part in _programs(value)]
        inner = [part for part in inner if len(part.outvars) == len(one.outvars)]
        if inner:
            first = given[0] if one.primitive.name == "cond" else 0  # the choice itself waits
            ends = [chain(part, given[len(given) - len(part.invars) :]) for part in inner]
            found = [max(first, *each) for each in zip(*ends, strict=True)]
        known |= dict(zip(one.outvars, found, strict=True))
    return [0 if isinstance(x, Literal) else known.get(x, 0) for x in program.outvars]


def _programs(value) -> list[Jaxpr]:
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    if isinstance(value, Jaxpr):
        return [value]
    return [part for each in value for part in _programs(each)] if isinstance(value, tuple | list) else []
