"""Many rows in blocks: the same numbers, never more than a block of them at a time."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec
from training import finish, start

from adjax import scorers
from adjax.scorers import _blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "_LEAST", 8)
    monkeypatch.setattr(_blocks, "_MOST", 8)


@pytest.mark.parametrize(("n", "most"), [(3, 8), (8, 8), (16, 8), (21, 8), (23, 8), (4096, 8), (100, 50), (2500, 300)])
def test_each_row_counts_once_and_no_more_than_a_block_at_a_time(n, most):
    seen = []

    def double(rows):
        seen.append(len(rows["x"]))
        return 2 * rows["x"] + rows["y"][:, None]

    rows = {"x": jnp.arange(2.0 * n).reshape(n, 2), "y": jnp.arange(float(n))}
    found = jax.jit(lambda rows: _blocks.by_blocks(double, rows, most))(rows)
    np.testing.assert_array_equal(found, 2 * rows["x"] + rows["y"][:, None])
    assert max(seen) <= most


@pytest.mark.parametrize(("name", "shape"), [("mahalanobis", (21, 5)), ("padim", (21, 2, 3, 4))])
def test_a_scorer_says_the_same_of_many_rows_as_of_few(name, shape):
    feature = "features" if len(shape) == 2 else "patches"
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    scorer = scorers.make(name)
    state = scorers.fit(scorer, {feature: x}, np.zeros(len(x), np.int32), 1)
    for function in filter(None, (scorer.score, scorer.distances, scorer.maps)):
        each = jnp.concatenate([function(state, {feature: part}) for part in np.split(x, 3)])
        np.testing.assert_allclose(function(state, {feature: x}), each, rtol=1e-6)


def test_rows_that_devices_share_stay_where_they_are():
    """An explicit mesh refuses what would move them."""
    mesh = AbstractMesh((8,), ("data",), (AxisType.Explicit,))
    rows = jax.ShapeDtypeStruct((192, 3), np.float32, sharding=NamedSharding(mesh, PartitionSpec("data")))
    found = jax.eval_shape(jax.jit(lambda x: _blocks.by_blocks(lambda rows: 2 * rows[:, 0], x, 64)), rows)
    assert found.sharding.spec == PartitionSpec("data")


@pytest.mark.slow
def test_devices_score_their_own_rows_whatever_their_number():
    output = finish(start("child_rows.py", devices=4))
    for name in ("mahalanobis", "knn", "gmm"):
        assert f"{name} on four devices is that on one" in output
    assert re.search(r"refused: .* 4 does not evenly divide 6", output)


@pytest.mark.parametrize(
    ("rows", "most", "blocks"),
    [
        (25_000, 2048, (13, 1928, 1928)),  # 100,000 in 4 groups
        (12_500, 8192, (2, 6248, 6252)),
        (512, 167, (4, 128, 128)),
        (1024, 167, (8, 128, 128)),  # in 7 none would begin at a tile of 128
        (13, 5, (3, 5, 5)),
    ],
)
def test_blocks_begin_where_tiles_do(rows, most, blocks):
    assert _blocks.divided(rows, most) == blocks


def test_blocks_hold_all_rows_and_few_twice():
    rng = np.random.default_rng(0)
    for most in rng.integers(1, 3000, 500):
        rows = int(most + rng.integers(1, 30_000))
        blocks, step, length = _blocks.divided(rows, int(most))
        assert (blocks - 1) * step < rows <= (blocks - 1) * step + length
        assert step <= length <= most
        assert most < 16 or step % 8 == (rows - length) % 8 == 0
        assert blocks * length <= rows + max(15 * blocks, rows / 64)


def test_a_scorer_with_blocks_of_its_own_is_given_no_others():
    scorer = scorers.make("knn", k=3, capacity=50)
    state = jax.eval_shape(
        lambda x: scorers.fit(scorer, {"features": x}, jnp.zeros(60, jnp.int32), 1), jnp.zeros((60, 4))
    )
    rows = {"features": jax.ShapeDtypeStruct((1000, 4), jnp.float32)}
    for function in scorer.score, scorer.distances:
        text = jax.jit(function).lower(state, rows).as_text()
        assert "tensor<4x256xf32>" in text  # scores of four blocks of 256; of 125 blocks of 8, where it is given those


def test_what_blocks_share_is_done_once():
    function = _blocks.in_blocks(lambda state, rows: state * rows["x"], 8, jnp.sin)
    x = jnp.arange(24.0)
    np.testing.assert_allclose(function(jnp.float32(2), {"x": x}), np.sin(np.float32(2)) * x, rtol=1e-6)
    program = jax.make_jaxpr(function)(jnp.float32(2), {"x": x})
    assert "sin" in {one.primitive.name for one in program.eqns}
