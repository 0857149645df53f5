"""Greedy k-center: the same choices as one pass through all rows per choice."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax.scorers import _coreset

choose = jax.jit(_coreset.furthest, static_argnums=2)


def one_by_one(rows, count, first):
    """Choices of the definition, and whether each was away from all before."""
    away, places, new = np.square(rows - rows[first]).sum(1), [first], [True]
    while len(places) < count:
        places.append(int(away.argmax()))
        new.append(away[places[-1]] > 0)
        away = np.minimum(away, np.square(rows - rows[places[-1]]).sum(1))
    return np.array(places), np.array(new)


@pytest.mark.parametrize(("n", "rows_at_a_time"), [(40, 4096), (700, 4096), (701, 256)])
def test_choices_are_those_of_one_pass_per_choice(monkeypatch, n, rows_at_a_time):
    """In one round, in several, and with rows in blocks; shapes differ, since jit keeps traces."""
    monkeypatch.setattr(_coreset, "_BLOCK", 64)
    monkeypatch.setattr(_coreset, "_CENTRES", 16)
    monkeypatch.setattr(_coreset, "_ROWS", rows_at_a_time)
    rows = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    places, new = jax.jit(_coreset.furthest, static_argnums=2)(rows, np.ones(n, bool), 30, jnp.int32(5))
    np.testing.assert_array_equal(places, one_by_one(rows, 30, 5)[0])
    assert new.all()


def test_what_is_not_known_is_never_chosen_and_copies_only_once():
    rows = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    rows[30:60] = rows[:30]
    places, new = choose(rows, np.arange(90) < 60, 40, jnp.int32(2))
    assert int(new.sum()) == 30
    chosen = np.asarray(places)[np.asarray(new)]
    assert chosen.max() < 60
    assert len(np.unique(rows[chosen], axis=0)) == 30


def test_no_rows_at_all_give_no_choice():
    _, new = choose(np.zeros((5, 3), np.float32), np.zeros(5, bool), 3, jnp.int32(0))
    assert not new.any()
