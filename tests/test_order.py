"""The largest and quantiles by halving are those of sorting; and what logits and guards are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax import scorers
from adjax._numerics import place_of_highest
from adjax.scorers._logits import answer, guarded, odds
from adjax.scorers._order import largest, quantile

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(1100, 33)).astype(np.float32)  # more rows than are taken at once
ROWS = {
    "of either sign": NORMAL,
    "rectified, most of them 0": np.maximum(NORMAL - 1, 0),
    "many equal": np.round(NORMAL),
    "all equal": np.full((3, 33), -2, np.float32),
    "of all sizes": NORMAL * 10.0 ** RNG.integers(-35, 15, NORMAL.shape).astype(np.float32),
    "zeros of both signs": np.where(NORMAL > 0, 0, -0.0).astype(np.float32),
}
each = pytest.mark.parametrize("x", ROWS.values(), ids=list(ROWS))


def first_of_sorted(x, count):
    """Of equal ones the first."""
    marked = np.zeros(x.shape, bool)
    for row, places, k in zip(marked, np.argsort(-x, 1, kind="stable"), np.broadcast_to(count, len(x)), strict=True):
        row[places[:k]] = True
    return marked


@each
@pytest.mark.parametrize("count", [1, 4, 33])
def test_the_largest_are_those_of_sorting(x, count):
    np.testing.assert_array_equal(jax.jit(largest, static_argnums=1)(x, count), first_of_sorted(x, count))


@each
def test_rows_may_ask_for_different_numbers(x):
    counts = 1 + np.arange(len(x)) % 33
    np.testing.assert_array_equal(jax.jit(largest)(x, counts), first_of_sorted(x, counts))


def test_rows_with_nans_end_and_change_no_other():
    x = NORMAL[:5].copy()
    x[2, 3], x[3] = np.nan, np.nan
    found = np.asarray(jax.jit(largest, static_argnums=1)(x, 4))
    others = [0, 1, 4]
    np.testing.assert_array_equal(found[others], first_of_sorted(x[others], 4))
    np.testing.assert_array_equal(jax.vmap(lambda y: largest(y, 4))(x[None])[0][0], found[0])


@each
@pytest.mark.parametrize("level", [0.0, 0.1, 0.85, 0.999, 1.0])
def test_a_quantile_is_that_of_sorting(x, level):
    known = np.arange(len(x)) % 3 != 1
    of = jax.jit(quantile, static_argnums=(2, 3))
    seen = x[known].astype(np.float64)
    size = np.abs(seen).max(0)
    np.testing.assert_array_less(np.abs(of(x, known, level) - np.quantile(seen, level, 0)), 1e-5 * size + 1e-38)
    assert abs(of(x, known, level, (0, 1)) - np.quantile(seen, level)) <= 1e-5 * size.max()
    assert np.isnan(of(x, 0 * known > 0, level)).all()


def test_the_place_of_the_highest_is_that_of_argmax():
    z = np.round(RNG.normal(size=(50, 7))).astype(np.float32)
    np.testing.assert_array_equal(place_of_highest(jnp.asarray(z)), z.argmax(-1))
    z[0, 0] = np.nan
    np.testing.assert_array_equal(answer(jnp.asarray(z)), [-1, *z[1:].argmax(-1)])


def test_odds_keep_the_digits_of_what_is_nearly_sure():
    below, others = odds(jnp.array([[0.0, 20, -20], [5, 5, 5], [1, 1, -np.inf]]))
    np.testing.assert_allclose(others, [np.exp(-20.0) + np.exp(-40.0), 2, 1], rtol=1e-6)
    np.testing.assert_array_equal(below[0], [-20, 0, -40])


@pytest.mark.parametrize("gap", [0.0, 1e-3, 5, 60, 90, 300, 800])
def test_gen_keeps_the_digits_of_what_is_surer_than_float32_can_say(gap):
    """With two classes 1 − p is e^−gap / (1 + e^−gap), and it is all of a term's information."""
    score = scorers.make("gen", gamma=0.1).score({}, {"logits": jnp.array([[gap, 0.0], [0.0, gap]])})
    log_p, log_rest = -np.log1p(np.exp(-gap)), -gap - np.log1p(np.exp(-gap))
    np.testing.assert_allclose(score, 2 * np.exp(0.1 * (log_p + log_rest)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_finite_is_left_alone_however_large(dtype):
    x = np.full((6, 600), np.finfo(np.float32).max / 2, np.float32)
    x[1, 5], x[2, 5], x[3, 5], x[3, 6] = np.inf, -np.inf, np.nan, np.inf
    z = np.zeros((6, 3), np.float32)
    z[4, 1], z[5, 1] = -np.inf, np.inf
    found = guarded(jnp.arange(6.0), {"f": jnp.asarray(x, dtype), "logits": jnp.asarray(z, dtype)}, "f", "logits")
    np.testing.assert_array_equal(found, [0, np.inf, np.inf, np.nan, 4, np.inf])
