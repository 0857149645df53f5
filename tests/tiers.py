"""Which cases of a test are run every day, and which with `-m slow` alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest


def daily(cases: Mapping[str, tuple] | Iterable[Any], *chosen: Any) -> Iterator[Any]:
    """The cases as parameters, of which all but the chosen, by name or by value, are slow."""
    named = cases if isinstance(cases, Mapping) else dict(enumerate(cases))
    seen = 0
    for name, case in named.items():
        known = (name if isinstance(cases, Mapping) else case) in chosen
        seen += known
        values = case if isinstance(case, tuple) else (case,)
        yield pytest.param(
            *values, id=name if isinstance(cases, Mapping) else None, marks=() if known else pytest.mark.slow
        )
    assert seen == len(chosen), f"not all of {chosen} are cases"
