"""Factories by name: an unknown name or option is refused with the known ones, and the nearest."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from adjax.surface import words

Made = TypeVar("Made")


def look_up(kind: str, registry: Mapping[str, Made], name: str) -> Made:
    """Looks an entry up by name.

    Args:
      kind: of the registry, for messages: "scorer".
      registry: name → entry.
      name: wanted.

    Returns:
      The entry.

    Raises:
      ValueError: unknown name; the message lists the names and the nearest.
    """
    if name not in registry:
        raise ValueError(f"no {kind} {name!r}; there are: {', '.join(sorted(registry))}{near(name, registry)}")
    return registry[name]


def make(
    kind: str,
    registry: Mapping[str, Callable[..., Made]],
    name: str,
    *arguments: Any,
    options: Mapping[str, Any],
    supplied: Collection[str] = (),
    **keywords: Any,
) -> Made:
    """Calls the factory of a name.

    Args:
      kind, registry, name: as of `look_up`.
      *arguments: positional arguments of the factory, which are not options.
      options: keyword arguments that the user chose.
      supplied: parameters that are not the user's to choose, beside those of `arguments` and `keywords`.
      **keywords: keyword arguments that the user did not choose.

    Returns:
      What the factory returns.

    Raises:
      ValueError: unknown name; an option that the factory doesn't have, one that is missing, or a value that it can't
        take.
    """
    factory = look_up(kind, registry, name)
    allowed = [x for x in _parameters(factory)[len(arguments) :] if x.name not in {*supplied, *keywords}]
    known = [x.name for x in allowed if x.kind is not x.VAR_KEYWORD]
    if len(known) == len(allowed):
        for option in options:
            if option not in known:
                where = words(f"--{kind}-options {option}: ", "")
                has = ", ".join(known) or "none"
                raise ValueError(f"{where}{kind} {name!r} has no option {option!r}; it has {has}{near(option, known)}")
    named = [x for x in allowed if x.kind not in (x.VAR_KEYWORD, x.VAR_POSITIONAL)]
    if missing := [x.name for x in named if x.default is x.empty and x.name not in options]:
        raise ValueError(f"{kind} {name!r} needs the options {', '.join(missing)}")
    for parameter in named:
        _check_number(kind, name, parameter, options.get(parameter.name))
    try:
        return factory(*arguments, **keywords, **options)
    except TypeError as error:
        if not options:
            raise
        given = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise ValueError(f"{words(f'--{kind}-options: ', '')}{kind} {name!r} can't take {given}: {error}") from error


def options_of(factory: Callable[..., Any]) -> list[str]:
    """Lists the parameters of a factory by name.

    Args:
      factory: a function, a class or a partial call of one.

    Returns:
      Their names, in order.
    """
    return [x.name for x in _parameters(factory)]


def near(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name.

    Args:
      name: as the user wrote it.
      known: names that there are.

    Returns:
      "; did you mean …?", or nothing where none is near.
    """
    found = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""


def _check_number(kind: str, name: str, parameter: inspect.Parameter, value: Any) -> None:
    """Refuses a text where the default is a number, unless the annotation allows one."""
    number = isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)
    if isinstance(value, str) and number and not re.search(r"\b(str|Literal|Any)\b", str(parameter.annotation)):
        given = words(f"--{kind}-options {parameter.name}={value}", f"{parameter.name}={value!r}")
        raise ValueError(f"{given}: {kind} {name!r} takes a number there, {parameter.default} unless another is given")


def _parameters(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    """Of a function, a class or a partial call of one; a Flax module's own signature says nothing."""
    of = factory.func if isinstance(factory, partial) else factory
    if isinstance(of, type):
        return list(inspect.signature(of.__init__).parameters.values())[1:]  # type: ignore[misc]  # of a class, not of one of its objects
    return list(inspect.signature(factory).parameters.values())
