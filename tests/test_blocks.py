"""Many rows in blocks: the same numbers, never more than a block of them at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from adjax import scorers
from adjax.scorers import _blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(_blocks, "_LEAST", 8)
    monkeypatch.setattr(_blocks, "_MOST", 8)


@pytest.mark.parametrize("n", [3, 8, 16, 21, 23, 4096])
def test_each_row_is_seen_once_and_no_more_than_a_block_at_a_time(n):
    seen = []

    def double(rows):
        seen.append(len(rows["x"]))
        return 2 * rows["x"] + rows["y"][:, None]

    rows = {"x": jnp.arange(2.0 * n).reshape(n, 2), "y": jnp.arange(float(n))}
    found = jax.jit(lambda rows: _blocks.by_blocks(double, rows))(rows)
    np.testing.assert_array_equal(found, 2 * rows["x"] + rows["y"][:, None])
    assert max(seen) <= 8


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
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(np.arange(16, dtype=np.float32)[:, None], NamedSharding(mesh, PartitionSpec("data")))
    found = jax.jit(lambda x: _blocks.by_blocks(lambda rows: 2 * rows[:, 0], x))(x)
    np.testing.assert_array_equal(found, 2 * np.arange(16))


@pytest.mark.parametrize(
    ("rows", "size", "blocks"),
    [
        (100_000, 8192, 16),
        (40_000, 8192, 8),
        (60_000, 8192, 8),
        (16, 8, 2),
        (21, 8, 3),
        (23, 8, 3),
        (100_004, 8192, 23),
    ],
)
def test_blocks_fill_tiles_and_then_can_be_shared_evenly_by_devices(rows, size, blocks):
    """100,000 rows in 20 blocks were copied whole on a TPU."""
    assert _blocks.count(rows, size) == blocks


def test_rows_are_dealt_in_chunks_that_lie_together():
    """Else a TPU takes every block apart and together again."""
    found = jax.jit(lambda x: _blocks.by_blocks(lambda rows: rows - rows[:1], x, 64))(jnp.arange(4096.0))
    place = np.arange(4096)
    np.testing.assert_array_equal(found, place // 512 * 512 + place % 8)


def test_a_scorer_with_blocks_of_its_own_is_given_no_others():
    scorer = scorers.make("knn", k=3, capacity=50)
    state = jax.eval_shape(
        lambda x: scorers.fit(scorer, {"features": x}, jnp.zeros(60, jnp.int32), 1), jnp.zeros((60, 4))
    )
    rows = {"features": jax.ShapeDtypeStruct((1000, 4), jnp.float32)}
    for function in scorer.score, scorer.distances:
        text = jax.jit(function).lower(state, rows).as_text()
        assert "tensor<5x200xf32>" in text  # scores of five blocks of 200; of 125 blocks of 8, where it is given those
