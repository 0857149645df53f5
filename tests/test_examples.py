"""Each name of `adjax` has an example in its docstring, which runs and prints what it says."""

from __future__ import annotations

import doctest
import inspect
import sys
import types

import pytest

import adjax

NAMES = sorted(set(adjax.__all__) - {"__version__"})
SLOW = {"fit", "detector_from", "export", "save"}  # they compile for seconds; the others are done daily


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_the_example_of(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    thing = getattr(adjax, name)
    home = thing if isinstance(thing, types.ModuleType) else sys.modules[thing.__module__]
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(thing), dict(vars(home)), name, None, None)
    assert test.examples, f"adjax.{name} has no Example in its docstring"
    said: list[str] = []
    result = doctest.DocTestRunner().run(test, out=said.append)
    assert result.failed == 0, "".join(said)
