"""Experiments from images to a table, in a clone of adjax: `python -m experiments.run`."""

from importlib.util import find_spec

from adjax.distribution import install

if missing := [name for name in ("matplotlib", "psutil", "tyro") if find_spec(name) is None]:
    raise ImportError(f"experiments need {', '.join(missing)}: {install('experiments')}")
