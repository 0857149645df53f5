"""One scorer of places for each of several layers, at the layer's own resolution; their mean is the map.

    map(f) = 1/L Σ_l map_l(f_l) / u_l        score(f) = max_p map(f)_p, or the mean of its highest share

with u_l the unit of layer l: what the scorer's own distance of a normal patch is about. The layers side by side, as in
PaDiM and PatchCore, are one long feature, in which the deepest and widest decides: it sees what a picture shows, and
overlooks a small defect. Apart, each has its say; fewer covariances are fitted, and fewer distances computed, since a
deep layer has few places. Each map is first averaged over 3×3 places, zeros beyond the edge, as for `patches`
(`adjax.models._patches`); those of the layers are brought to the size of the finest (bilinear). A centred map has its
image's own mean subtracted before: light and contrast move all places of a picture alike, and hide what is odd in
one. What is odd of the picture as a whole is then for another scorer to see: that of `overall`, the means. Or a deep
layer w, which knows what pictures show, tells it alone: half of its mean takes the place of the map's own,

    map(f) − mean_p map(f)_p + ½ mean_p map_w(f_w)_p / u_w

so that more pictures of something else are found; where defects are is less clear the more of it there is.

Reference:
  Defard et al., "PaDiM" (ICPR Workshops 2021), and Roth et al., "Towards total recall in industrial anomaly detection"
  (CVPR 2022), for the layers side by side; Wang et al., "Student-teacher feature pyramid matching for anomaly
  detection" (BMVC 2021), for maps of single layers that are combined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import averaged, enlarged, top_mean
from adjax.scorers import _reservoir
from adjax.scorers._blocks import by_blocks
from adjax.scorers._vectors import LIMIT
from adjax.types import Outputs, PyTree, Scorer

WHOLE = 0.5
"""Of the mean of a picture's map of the deep layer; see above."""
SOURCE = "_source"
"""Name under which scorers of layers get a number of each image (`adjax.scorers._reservoir.source_of`)."""


def layered(
    make: Callable[[str], Scorer],
    features: Sequence[str],
    unit: Callable[[PyTree], Any],
    smooth: bool,
    top: float,
    centred: bool,
    whole: str | None = None,
) -> Scorer:
    """Combines a scorer of places on several maps of a network.

    Args:
      make: the scorer that scores the output of a name, float [N, h, w, C].
      features: names of the outputs, at least one.
      unit: u of a fitted state, > 0.
      smooth: average the combined map over 3×3 places.
      top: share of the places whose mean is the score, in [0, 1]; 0 is the maximum.
      centred: subtract from every map its mean over the places of an image.
      whole: w above, of `features`; None: the map's own mean stays.

    Returns:
      A `Scorer`; an image left out of the fit of one layer is left out of all.

    Raises:
      ValueError: no features, or one twice; `whole` none of them, or centred; in fitting, an output that is not a map.
    """
    names = tuple(features)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"feature {names}: name at least one output, and none twice")
    if whole is not None and (centred or whole not in names):
        raise ValueError(f"whole={whole!r}, centred={centred}: must be one of feature {names}, and of maps not centred")
    parts = [make(name) for name in names]
    left_out = [part.unseen_maps for part in parts]

    def init(shapes: Sequence[tuple[int, ...]], classes: int) -> tuple[PyTree, ...]:
        for name, shape in zip(names, shapes, strict=True):
            if not isinstance(shape, tuple) or len(shape) != 3:
                raise ValueError(f"feature {name!r} of shape {shape} has no places: name maps [N, h, w, C]")
        return tuple(part.init(shape, classes) for part, shape in zip(parts, shapes, strict=True))

    def update(stats: tuple[PyTree, ...], outputs: Outputs, labels: jax.Array, mask: jax.Array) -> tuple[PyTree, ...]:
        pooled = _pooled(outputs)
        for name in names:
            mask = mask & (jnp.abs(pooled[name]) <= LIMIT).all((1, 2, 3))
        return tuple(part.update(own, pooled, labels, mask) for part, own in zip(parts, stats, strict=True))

    def merge(a: tuple[PyTree, ...], b: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.merge(*own) for part, *own in zip(parts, a, b, strict=True))

    def finalize(stats: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return tuple(part.finalize(own) for part, own in zip(parts, stats, strict=True))

    def maps(state: tuple[PyTree, ...], outputs: Outputs) -> Float[Array, "N ..."]:
        pooled = _pooled(outputs)
        return _combined(state, [part.maps(own, pooled) for part, own in zip(parts, state, strict=True) if part.maps])

    def score(state: tuple[PyTree, ...], outputs: Outputs) -> Float[Array, " N"]:
        return top_mean(maps(state, outputs), top)

    def unseen_maps(
        stats: tuple[PyTree, ...], state: tuple[PyTree, ...], outputs: Outputs, labels: jax.Array
    ) -> jax.Array:
        def block(of: tuple[Outputs, jax.Array]) -> jax.Array:
            pooled, number = _pooled(of[0]), of[1]
            each = zip(left_out, stats, state, strict=True)
            return _combined(state, [maps(own, fit, pooled, number) for maps, own, fit in each if maps])

        return by_blocks(block, ({name: outputs[name] for name in names}, labels))

    def unseen(stats: tuple[PyTree, ...], state: tuple[PyTree, ...], outputs: Outputs, labels: jax.Array) -> jax.Array:
        return top_mean(unseen_maps(stats, state, outputs, labels), top)[:, None]

    def _combined(state: tuple[PyTree, ...], each: Sequence[jax.Array]) -> jax.Array:
        found = {name: x / unit(own) for name, x, own in zip(names, each, state, strict=True)}
        size = max((x.shape[1:3] for x in found.values()), key=math.prod)
        mean = jnp.stack([_enlarged(x, size) for x in found.values()]).mean(0)
        if whole is not None:
            own, deep = (x.mean((1, 2), keepdims=True) for x in (mean, found[whole]))
            mean = jnp.where(jnp.isposinf(mean), mean, mean - own + WHOLE * deep)
        return averaged(mean) if smooth else mean

    def _pooled(outputs: Outputs) -> dict[str, jax.Array]:
        each = {name: outputs[name].astype(jnp.float32) for name in names}
        if centred:
            each = {name: x - x.mean((1, 2), keepdims=True) for name, x in each.items()}
        pooled = {name: averaged(x, zeros=True) for name, x in each.items()}
        return {**pooled, SOURCE: _reservoir.source_of(outputs[names[0]])}

    made = Scorer.single(init, update, merge, finalize, score, maps=maps, sized_by=names)
    return made._replace(unseen=unseen, unseen_maps=unseen_maps) if all(left_out) else made


def check_several(feature: str, centred: bool, whole: str | None) -> None:
    """Refuses what only maps of several features have: one alone is `patches`, averaged before, with zeros beyond its
    edge.

    Raises:
      ValueError: centred, or whole is named.
    """
    if centred or whole is not None:
        raise ValueError(
            f"centred={centred}, whole={whole!r}, feature={feature!r}: only several have either; give ({feature!r},)"
        )


def _enlarged(maps: jax.Array, size: Sequence[int]) -> jax.Array:
    """As `enlarged`, +inf in all of a map that has one: a weight of zero times infinity is NaN."""
    endless = jnp.isposinf(maps)
    return jnp.where(endless.any((1, 2), keepdims=True), jnp.inf, enlarged(jnp.where(endless, 0, maps), size))
