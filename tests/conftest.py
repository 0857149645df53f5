"""One CPU device, as most users have; tests that need more start processes of their own (see training.py).

Eight fake devices for the whole suite were tried: their thread pools made single-device work 4-8 times slower.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from hypothesis import settings

# The same examples each time, so that a red run can be repeated; no deadline, since the first call compiles.
settings.register_profile("adjax", derandomize=True, deadline=None)
settings.load_profile("adjax")


@pytest.fixture(scope="module")
def compiled_quickly():
    """For modules with many programs that run once: compiling is all that takes time."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
