"""One CPU device, as most users have; tests that need more start processes of their own (see training.py).

Eight fake devices for the whole suite were tried: their thread pools made single-device work 4-8 times slower.

Most programs run once or twice, so that compiling is what takes the time: XLA leaves out most of its optimisations
here, in child processes too. `JAX_DISABLE_MOST_OPTIMIZATIONS=0 python -m pytest` compiles all as users do; modules
about rounding and lowering always do, by `pytestmark = pytest.mark.usefixtures("optimised")`.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest
from hypothesis import settings

# The same examples each time, so that a red run can be repeated; no deadline, since the first call compiles.
settings.register_profile("adjax", derandomize=True, deadline=None)
settings.load_profile("adjax")


@pytest.fixture(scope="module")
def optimised():
    """Compiles the module's programs as users do."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
