"""Gram matrices: by how much channel correlations leave the range that they have in the predicted class.

    score = Σ_l δ_l / E[δ_l]        δ_l = Σ_p Σ_i max(m − G, 0) / |m| + max(G − M, 0) / |M|
    G_i = (Σ_j Σ_places f_i^p f_j^p)^(1/p),  p = 1 … 10

with m and M the smallest and the largest G of training images of the same class, for each layer l, power p and channel
i. Sastry & Oore, "Detecting out-of-distribution examples with Gram matrices" (ICML 2020). As in the authors' code, rows
of the matrix are summed, roots keep their sign, and 1e−6 is added to m and M where they divide. E[δ_l] is the mean over
training images that m and M were not found from: a tenth of them, chosen by the bytes of these outputs
(`adjax.scorers._reservoir`), so that the fit is one pass. G itself has other last bits in another chunk's program.

The sum over j is taken first: nothing of the size of the matrix is made. Channels are divided by their largest value
before f^p f^p, which is f^20, is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from adjax._numerics import place_of_highest
from adjax.scorers import _reservoir
from adjax.scorers._logits import guarded, read
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT, within
from adjax.types import Outputs, Scorer

_ADDED = 1e-6
_TINY, _LARGEST = 1e-37, 1e30


class Stats(NamedTuple):
    """Running extremes, for W numbers of all layers and powers.

    Attributes:
      counts: float32[K], images behind the extremes.
      least, most: float32[K, W]; +inf and −inf before the first image.
      held_out: those of other images, each with its class.
    """

    counts: jax.Array
    least: jax.Array
    most: jax.Array
    held_out: Sample


class State(NamedTuple):
    """Fitted state.

    Attributes:
      least, most: float32[K, W], m and M; 0 for a class without images.
      expected: float32[layers], E[δ], positive.
      present: bool[K], classes that had images; nothing is in the range of the others.
    """

    least: jax.Array
    most: jax.Array
    expected: jax.Array
    present: jax.Array


def gram(
    names: Sequence[str] = ("features",),
    powers: Sequence[int] = tuple(range(1, 11)),
    by: Literal["predicted", "label"] = "predicted",
    held_out: float = 0.1,
    dims: Sequence[int] | None = None,
    capacity: int = 1000,
) -> Scorer:
    """Gram matrices of several outputs, in the range of the class that `outputs["logits"]`, float [N, K], predict.

    Args:
      names: outputs, float [N, D_l] or [N, h, w, D_l].
      powers: p, each ≥ 1.
      by: which training images are of a class: those with that predicted class (the authors), or with that label.
      held_out: share of the training images that E[δ] is estimated from, in [0, 1); 0: all E[δ] are 1.
      dims: D_l; None: as many as `features` has.
      capacity: images that E[δ] may be estimated from, ≥ 1.

    Returns:
      A `Scorer`. `score` is ≥ 0; `distances` has one column. A NaN in any of these outputs is one; an infinite one or a
      logit of +inf scores +inf. Images with a number in them that is not finite (or beyond 1e15), or with a label
      outside of 0 … K−1, are left out of the fit; if no training image was of the predicted class, an image scores
      +inf.

    Raises:
      ValueError: an option outside of its range; in fitting, not as many logits as classes.
    """
    names, powers = tuple(names), tuple(powers)
    if not names or (dims is not None and len(dims) != len(names)):
        raise ValueError(f"layers {names}, dims {dims}: must be as many, at least 1")
    if not powers or min(powers) < 1:
        raise ValueError(f"powers {powers}: must be at least 1 each")
    if by not in ("predicted", "label"):
        raise ValueError(f"by {by!r}: must be 'predicted' or 'label'")
    if not 0 <= held_out < 1 or capacity < 1:
        raise ValueError(f"held_out={held_out}, capacity={capacity}: must lie in [0, 1) and be at least 1")

    def init(dim: int, classes: int) -> Stats:
        width = len(powers) * sum(dims or [dim] * len(names))
        least = jnp.full((classes, width), jnp.inf, jnp.float32)
        return Stats(jnp.zeros(classes, jnp.float32), least, -least, _reservoir.init(capacity, width + 1, classes))

    def layers(outputs: Outputs) -> list[jax.Array]:
        """Each float32[N, powers · D_l]."""
        return [jnp.concatenate(_roots(within(outputs, name), powers), -1) for name in names]

    def update(stats: Stats, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Stats:
        z, classes = read(outputs, least=2), stats.counts.size
        if z.shape[-1] != classes:
            raise ValueError(f"{z.shape[-1]} logits for {classes} classes: Gram needs one for each")
        keep = mask & (labels >= 0) & (labels < classes)
        given = jnp.concatenate(list(_flat(outputs).values()), -1, dtype=jnp.float32)
        keep = keep & (jnp.abs(given) <= LIMIT).all(-1)
        own = place_of_highest(z) if by == "predicted" else labels
        rows = jnp.concatenate([*layers(outputs), own[:, None]], -1, dtype=jnp.float32)
        rows = jnp.where(keep[:, None], rows, 0)
        aside = _reservoir.drawn(given, held_out)
        group = jnp.where(keep & ~aside, own, classes)  # the last one is thrown away
        least = jax.ops.segment_min(rows[:, :-1], group, classes + 1)[:-1]
        most = jax.ops.segment_max(rows[:, :-1], group, classes + 1)[:-1]
        count = jax.nn.one_hot(group, classes, dtype=jnp.float32).sum(0)
        one = _reservoir.update(stats.held_out, rows, own, keep & aside, known_by=given)
        return Stats(stats.counts + count, jnp.minimum(stats.least, least), jnp.maximum(stats.most, most), one)

    def merge(a: Stats, b: Stats) -> Stats:
        least, most = jnp.minimum(a.least, b.least), jnp.maximum(a.most, b.most)
        return Stats(a.counts + b.counts, least, most, _reservoir.merge(a.held_out, b.held_out))

    def finalize(stats: Stats) -> State:
        present = stats.counts > 0
        least, most = (jnp.where(present[:, None], x, 0) for x in (stats.least, stats.most))
        rows, own = stats.held_out.rows[:, :-1], stats.held_out.rows[:, -1].astype(jnp.int32)
        known = _reservoir.kept(stats.held_out) & present[own]
        left = jnp.where(known[None], _deviations(rows, least[own], most[own]), 0)
        expected = left.sum(-1) / jnp.maximum(known.sum(), 1).astype(jnp.float32)
        return State(least, most, jnp.where(expected > 0, expected, 1), present)

    def _deviations(rows: jax.Array, least: jax.Array, most: jax.Array) -> jax.Array:
        """δ, float32[layers, N]."""
        below = jnp.maximum(least - rows, 0) / jnp.maximum(jnp.abs(least + _ADDED), _TINY)
        above = jnp.maximum(rows - most, 0) / jnp.maximum(jnp.abs(most + _ADDED), _TINY)
        each = jnp.minimum(below + above, _LARGEST)
        if dims is None:
            return jnp.stack([part.sum(-1) for part in jnp.split(each, len(names), -1)])
        ends = [len(powers) * sum(dims[: i + 1]) for i in range(len(dims) - 1)]
        return jnp.stack([part.sum(-1) for part in jnp.split(each, ends, -1)])

    def _flat(outputs: Outputs) -> dict[str, jax.Array]:
        return {name: lax.collapse(outputs[name], 1) for name in names}

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        own = place_of_highest(read(outputs, least=2))
        deviations = _deviations(jnp.concatenate(layers(outputs), -1), state.least[own], state.most[own])
        value = (deviations / state.expected[:, None]).sum(0)
        value = jnp.where(state.present[own], value, jnp.inf)
        return guarded(value, {**_flat(outputs), "logits": outputs["logits"]}, *names, "logits")

    return Scorer.single(init, update, merge, finalize, score)


def _roots(x: jax.Array, powers: Sequence[int]) -> list[jax.Array]:
    """G of each power, float32[N, C], of features [N, C] or [N, h, w, C]."""
    x = lax.collapse(x, 1, -1)
    channel = lax.stop_gradient(jnp.abs(x).max(1, keepdims=True))  # G is the same whatever x is divided by
    largest = channel.max(-1, keepdims=True)
    by_channel, by_largest = (x / jnp.where(size > 0, size, 1) for size in (channel, largest))
    found = []
    for p in powers:
        total = (by_channel**p * (by_largest**p).sum(-1, keepdims=True)).sum(1)
        size = jnp.abs(total)
        root = jnp.where(size > _TINY, jnp.exp(jnp.log(jnp.where(size > _TINY, size, 1)) / p), 0)
        found.append(jnp.sign(total) * root * channel[:, 0] * largest[:, 0])
    return found
