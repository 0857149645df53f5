"""Maximum of several scorers of one network, each standardised on held-out normal images.

    score(f) = max_i (s_i(f) − m_i) / d_i

A pooled feature sees a picture that shows something else, a map of patches a small defect: either is enough. m_i and
d_i are location and scale of scorer i's scores over *unseen* normal images, since training scores are too low by as
much as a scorer overfits: `adjax.auto.select` finds them, and they are options, as all that is decided before
fitting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adjax._numerics import highest
from adjax.types import Outputs, PyTree, Scorer


def fused(
    names: Sequence[str],
    offsets: Sequence[float],
    scales: Sequence[float],
    options: Sequence[Mapping[str, Any] | Sequence[tuple[str, Any]]] | None = None,
) -> Scorer:
    """The highest of several scorers.

    Args:
      names: in `adjax.scorers.SCORERS`, of scorers with one distance per image.
      offsets: m_i.
      scales: d_i > 0.
      options: of each; None: none.

    Returns:
      A `Scorer`; `distances` has one column, in deviations of unseen normal images. `maps` is the highest of those that
      have places, each at the finest grid of them (nearest); None if none has. An image that is NaN to one of them
      scores NaN.

    Raises:
      ValueError: no names, not as many of the others, or a scale that is not positive.
    """
    from adjax.scorers import make  # when called: the registry knows this file

    names = tuple(names)
    each = [dict(o) for o in (options or [{}] * len(names))]
    m, d = np.asarray(offsets, np.float32), np.asarray(scales, np.float32)
    if not names or not len(names) == len(each) == len(m) == len(d):
        raise ValueError(f"names {names}, options {options}, offsets {offsets}, scales {scales}: must be as many")
    if not (d > 0).all() or not np.isfinite(m).all():
        raise ValueError(f"offsets {offsets}, scales {scales}: must be finite, and scales positive")
    parts = [make(name, **o) for name, o in zip(names, each, strict=True)]

    def init(shapes: int | Sequence[Any], classes: int) -> tuple[PyTree, ...]:
        shapes = [shapes] * len(parts) if isinstance(shapes, int) else shapes
        return tuple(part.init(shape, classes) for part, shape in zip(parts, shapes, strict=True))

    def update(stats: tuple[PyTree, ...], outputs: Outputs, labels: jax.Array, mask: jax.Array) -> tuple[PyTree, ...]:
        return tuple(part.update(own, outputs, labels, mask) for part, own in zip(parts, stats, strict=True))

    def merge(a: tuple[PyTree, ...], b: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.merge(*own) for part, *own in zip(parts, a, b, strict=True))

    def finalize(stats: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.finalize(own) for part, own in zip(parts, stats, strict=True))

    def score(state: tuple[PyTree, ...], outputs: Outputs) -> Float[Array, " N"]:
        return _highest(parts[i].score(own, outputs) for i, own in enumerate(state))

    def maps(state: tuple[PyTree, ...], outputs: Outputs) -> Float[Array, "N ..."]:
        found = [p.maps(own, outputs) if p.maps else None for p, own in zip(parts, state, strict=True)]
        if not any(places(x) for x in found):
            return _highest(found)
        height, width = np.max([x.shape[1:] for x in found if places(x)], axis=0).tolist()

        def enlarged(x: jax.Array) -> jax.Array:
            rows, columns = (
                (2 * np.arange(n) + 1) * few // (2 * n) for n, few in zip((height, width), x.shape[1:], strict=True)
            )
            return x[:, rows[:, None], columns]

        return _highest(enlarged(x) if places(x) else None for x in found)

    def places(x: jax.Array | None) -> TypeGuard[jax.Array]:
        return x is not None and x.ndim == 3  # of one patch per image there is a number

    def _highest(values) -> jax.Array:
        return highest(jnp.stack([(x - m[i]) / d[i] for i, x in enumerate(values) if x is not None]), 0)

    def unseen(stats: tuple[PyTree, ...], state: tuple[PyTree, ...], outputs: Outputs, labels: jax.Array) -> jax.Array:
        each = zip(left_out, stats, state, strict=True)
        return _highest(far(own, fit, outputs, labels)[:, 0] for far, own, fit in each if far)[:, None]

    left_out = [part.unseen for part in parts]
    placed = any(part.maps is not None for part in parts)
    sized_by = tuple(part.sized_by for part in parts)
    fewest = max(part.fewest for part in parts)
    made = Scorer.single(init, update, merge, finalize, score, sized_by=sized_by, fewest=fewest)
    return made._replace(unseen=unseen if all(left_out) else None, maps=maps if placed else None)
