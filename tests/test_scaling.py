"""What the scaling and lowering tables are made of: bytes between devices, bounds of a step's time."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import lowering, scaling


def test_bytes_of_collectives_are_read_from_a_program():
    text = """
  %all-reduce = (f32[10,3]{1,0}, bf16[7]{0}, f32[]) all-reduce(%a, %b, %c), replica_groups={{0,1}}
  %gathered.1 = s32[4]{0} all-gather(%d), dimensions={0}
  %start = f32[2]{0} all-reduce-start(%e)
  %done = f32[2]{0} all-reduce-done(%start)
  %add = f32[100]{0} add(%x, %y)
"""
    assert scaling.collective_bytes(text) == 10 * 3 * 4 + 7 * 2 + 4 + 4 * 4 + 2 * 4


def test_one_size_after_another_is_timed():
    row = scaling.scored(images=100, features=4, classes=3, runs=2)
    assert (row["images"], row["features"], row["classes"], row["n"]) == (100, 4, 3, 2)
    assert row["ms"] > 0
    assert row["images_per_s"] == pytest.approx(100 / row["ms"] * 1e3)


def test_a_prediction_lies_between_operations_and_bytes():
    a = jax.ShapeDtypeStruct((1024, 1024), jnp.float32)
    row = lowering.predicted(jax.jit(jnp.matmul), (a, a), 1024)
    assert row["gflop"] == pytest.approx(2 * 1024**3 / 1e9, rel=0.01)
    assert row["gb_unfused"] == pytest.approx(3 * 4 * 1024**2 / 1e9, rel=0.01)
    chip = lowering.CHIPS[0]
    times = row["predicted"][chip.name]
    assert times["ms_at_least"] == pytest.approx(row["gflop"] / chip.tflops)
    assert times["ms_at_most"] == max(times["ms_at_least"], row["gb_unfused"] / chip.gb_per_s * 1e3)


def test_a_program_with_a_loop_has_no_prediction():
    looped = jax.jit(lambda x: jax.lax.fori_loop(0, x.shape[0], lambda i, y: y @ y, x))
    row = lowering.predicted(looped, (jax.ShapeDtypeStruct((8, 8), jnp.float32),), 8)
    assert row["gflop"] is None
    assert row["predicted"] == {}


def test_what_does_not_lower_says_why():
    assert lowering.lowered(jnp.sin, jnp.zeros(3)) == "cuda, tpu"

    def refuses(x):
        raise ValueError("odd shape\nand more")

    assert lowering.lowered(refuses, jnp.zeros(3)) == "no: ValueError: odd shape"
