"""What commands ask of their process: an own, private cache of compilations, and only where the user has none."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys

import jax
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from adjax import process


@pytest.fixture
def unset():
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: jax.config.values[name] for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_cache_is_private_and_the_users_choice_comes_first(tmp_path, unset):
    first = process.keep_compilations(tmp_path / "a")
    assert first == tmp_path / "a"
    assert first.stat().st_mode & 0o777 == 0o700
    assert jax.config.values["jax_compilation_cache_dir"] == str(first)
    assert process.keep_compilations(tmp_path / "b") is None
    assert jax.config.values["jax_compilation_cache_dir"] == str(first)


def test_a_link_is_not_followed_and_no_home_is_no_error(tmp_path, unset):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert process.keep_compilations(tmp_path / "link") is None
    (tmp_path / "file").touch()
    assert process.keep_compilations(tmp_path / "file" / "below") is None
    assert not jax.config.values["jax_compilation_cache_dir"]


def test_where_nothing_says_whose_a_directory_is_there_is_no_cache(tmp_path, unset, monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(os, "getuid")
    assert process.keep_compilations(tmp_path / "a") is None
    assert not jax.config.values["jax_compilation_cache_dir"]


def test_the_users_own_thresholds_are_left_alone(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert not process.keep_freed_memory()


FREES = """
import resource, threading
from adjax import process

def work():
    held = [bytearray(30 << 20) for _ in range(2)]  # fill a heap of this thread's: the next block has one to itself
    for size in 30, 300:
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
            bytearray(size << 20)
        print(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

if process.keep_freed_memory():
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""


@pytest.mark.slow
def test_what_a_thread_frees_is_not_cleared_again():
    """7,681 pages of 30 MiB were, where only the thresholds were set; of larger blocks all, which had maps of their
    own."""
    child = subprocess.run([sys.executable, "-c", FREES], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    if not child.stdout:
        users = any(name.startswith("MALLOC_") for name in os.environ)
        assert users or platform.libc_ver()[0] != "glibc", "glibc takes no such thresholds"
        pytest.skip("not glibc, or its thresholds are the user's")
    assert max(map(int, child.stdout.split())) < 50


def threads():
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_lapack_has_one_thread_until_that_is_undone(monkeypatch):
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    with threadpool_limits(2, "blas"):
        limits = process.one_lapack_thread()
        assert threads() == {1}
        limits.restore_original_limits()
        assert threads() == {2}
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert process.one_lapack_thread() is None
        assert threads() == {2}


LAPACK = """
from adjax import process
process.prepare()
import jax, jax.numpy as jnp
from threadpoolctl import threadpool_info
jax.jit(jnp.linalg.eigh)(jnp.eye(3))
for pool in threadpool_info():
    if pool["user_api"] == "blas":
        print("scipy" in pool["filepath"].replace("scipy_openblas", ""), pool["num_threads"])
"""


def test_the_library_that_decompositions_go_to_has_one_thread():
    """It is loaded when XLA first wants it, after `prepare`."""
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    said = subprocess.run([sys.executable, "-c", LAPACK], capture_output=True, text=True, check=True, env=env).stdout
    assert "True 1\n" in said, "SciPy has no library of its own here"
    assert all(line.endswith(" 1") for line in said.splitlines()), said


def test_an_import_does_nothing_of_this():
    code = (
        "import gc; before = gc.get_threshold(); import adjax, jax; "
        "print(jax.config.values['jax_compilation_cache_dir'], gc.get_threshold() == before)"
    )
    env = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env).stdout
    assert said.strip() == "None True"


def test_a_command_collects_garbage_less_often():
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        process.collect_less_often()
        assert gc.get_threshold()[0] > 7000
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
