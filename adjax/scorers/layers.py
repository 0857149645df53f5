"""Feature ensemble: sum of the standardised scores of several layers.

    score(f) = Σ_l w_l (s_l(f_l) − m_l) / d_l

Lee et al., "A simple unified framework for detecting out-of-distribution samples and adversarial attacks" (NeurIPS
2018), add Mahalanobis distances so; any other scorer will do. m_l and d_l are mean and standard deviation of layer l's
scores over training images, so that no layer drowns another. A scorer scores only when it is fitted, and fitting is one
pass: so each layer keeps a bounded sample of what it was fitted to (`adjax.scorers._reservoir`), to be scored in the
end. Where a row is left out (`Scorer.unseen`), m_l and d_l stay those of all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adjax._numerics import lowest, over_places
from adjax.scorers import _reservoir
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT
from adjax.types import Outputs, PyTree, Scorer

_EPS = 2.0**-23


class Stats(NamedTuple):
    """Statistics and a sample of each layer."""

    own: tuple[PyTree, ...]
    samples: tuple[Sample, ...]


class State(NamedTuple):
    """Fitted state.

    Attributes:
      own: the fitted state of each layer's scorer.
      mean: float32[L], of the training images' scores.
      deviation: float32[L], positive.
    """

    own: tuple[PyTree, ...]
    mean: jax.Array
    deviation: jax.Array


def listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names of outputs, as a string separated by commas, or several."""
    return tuple(names.split(",") if isinstance(names, str) else names)


def layers(
    names: str | Sequence[str] = ("features",),
    scorer: str | Callable[..., Scorer] = "mahalanobis",
    weights: Sequence[float] | None = None,
    dims: Sequence[int] | None = None,
    capacity: int = 1000,
    **options,
) -> Scorer:
    """One scorer for each of several outputs.

    Args:
      names: outputs to score, float [N, D_l], or [N, h, w, D_l], of which the mean over all places is taken; as a
        string separated by commas.
      scorer: factory of each layer's scorer, or its name in `SCORERS`; it takes an option `feature`.
      weights: w_l; all 1, if None.
      dims: D_l; None: as many as `features` has.
      capacity: images a layer that mean and standard deviation are taken over.
      options: of each layer's scorer.

    Returns:
      A `Scorer`. `score` is in standard deviations, of either sign; `distances` has one column. An image with a NaN in
      any of these outputs scores NaN. Images with a number in them that is not finite (or beyond 1e15), or with a label
      outside of 0 … K−1, are left out of the fit.

    Raises:
      ValueError: no names, or not as many weights or dims.
    """
    names = listed(names)
    if not names or any(len(x) != len(names) for x in (weights, dims) if x is not None):
        raise ValueError(f"layers {names}, weights {weights}, dims {dims}: must be as many, at least 1")
    if isinstance(scorer, str):
        from adjax.scorers import make  # when called: the registry knows this file

        scorer = partial(make, scorer)
    parts = [scorer(feature=name, **options) for name in names]
    factors = np.ones(len(names), np.float32) if weights is None else np.asarray(weights, np.float32)

    def pooled(outputs: Outputs) -> dict[str, jax.Array]:
        return {name: over_places(outputs[name].astype(jnp.float32)) for name in names}

    def init(dim: int, classes: int) -> Stats:
        wide = dims or [dim] * len(names)
        return Stats(
            tuple(part.init(d, classes) for part, d in zip(parts, wide, strict=True)),
            tuple(_reservoir.init(capacity, d, classes) for d in wide),
        )

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        x = pooled(outputs)
        for layer in x.values():
            mask = mask & (jnp.abs(layer) <= LIMIT).all(-1)
        return Stats(
            tuple(part.update(own, x, labels, mask) for part, own in zip(parts, stats.own, strict=True)),
            tuple(_reservoir.update(s, x[name], labels, mask) for name, s in zip(names, stats.samples, strict=True)),
        )

    def merge(a: Stats, b: Stats) -> Stats:
        return Stats(
            tuple(part.merge(*own) for part, *own in zip(parts, a.own, b.own, strict=True)),
            tuple(map(_reservoir.merge, a.samples, b.samples)),
        )

    def finalize(stats: Stats) -> State:
        own = tuple(part.finalize(s) for part, s in zip(parts, stats.own, strict=True))
        known = jnp.stack([_reservoir.kept(s) for s in stats.samples])
        rows = {name: s.rows for name, s in zip(names, stats.samples, strict=True)}
        scores = jnp.where(known, _scores(own, rows), 0)
        count = jnp.maximum(known.sum(-1), 1).astype(jnp.float32)
        mean = scores.sum(-1) / count
        deviation = jnp.sqrt(jnp.where(known, jnp.square(scores - mean[:, None]), 0).sum(-1) / count)
        deviation = jnp.maximum(deviation, _EPS * jnp.abs(mean))
        return State(own, mean, jnp.where(deviation > 0, deviation, 1))

    def _scores(own: tuple[PyTree, ...], x: Outputs) -> jax.Array:
        """float32[L, N]."""
        return jnp.stack([part.score(state, x) for part, state in zip(parts, own, strict=True)])

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        return summed(state, _scores(state.own, pooled(outputs)))

    def summed(state: State, each: Float[Array, "L N"]) -> Float[Array, " N"]:
        return (factors[:, None] * (each - state.mean[:, None]) / state.deviation[:, None]).sum(0)

    def unseen(stats: Stats, state: State, outputs: Outputs, labels: jax.Array) -> jax.Array:
        x = pooled(outputs)
        each = [lowest(out(stats.own[i], state.own[i], x, labels)) for i, out in enumerate(left_out)]
        return summed(state, jnp.stack(each))[:, None]

    left_out = [part.unseen for part in parts if part.unseen is not None]
    out = unseen if len(left_out) == len(parts) else None
    return Scorer.single(init, update, merge, finalize, score, out, pools=True)
