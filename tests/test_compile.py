"""Programs compiled for chips that aren't there: what is counted of them, and that the TPU's compiler takes each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import jax
import pytest
from tiers import daily

from benchmarks import chips, compile_page, compiled, hlo
from benchmarks import compile as aot
from benchmarks.training import LENET

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


SENT = """
  %all-reduce.1 = (f32[10,3]{1,0:T(8,128)}, f32[]{:T(128)}) all-reduce(%a, %b), channel_id=1, to_apply=%add
  %ag = (f32[4]{0}, f32[16]{0}) all-gather-start(%x), dimensions={0}
  %agd = f32[16]{0} all-gather-done(%ag)
  ROOT %ars = bf16[8]{0} all-reduce-start(%y), channel_id=2
  %f = f32[2]{0} fusion(%all-reduce.1), kind=kLoop
  %w = (s32[]) while(%t), condition=%c, body=%d
"""


def test_what_chips_send_is_counted_once_each_with_its_bytes():
    found = hlo.collectives(SENT)
    assert found == [
        {"kind": "all-reduce", "bytes": 4 * 31, "arrays": 2},
        {"kind": "all-gather", "bytes": 64, "arrays": 1},
        {"kind": "all-reduce", "bytes": 16, "arrays": 1},
    ]
    assert hlo.counts(SENT) == {"loops": 1, "fusion": 1, "gather": 0, "scatter": 0, "sort": 0, "custom-call": 0}


CHOICE = """
%few (p: f32[4]) -> f32[4] {
  ROOT %r = f32[4]{0} all-reduce(%p), channel_id=1, to_apply=%add
}

%many (p: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%p), condition=%c, body=%loop
  ROOT %r.2 = f32[4]{0} copy(%w)
}

%loop (p: f32[4]) -> f32[4] {
  %s = f32[16]{0} all-reduce(%p), channel_id=2, to_apply=%add
  ROOT %r.3 = f32[4]{0} slice(%s)
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %first = f32[2]{0} all-reduce(%p), channel_id=3, to_apply=%add
  ROOT %c = f32[4]{0} conditional(%i, %p, %p), CHOSEN
}
"""


@pytest.mark.parametrize(
    "chosen", ["branch_computations={%few, %many}", "true_computation=%many, false_computation=%few"]
)
def test_branches_of_which_one_is_taken_count_as_the_one_that_sends_most(chosen):
    assert [row["bytes"] for row in hlo.collectives(CHOICE.replace("CHOSEN", chosen))] == [8, 64]


def test_links_take_the_ring_s_time():
    chip = chips.CHIPS["v5e"]._replace(link_gb_per_s=1)
    assert compiled.ring_us(1000, 1, chip) == 0
    assert compiled.ring_us(1000, 4, chip) == pytest.approx(1.5)


@pytest.mark.parametrize("name", chips.CHIPS)
def test_every_chip_has_its_source(name):
    chip = chips.CHIPS[name]
    assert chip.source.startswith("https://")
    assert chip.exact_tflops < chip.tflops
    assert set(chip.topologies) >= {1, 4}


def test_a_whole_name_chooses_one_program():
    name = "LeNet + center loss, batch 128"
    assert [n for n in aot.PROGRAMS if aot._names(name, n)] == [name]
    assert len([n for n in aot.PROGRAMS if aot._names("lenet", n)]) > 1


@pytest.mark.slow
def test_a_training_reads_its_own_images_alone():
    """Of a dispatch, not all that lie on the chip."""
    program = aot.training(jax.devices()[0], LENET, 128)
    pictures = 60_000 * 28 * 28
    assert pictures - program.unread < 0.08 * pictures
    assert program.weight_bytes == 0


def test_the_floor_is_each_array_once():
    assert aot.size((aot.shape(10, 3), {"a": aot.ints(5)})) == 4 * (30 + 5)


def test_a_table_compares_with_an_earlier_one():
    row = dict.fromkeys(("compile_cpu_s", "gflop", "memory_bytes", "floor_bytes", "all_bytes", "temporary_bytes"), 2e6)
    row |= {"padding": 1.5, "loops": 0, "memory_bytes": None}
    rows = {"p": row, "q": row | {"memory_bytes": 3e6, "all_bytes": None}}
    page = compile_page.page({"v5e": rows, "v6e": {"p": row}}, {"v5e": {"p": row | {"all_bytes": 8e6}}})
    assert page.count("2.0 (0.25 ×)") == 1  # not of another chip
    assert "| – |" in page
    assert "brackets" not in compile_page.page({"v5e": {"p": row}}, {})


@pytest.mark.parametrize("name", [*daily(list(aot.PROGRAMS), "quantile, 100,000 × 10", "epoch order, 60,000 images")])
def test_every_program_can_be_traced(name):
    """With a device of this machine in the place of the chip."""
    program = aot.PROGRAMS[name](jax.devices()[0])
    assert jax.tree.leaves(jax.eval_shape(program.function, *program.arguments))


def compile_for_a_tpu(folder, *arguments):
    """In a process of its own: the TPU's compiler ends one that has flags which it doesn't know."""
    if find_spec("libtpu") is None:
        pytest.skip("the TPU compiler is not installed: pip install -e '.[aot]'")
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "benchmarks.compile", *arguments, "--out", str(folder / "c.json")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    ((target, rows),) = json.loads((folder / "c.json").read_text())["programs"].items()
    return target, rows


@pytest.mark.slow
@pytest.mark.parametrize("name", aot.PROGRAMS)
def test_every_program_compiles_for_a_tpu(name, tmp_path):
    target, rows = compile_for_a_tpu(tmp_path, "--programs", name)
    assert target == "v5e"
    assert rows[name]["peak_bytes"] < chips.CHIPS["v5e"].gib * 2**30
    assert rows[name]["collectives"] == 0
    if name == "LeNet + center loss, batch 128":
        assert rows[name]["all_bytes"] < 60_000 * 28 * 28  # images are not copied: 148 MB of columns
    if "quantile" in name:
        assert rows[name]["memory_bytes"] < 2 * rows[name]["floor_bytes"]
    assert name in (tmp_path / "c.md").read_text()
    assert (tmp_path / "c.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_shared_step_sends_its_gradients_at_once_and_nothing_else(tmp_path):
    alone, with_head = "LeNet + center loss, batch 128 a chip", "OOD head on LeNet, batch 128"
    target, rows = compile_for_a_tpu(tmp_path, "--chips", "4", "--programs", alone, with_head)
    assert target == "4 × v5e"
    body = rows[alone]["weight_bytes"]
    head = rows[with_head]["weight_bytes"] - body  # a step trains one of the two, and the head has more weights
    assert head > body
    for name, trained in ((alone, body), (with_head, head)):
        ((kind, sent),) = rows[name]["sent"].items()
        assert kind == "all-reduce"
        assert len(sent) == 1
        assert trained <= sent[0] < trained + 100  # and a few sums of the metrics


@pytest.mark.slow
def test_shared_rows_are_scored_without_a_word(tmp_path):
    """Those too that don't divide into tiles: 12,500 a chip."""
    names = "8,192 × 512, 10", "100,000 × 512", "50,000 × 512", "k-nearest", "PatchCore"
    _, rows = compile_for_a_tpu(tmp_path, "--chips", "4", "--programs", *names)
    assert len(rows) == 7
    assert all(row["collectives"] == 0 for row in rows.values())
