"""One CPU device, as most users have; tests that need more start processes of their own (see training.py).

Eight fake devices for the whole suite were tried: their thread pools made single-device work 4-8 times slower.

Most programs run once or twice, so that compiling is what takes the time: XLA leaves out most of its optimisations
here, in child processes too. `JAX_DISABLE_MOST_OPTIMIZATIONS=0 python -m pytest` compiles all as users do, which
`.ci/run` does for `-m rounding`: what fused loops could round otherwise.

Tracing makes millions of small objects that live on, and to look through them for garbage takes a tenth of the time:
the collector runs less often here.

What was compiled is kept in `.xla_cache/`, for child processes and the next run. Delete it to start cold.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import textwrap
import types
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".xla_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "false")  # of each operation; errors have theirs
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1" and version("jaxlib").startswith("0.10."):
    # The older emitters compile twice as fast, and a small program does so faster in one piece. Later releases have no
    # older emitters, and end the process at a flag unknown to them.
    flags = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    if flags not in os.environ.get(
        "XLA_FLAGS", ""
    ):  # as they are in a worker: twice, they'd be another key of the cache
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()

import jax
import jaxtyping
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

if find_spec("beartype") is not None:  # before adjax is imported; child processes go without
    install_import_hook(["adjax.conformal", "adjax.metrics", "adjax.thresholds"], "typechecked.check")

CACHE = Path(__file__).parents[1] / ".xla_cache"
_CACHE_BYTES = 2 * 2**30
_MOST_MAPS = 30_000

# The same examples each time, so that a red run can be repeated; no deadline, since the first call compiles.
settings.register_profile("adjax", derandomize=True, deadline=None)
settings.load_profile("adjax")


@pytest.fixture
def symbolic(monkeypatch):
    """Without jaxtyping's checks, which take no symbolic number of images: an export would go in blocks."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def optimised():
    """Compiles as users do: for tests that run for longer than they compile."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module", autouse=True)
def few_mappings():
    """Lets go of compiled programs before there are too many: each keeps nine maps of memory, of the 65,530 that Linux
    allows a process. Two workers ended inside XLA before this was here.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.is_file() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def process_as_it_was(monkeypatch):
    """A command may set up its process; a test's is pytest's."""
    from adjax import process

    monkeypatch.setattr(process, "prepare", lambda: None)


@pytest.fixture
def clean_machine(tmp_path, monkeypatch):
    """An empty home and cache, and no tfds host."""
    from adjax.data.download import tfds

    for name in ("ADJAX_DATA_DIR", "TFDS_DATA_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ADJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tfds, "HOME", "http://127.0.0.1:9/")


def pytest_collection_finish():
    """All that stands now stands to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def pytest_sessionstart(session):
    """The process that hands out the tests clears a cache that has grown too large."""
    if hasattr(session.config, "workerinput") or not CACHE.is_dir():
        return
    if sum(file.stat().st_size for file in CACHE.iterdir()) > _CACHE_BYTES:
        shutil.rmtree(CACHE)


def pytest_terminal_summary(terminalreporter):
    """Under the ten slowest: what all tests took together, whichever worker ran them."""
    reports = [r for each in terminalreporter.stats.values() for r in each if hasattr(r, "duration")]
    tests = len({r.nodeid for r in reports})
    terminalreporter.write_line(f"{tests} tests took {sum(r.duration for r in reports):.0f} s together")


@pytest.fixture
def torch_names(monkeypatch):
    """Modules and names that PyTorch's pickles mention, so that `weight_files` can write them."""
    from adjax.models import _read_torch

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for kind in _read_torch._DTYPES:
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("nothing is ever called")

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program("npm", code)` puts a Python program of that name on a PATH with nothing else on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name: str, code: str) -> None:
        head = f"#!{sys.executable}\nimport os, shutil, subprocess, sys, time\nARGS = sys.argv[1:]\n"
        head += f"open({str(tmp_path / 'calls')!r}, 'a').write({name!r} + ' ' + ' '.join(ARGS) + '\\n')\n"
        (folder / name).write_text(head + textwrap.dedent(code))
        (folder / name).chmod(0o755)

    return add


@pytest.fixture
def calls(tmp_path):
    """The command lines of all programs called so far."""
    return lambda: (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []


@pytest.fixture
def npm(program, tmp_path):
    """An npm that serves the tiny set."""
    from tiny_set import tiny_files, write_tar

    package = {f"package/data/{stem}": content for stem, content in tiny_files().items()}
    write_tar(tmp_path / "tiny.tgz", package)
    program("npm", f"time.sleep(0.2)\nshutil.copy({str(tmp_path / 'tiny.tgz')!r}, 'tiny-1.0.0.tgz')\n")
