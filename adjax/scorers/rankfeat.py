"""RankFeat: the energy of the logits without the dominant singular vectors of each image's feature map.

    score(X, z) = −T log Σ_k exp(z'_k / T)        z' = z − W X₁ᵀ 1 / P,  X₁ = σ₁ u₁ v₁ᵀ

of a map X with P places and C channels, whose mean over places are the features that the last layer takes. Song, Sebe &
Wang, "RankFeat: Rank-1 feature removal for out-of-distribution detection" (NeurIPS 2022): σ₁ is larger for outliers. W
is recovered from features and logits (`adjax.scorers._head`). A vector is a map of one place, of which nothing would be
left: at least two are needed.

u₁ is found by squaring the matrix of places' products again and again, as 1024 power iterations would: exact in float32
unless σ₂ is within 1 % of σ₁.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT
from adjax.scorers import _head
from adjax.scorers._logits import energy, guarded, positive, read
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import LIMIT, direction, within
from adjax.types import Outputs, Scorer

_SQUARINGS = 10


class State(NamedTuple):
    """Fitted state.

    Attributes:
      kernel: float32[C, L]; NaN if there is no head to be found.
      present: bool[1], whether there was any image.
    """

    kernel: jax.Array
    present: jax.Array


def rankfeat(
    temperature: float = 1.0,
    capacity: int = 6000,
    logits: int | None = None,
    places: str = "patches",
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """RankFeat on `outputs[places]`, float [N, h, w, C], its mean `outputs[feature]`, float [N, C], and "logits".

    Args:
      temperature: T > 0.
      capacity, logits, kernel: as of `ash`.
      places: name of the map, of at least two places.
      feature: name of its mean over places, in which `outputs["logits"]`, float [N, L], are linear.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape; in scoring, a map of one place, or of other channels than features.
    """
    positive(temperature)

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> State:
        layer = _head.solve(*_head.rows(stats, logits), kernel)
        found = jnp.where(jnp.isnan(layer.bias)[None], jnp.nan, layer.kernel)
        return State(found, ~jnp.isneginf(layer.bias[:1]))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, places)
        if x.ndim != 4 or x.shape[1] * x.shape[2] < 2 or x.shape[-1] != outputs[feature].shape[-1]:
            raise ValueError(
                f"{places} of shape {x.shape}: RankFeat needs at least two places, of {outputs[feature].shape[-1]} "
                "channels as features have: [N, h, w, C]"
            )
        removed = jnp.matmul(dominant(lax.collapse(x, 1, -1)), state.kernel, precision=EXACT)
        z = read(outputs) - jnp.clip(removed, -LIMIT, LIMIT)
        value = jnp.where(state.present, energy(z, temperature), jnp.inf)
        return guarded(value, outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)


def dominant(x: jax.Array) -> jax.Array:
    """Mean over places of the best approximation of rank 1.

    Args:
      x: float32[N, P, C].

    Returns:
      float32[N, C]; zeros for a map of zeros, NaN for one with a NaN.
    """
    largest = lax.stop_gradient(jnp.abs(x).max((1, 2), keepdims=True))  # no square over- or underflows
    unit = x / jnp.where(largest == 0, 1, largest)
    products = jnp.matmul(unit, unit.transpose(0, 2, 1), precision=EXACT)
    for _ in range(_SQUARINGS):
        size = jnp.trace(products, axis1=1, axis2=2)[:, None, None]
        products = products / jnp.where(size <= 0, 1, size)
        products = jnp.matmul(products, products, precision=EXACT)
    # Its columns are multiples of u₁: the one of the place that has most of it keeps its digits.
    place = jnp.diagonal(products, axis1=1, axis2=2).argmax(-1)
    u = direction(jnp.take_along_axis(products, place[:, None, None], 2)[..., 0])
    return u.mean(-1, keepdims=True) * jnp.matmul(u[:, None], x, precision=EXACT)[:, 0]
