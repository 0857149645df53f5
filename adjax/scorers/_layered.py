"""One scorer of places for each of several layers, at the layer's own resolution; their weighted mean is the map.

    map(f) = Σ_l w_l map_l(f_l) / u_l        score(f) = max_p map(f)_p

with weights w_l that add up to 1, and u_l the unit of layer l: what the scorer's own distance of a normal patch is
about. The layers side by side, as in PaDiM and PatchCore, are one long feature, in which the deepest and widest
decides: it sees what a picture shows, and overlooks a small defect. Apart, each has its say; fewer covariances are
fitted, and fewer distances computed, since a deep layer has few places. Each map is first averaged over 3×3 places,
zeros beyond the edge, as for `patches` (`adjax.models._patches`); those of the layers are brought to the size of the
first (bilinear).

Reference:
  Defard et al., "PaDiM" (ICPR Workshops 2021), and Roth et al., "Towards total recall in industrial anomaly detection"
  (CVPR 2022), for the layers side by side; Wang et al., "Student-teacher feature pyramid matching for anomaly
  detection" (BMVC 2021), for maps of single layers that are combined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from adjax._numerics import averaged, enlarged, highest
from adjax.scorers._vectors import LIMIT
from adjax.types import Outputs, PyTree, Scorer


def layered(
    make: Callable[[str], Scorer],
    features: Sequence[str],
    weights: Sequence[float] | None,
    unit: Callable[[PyTree], Any],
    smooth: bool,
) -> Scorer:
    """Combines a scorer of places on several maps of a network.

    Args:
      make: the scorer that scores the output of a name, float [N, h, w, C].
      features: names of the outputs, at least one; the first has the finest grid.
      weights: w, > 0, of each feature, up to a common factor; None: equal ones.
      unit: u of a fitted state, > 0.
      smooth: average the combined map over 3×3 places.

    Returns:
      A `Scorer`; an image left out of the fit of one layer is left out of all.

    Raises:
      ValueError: no features, or one twice; weights that are not as many, or not positive; in fitting, an
        output that is not a map.
    """
    names = tuple(features)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"feature {names}: name at least one output, and none twice")
    share = np.ones(len(names)) if weights is None else np.asarray(weights, float)
    if share.shape != (len(names),) or not (np.isfinite(share) & (share > 0)).all():
        raise ValueError(f"weights {weights}: give a positive number for each of the features {', '.join(names)}")
    share = share / share.sum()
    parts = [make(name) for name in names]

    def init(shapes: Sequence[tuple[int, ...]], classes: int) -> tuple[PyTree, ...]:
        for name, shape in zip(names, shapes, strict=True):
            if not isinstance(shape, tuple) or len(shape) != 3:
                raise ValueError(f"feature {name!r} of shape {shape} has no places: name maps [N, h, w, C]")
        return tuple(part.init(shape, classes) for part, shape in zip(parts, shapes, strict=True))

    def update(stats: tuple[PyTree, ...], outputs: Outputs, labels: jax.Array, mask: jax.Array) -> tuple[PyTree, ...]:
        pooled = _pooled(outputs)
        for x in pooled.values():
            mask = mask & (jnp.abs(x) <= LIMIT).all((1, 2, 3))
        return tuple(part.update(own, pooled, labels, mask) for part, own in zip(parts, stats, strict=True))

    def merge(a: tuple[PyTree, ...], b: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.merge(*own) for part, *own in zip(parts, a, b, strict=True))

    def finalize(stats: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.finalize(own) for part, own in zip(parts, stats, strict=True))

    def maps(state: tuple[PyTree, ...], outputs: Outputs) -> Float[Array, "N ..."]:
        pooled = _pooled(outputs)
        size = pooled[names[0]].shape[1:3]
        found = jnp.zeros((), jnp.float32)
        for part, own, weight in zip(parts, state, share.tolist(), strict=True):
            assert part.maps is not None
            found = found + weight * _enlarged(part.maps(own, pooled) / unit(own), size)
        return averaged(found) if smooth else found

    def score(state: tuple[PyTree, ...], outputs: Outputs) -> Float[Array, " N"]:
        return highest(maps(state, outputs), (1, 2))

    def _pooled(outputs: Outputs) -> dict[str, jax.Array]:
        return {name: averaged(outputs[name].astype(jnp.float32), zeros=True) for name in names}

    return Scorer.single(init, update, merge, finalize, score, maps=maps, sized_by=names)


def _enlarged(maps: jax.Array, size: Sequence[int]) -> jax.Array:
    """As `enlarged`, +inf in all of a map that has one: a weight of zero times infinity is NaN."""
    endless = jnp.isposinf(maps)
    return jnp.where(endless.any((1, 2), keepdims=True), jnp.inf, enlarged(jnp.where(endless, 0, maps), size))
