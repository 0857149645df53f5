"""Programs compiled for a TPU that isn't there: what is counted of them, and that its compiler takes one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import jax
import pytest
from tiers import daily

from benchmarks import compile as aot
from benchmarks import compile_page, hlo

TEXT = """HloModule program

%fused (a: f32[100,10]) -> f32[100] {
  ROOT %r = f32[100]{0:T(128)} reduce(%a), dimensions={1}
}

ENTRY %main (x.1: f32[100,10], y.1: bf16[3]) -> f32[100] {
  %x.1 = f32[100,10]{0,1:T(8,128)} parameter(0), metadata={op_name="x"}
  %y.1 = bf16[3]{0:T(256)} parameter(1)
  %copy-start = (f32[100,10]{0,1:T(8,128)S(1)}, f32[100,10]{0,1:T(8,128)}, u32[]{:S(2)}) copy-start(%x.1)
  %copy-done = f32[100,10]{0,1:T(8,128)S(1)} copy-done(%copy-start)
  %fusion = f32[100,10]{0,1:T(8,128)S(1)} fusion(%copy-done, /*index=1*/%y.1), kind=kLoop, calls=%fused
  ROOT %out = f32[100]{0:T(128)} fusion(%fusion), kind=kLoop, calls=%fused
}
"""


def test_only_what_lies_in_main_memory_is_moved():
    tiles = 16 * 128 * 4  # 10 × 100 in whole tiles, read once; between operations it lies in fast memory
    assert hlo.moved_bytes(TEXT) == tiles + 256 * 2 + 128 * 4


def test_the_floor_is_each_array_once():
    assert aot.size((aot.shape(10, 3), {"a": aot.ints(5)})) == 4 * (30 + 5)


def test_a_table_compares_with_an_earlier_one():
    row = dict.fromkeys(("compile_cpu_s", "gflop", "memory_bytes", "floor_bytes", "all_bytes", "temporary_bytes"), 2e6)
    row |= {"padding": 1.5, "loops": 0, "memory_bytes": None}
    page = compile_page.page({"v5e": {"p": row}, "v6e": {"p": row}}, {"v5e": {"p": row | {"all_bytes": 8e6}}})
    assert page.count("2.0 (0.25 ×)") == 1  # not of another chip
    assert "| – |" in page
    assert "brackets" not in compile_page.page({"v5e": {"p": row}}, {})


@pytest.mark.parametrize("name", [*daily(list(aot.PROGRAMS), "quantile, 100,000 × 10", "epoch order, 60,000 images")])
def test_every_program_can_be_traced(name):
    """With a device of this machine in the place of the chip."""
    program = aot.PROGRAMS[name](jax.devices()[0])
    assert jax.tree.leaves(jax.eval_shape(program.function, *program.arguments))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("libtpu") is None, reason="the TPU compiler is not installed: pip install -e '.[aot]'")
def test_the_command_compiles_for_a_tpu(tmp_path):
    """In a process of its own: the TPU's compiler ends one that has flags which it doesn't know."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = "-m", "benchmarks.compile", "--programs", "quantile", "--out", str(tmp_path / "c.json")
    subprocess.run([sys.executable, *command], env=env, check=True, timeout=300)
    row = json.loads((tmp_path / "c.json").read_text())["programs"]["v5e"]["quantile, 100,000 × 10"]
    assert row["memory_bytes"] < 2 * row["floor_bytes"]
    assert "quantile" in (tmp_path / "c.md").read_text()
