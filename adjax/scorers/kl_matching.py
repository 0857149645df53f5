"""KL matching: divergence of the predicted probabilities from the nearest class's mean prediction.

    score(z) = min_k KL(p ‖ d_k) = min_k Σ_j p_j log(p_j / d_kj)        p = softmax(z)

with templates d_k, the mean of p over the training images that are predicted to be class k. Hendrycks et al., "Scaling
out-of-distribution detection for real-world settings" (ICML 2022). A template belongs to an answer rather than to a
label, so there is one threshold for all. Templates are sums of what is positive: small probabilities, on whose
logarithms it all depends, keep their digits, which they would not as differences from a common mean.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import EXACT, place_of_highest
from adjax.scorers._logits import guarded, read
from adjax.types import Outputs, Scorer

_TINY = 1e-37


class Stats(NamedTuple):
    """Running sums, for L logits and T templates.

    Attributes:
      counts: float32[K], images of each class.
      members: float32[T], images of each template.
      sums: float32[T, L], of their probabilities.
    """

    counts: jax.Array
    members: jax.Array
    sums: jax.Array


class State(NamedTuple):
    """Fitted state.

    Attributes:
      logs: float32[T, L], log d.
      present: bool[T], templates that had images; no image is near the others.
    """

    logs: jax.Array
    present: jax.Array


def kl_matching(by: Literal["predicted", "label"] = "predicted", logits: int | None = None) -> Scorer:
    """KL matching of the softmax of `outputs["logits"]`, float [N, L], L ≥ 2.

    Args:
      by: what images share a template: those with the same predicted class (the paper), or with the same label.
      logits: L; None: as many as there are classes.

    Returns:
      A `Scorer`. `score` is ≥ 0 up to rounding; `distances` has one column. A NaN among the logits is one, +inf scores
      +inf. Rows with such a logit, or with a label outside of 0 … K−1, are left out of the fit; fitted to no row at
      all, every score is +inf.

    Raises:
      ValueError: unknown `by`; in fitting, another number of logits.
    """
    if by not in ("predicted", "label"):
        raise ValueError(f"by {by!r}: must be 'predicted' or 'label'")

    def init(dim: int, classes: int) -> Stats:
        wide = classes if logits is None else logits
        templates = wide if by == "predicted" else classes
        shapes = (classes,), (templates,), (templates, wide)
        return Stats(*(jnp.zeros(shape, jnp.float32) for shape in shapes))

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        z = read(outputs, least=2)
        classes, (templates, wide) = stats.counts.size, stats.sums.shape
        if z.shape[-1] != wide:
            raise ValueError(f"{z.shape[-1]} logits where {wide} are expected: give kl_matching logits={z.shape[-1]}")
        sane = ~(jnp.isnan(z) | (outputs["logits"] == jnp.inf)).any(-1)
        keep = (mask & (labels >= 0) & (labels < classes) & sane)[:, None]
        group = place_of_highest(z) if by == "predicted" else labels
        member = jnp.where(keep, jax.nn.one_hot(group, templates, dtype=jnp.float32), 0)
        p = jnp.where(keep, jax.nn.softmax(z, -1), 0)
        count = jnp.where(keep, jax.nn.one_hot(labels, classes, dtype=jnp.float32), 0).sum(0)
        return merge(stats, Stats(count, member.sum(0), jnp.matmul(member.T, p, precision=EXACT)))

    def merge(a: Stats, b: Stats) -> Stats:
        return Stats(*(x + y for x, y in zip(a, b, strict=True)))

    def finalize(stats: Stats) -> State:
        d = stats.sums / jnp.maximum(stats.members, 1)[:, None]
        return State(jnp.log(jnp.maximum(d, _TINY)), stats.members > 0)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        z = read(outputs, least=2)
        log_p = jax.nn.log_softmax(z, -1)
        p = jnp.exp(log_p)
        each = (p * log_p).sum(-1)[:, None] - jnp.matmul(p, state.logs.T, precision=EXACT)
        return guarded(jnp.where(state.present[None], each, jnp.inf).min(-1), outputs, "logits")

    return Scorer.single(init, update, merge, finalize, score)
