"""What the scaling and lowering tables are made of: bytes between devices, bounds of a step's time."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import lowering, scaling
from benchmarks.liveness import held_bytes


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
    assert row["mib_at_least"] == pytest.approx(8)
    assert row["mib_at_most"] == pytest.approx(12)
    chip = lowering.CHIPS[0]
    times = row["predicted"][chip.name]
    assert times["ms_at_least"] == pytest.approx(row["gflop"] / chip.tflops)
    assert times["ms_at_most"] == max(times["ms_at_least"], row["gb_unfused"] / chip.gb_per_s * 1e3)


def test_a_program_with_a_loop_has_no_prediction():
    looped = jax.jit(lambda x: jax.lax.fori_loop(0, x.shape[0], lambda i, y: y @ y, x))
    row = lowering.predicted(looped, (jax.ShapeDtypeStruct((8, 8), jnp.float32),), 8)
    assert row["gflop"] is None
    assert row["predicted"] == {}


def branching(y, z):
    return jax.lax.cond(z > 0, lambda: jnp.sin(y), lambda: y)


def reshaped(y):
    return [y.reshape(n, -1) for n in (5, 10, 20)]


HELD = {
    "an argument and a result": (jnp.sin, 2),
    "each given up after its last use": (lambda x: jnp.sin(jnp.cos(jnp.tan(x))), 2),
    "what is used twice stays": (lambda x: x + jnp.cos(jnp.tan(x)), 3),
    "a reshaped array is the same": (lambda x: reshaped(jnp.sin(x)), 2),
    "a called function's own": (jax.jit(lambda x: x * jax.jit(lambda y: jnp.sin(y) + jnp.cos(y))(x)), 4),
    "a loop's body": (lambda x: jax.lax.fori_loop(0, 9, lambda i, c: jnp.sin(c) + jnp.cos(c), x), 4),
    "what a loop takes from outside": (lambda x: jax.lax.fori_loop(0, 9, lambda i, c: c + x, x) + x, 3),
    "what a branch takes from outside": (lambda x: branching(jnp.cos(x), jnp.tan(x).sum()), 3),
    "a narrow type": (lambda x: jnp.cos(x.astype(jnp.bfloat16)), 1.5),
}


@pytest.mark.parametrize(("function", "arrays"), HELD.values(), ids=HELD)
def test_what_a_program_holds_at_its_fullest(function, arrays):
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    program = jax.jit(function).trace(x).lower(lowering_platforms=("tpu",))
    given, fullest = held_bytes(program)
    assert given == 4000
    assert fullest == pytest.approx(arrays * 4000, abs=100)


def test_an_argument_that_is_not_used_is_not_held():
    x = jax.ShapeDtypeStruct((1000,), jnp.float32)
    assert held_bytes(jax.jit(lambda x, y: jnp.sin(y)).trace(x, x).lower(lowering_platforms=("tpu",))) == (4000, 8000)


def test_a_size_that_is_not_known_is_refused():
    (n,) = jax.export.symbolic_shape("n")
    with pytest.raises(ValueError, match="lower the program for shapes that are"):
        held_bytes(jax.jit(jnp.sin).trace(jax.ShapeDtypeStruct((n,), jnp.float32)).lower(lowering_platforms=("tpu",)))


def test_what_does_not_lower_says_why():
    assert lowering.lowered(jnp.sin, jnp.zeros(3)) == "cuda, tpu"

    def refuses(x):
        raise ValueError("odd shape\nand more")

    assert lowering.lowered(refuses, jnp.zeros(3)) == "no: ValueError: odd shape"
