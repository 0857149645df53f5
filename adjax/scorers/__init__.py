"""Features to one number an image. A new scorer is one file here and one line in `SCORERS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from adjax.scorers.gmm import gmm
from adjax.scorers.mahalanobis import mahalanobis
from adjax.scorers.ocsvm import ocsvm
from adjax.scorers.score import score
from adjax.types import Outputs, PyTree, Scorer

SCORERS: dict[str, Callable[..., Scorer]] = {
    "gmm": gmm,
    "mahalanobis": partial(mahalanobis, covariance="tied"),
    "mahalanobis_perclass": partial(mahalanobis, covariance="class"),
    "ocsvm": ocsvm,
    "score": score,
}
"""Name -> factory; its keyword arguments configure it."""

__all__ = ["SCORERS", "fit", "gmm", "mahalanobis", "make", "ocsvm", "score"]


def make(name: str, **options) -> Scorer:
    """The scorer of that name.

    Raises:
      ValueError: no such scorer.
    """
    if name not in SCORERS:
        raise ValueError(f"no scorer {name!r}; there are: {', '.join(sorted(SCORERS))}")
    return SCORERS[name](**options)


def fit(scorer: Scorer, outputs: Outputs, labels: jax.Array, classes: int, batch_size: int = 2048) -> PyTree:
    """Fits a scorer to outputs that lie in memory, chunk by chunk, inside or outside of `jit`.

    Args:
      scorer: what to fit.
      outputs: named arrays of N rows, N ≥ 1, among them what the scorer takes: `features` [N, D] or `score` [N].
      labels: int[N] in 0 … classes−1; rows with another label count for nothing.
      classes: K ≥ 1.
      batch_size: rows a chunk; changes the result only by rounding.

    Returns:
      The scorer's state.

    Raises:
      ValueError: no rows, or arrays that differ in how many they have.
    """
    n = len(labels)
    if n < 1:
        raise ValueError("no image to fit a scorer to: give at least 1")
    for name, x in outputs.items():
        if len(x) != n:
            raise ValueError(f"{name} of {len(x)} images and labels of {n}: must be as many")
    batch_size = min(batch_size, n)
    chunks = -(-n // batch_size)

    def chunked(x: jax.Array) -> jax.Array:
        x = jnp.asarray(x)
        x = jnp.pad(x, [(0, chunks * batch_size - n)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(chunks, batch_size, *x.shape[1:])

    def body(stats: PyTree, chunk: tuple) -> tuple[PyTree, None]:
        return scorer.update(stats, *chunk), None

    parts = (jax.tree.map(chunked, dict(outputs)), chunked(labels), chunked(jnp.ones(n, bool)))
    dim = outputs["features"].shape[-1] if "features" in outputs else 0  # a method may give its score alone
    stats, _ = lax.scan(body, scorer.init(dim, classes), parts)
    return scorer.finalize(stats)
