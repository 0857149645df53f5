"""Decompositions of several matrices: each as NumPy's, and none beside another on a CPU."""

import re

import jax
import numpy as np
import pytest

from adjax import scorers
from adjax._numerics import eigh, inverted_cholesky

SHAPES = (4, 4), (1, 4, 4), (3, 4, 4), (2, 3, 4, 4)


def covariances(*shape):
    x = np.random.default_rng(0).normal(size=(*shape[:-1], 2 * shape[-1])).astype(np.float32)
    return x @ np.swapaxes(x, -1, -2)


def called(function, *arguments):
    """(shape of the first result, LAPACK's routine) of each call in a compiled program."""
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return set(re.findall(r'= \(?f32(\[[\d,]*\])\S* .*custom_call_target="lapack_s(\w+)_ffi"', text))


@pytest.mark.parametrize("shape", SHAPES)
def test_eigenvalues_of_each(shape):
    x = covariances(*shape)
    values, vectors = jax.jit(eigh)(x)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(x.astype(np.float64)), rtol=1e-4)
    np.testing.assert_allclose(vectors * values[..., None, :] @ np.swapaxes(vectors, -1, -2), x, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_cholesky_of_each_and_its_inverse(shape):
    x = covariances(*shape)
    lower, inverse = jax.jit(inverted_cholesky)(x)
    np.testing.assert_allclose(lower, np.linalg.cholesky(x.astype(np.float64)), atol=1e-4)
    np.testing.assert_allclose(inverse @ lower, np.broadcast_to(np.eye(4), shape), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("function", "routine"), [(eigh, "syevd"), (inverted_cholesky, "potrf")])
def test_a_cpu_decomposes_one_matrix_at_a_time(function, routine, shape):
    """Programs with several calls for several matrices stood still for good where there were two cores."""
    if jax.default_backend() != "cpu":
        pytest.skip("of CPUs")
    for each in (function, jax.vmap(function)) if len(shape) > 2 else (function,):
        assert ("[4,4]", routine) in called(each, covariances(*shape))
        assert {where for where, _ in called(each, covariances(*shape))} == {"[4,4]"}


@pytest.mark.parametrize(("name", "routine"), [("mahalanobis_perclass", "syevd"), ("padim", "potrf")])
def test_so_do_the_ends_of_fits_with_many_covariances(name, routine):
    if jax.default_backend() != "cpu":
        pytest.skip("of CPUs")
    scorer = scorers.make(name)
    stats = scorer.init((2, 3, 5) if name == "padim" else 5, 4)
    found = called(scorer.finalize, stats)
    assert ("[5,5]", routine) in found
    assert {where for where, _ in found} == {"[5,5]"}
