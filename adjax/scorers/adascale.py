"""AdaScale: SCALE or LTS with a share of activations for each image, by how far a small change of pixels moves them.

    score(f, z) = −log Σ_k exp z'_k        A: z' = b + exp(r) (z − b),  L: z' = r² z,  r = s₁ / s₂
    Q' = λ Σ_{d among the k₂ largest of f} |f̃_d − f_d| + Σ_{d among the k₁ largest of f} max(f̃_d, 0)
    p = p_low + (1 − F(Q')) (p_high − p_low)

with s₁ the sum of all features, s₂ that of the largest 1 − p of them, and F the distribution function of Q' over the
training images. f̃ are the features of `perturbed_trivially(images)`: those pixels moved that matter least for the
predicted class. Regmi, "AdaSCALE: Adaptive scaling for out-of-distribution detection" (2025).

    x̃ = x + ε sign(∇_x z_k*) on the o·HWC values where |∇_x z_k*| is smallest        k* the predicted class

Not in `SCORERS`: no network gives the features of changed images by itself. Add them to its outputs under `perturbed`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _head, _reservoir, _shaping
from adjax.scorers._logits import energy, guarded, read
from adjax.scorers._order import largest
from adjax.scorers._reservoir import Sample
from adjax.scorers._vectors import LIMIT, within
from adjax.scorers.odin import Network
from adjax.types import Outputs, PyTree, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      bias: float32[L], b: the logits where all features are 0; NaN if "A" finds no head, zeros for "L".
      levels: float32[capacity], Q' of training images in ascending order, +inf after the last.
      images: float32[1], how many there are.
    """

    bias: jax.Array
    levels: jax.Array
    images: jax.Array


def adascale(
    scaling: Literal["A", "L"] = "A",
    low: float = 0.75,
    high: float = 0.85,
    moved: float = 0.01,
    summed: float = 0.05,
    weight: float = 10.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    perturbed: str = "perturbed",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """AdaScale on `outputs[feature]`, `outputs[perturbed]`, float [N, D] each, and `outputs["logits"]`, float [N, L].

    Args:
      scaling: "A", of activations, in which the logits have to be linear; "L", of logits.
      low, high: p_low and p_high, the shares of features that s₂ leaves out, 0 ≤ low ≤ high < 1.
      moved, summed: k₂ and k₁ as shares of the features, in (0, 1]; one always counts.
      weight: λ ≥ 0.
      capacity: images that the fit may keep, > D.
      logits, feature, kernel: as of `ash`.
      perturbed: name of the features of images changed by `perturbed_trivially`.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, also among the perturbed features, and fits
      to no image, score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    if scaling not in ("A", "L"):
        raise ValueError(f"scaling {scaling!r}: must be 'A' or 'L'")
    if not 0 <= low <= high < 1:
        raise ValueError(f"low {low} and high {high}: must be shares, 0 ≤ low ≤ high < 1")
    for name, value in (("moved", moved), ("summed", summed)):
        if not 0 < value <= 1:
            raise ValueError(f"{name} {value}: must be a share in (0, 1]")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"weight {weight}: must be at least 0, and finite")

    def level(outputs: Outputs) -> jax.Array:
        """float32[N], Q'."""
        x, other = within(outputs, feature), within(outputs, perturbed)
        k1, k2 = (max(int(x.shape[1] * share), 1) for share in (summed, moved))
        shift = jnp.where(largest(x, k2), jnp.abs(other - x), 0).sum(-1)
        return weight * shift + jnp.where(largest(x, k1), jnp.maximum(other, 0), 0).sum(-1)

    def init(dim: int, classes: int) -> Sample:
        wide = classes if logits is None else logits
        return _head.init(capacity, dim, classes, wide + 1)

    def update(stats: Sample, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Sample:
        wide = stats.counts.size if logits is None else logits
        own = guarded(level(outputs), outputs, perturbed)[:, None]
        widened = {feature: outputs[feature], "logits": jnp.concatenate([outputs["logits"].astype(own.dtype), own], -1)}
        return _head.update(stats, widened, labels, mask, feature, wide + 1)

    def finalize(stats: Sample) -> State:
        wide = stats.counts.size if logits is None else logits
        x, z, known = _head.rows(stats, wide + 1)
        levels = jnp.sort(jnp.where(known, z[:, -1], jnp.inf))
        count = known.sum(keepdims=True).astype(jnp.float32)
        if scaling == "L":
            return State(jnp.zeros(wide, jnp.float32), levels, count)
        bias = _head.intercept(_head.solve(x, z[:, :-1], known, kernel))
        return State(jnp.where(count > 0, bias, 0), levels, count)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = jnp.maximum(within(outputs, feature), 0)
        dim = x.shape[1]
        below = jnp.searchsorted(state.levels, level(outputs), side="right").astype(jnp.float32)
        pruned = low + (1 - below / jnp.maximum(state.images, 1)) * (high - low)
        kept = jnp.maximum(dim - jnp.round(dim * pruned), 1)
        ratio = _shaping.ratio(x, jnp.where(largest(x, kept), x, 0), kept[:, None])
        larger = jnp.exp(ratio) if scaling == "A" else jnp.square(ratio)
        rest = jnp.clip(larger * (read(outputs) - state.bias[None]), -LIMIT, LIMIT)
        value = jnp.where(state.images > 0, energy(state.bias[None] + rest), jnp.inf)
        return guarded(value, outputs, feature, perturbed, "logits")

    return Scorer.single(init, update, _reservoir.merge, finalize, score)


def perturbed_trivially(
    network: Network, params: PyTree, images: jax.Array, share: float = 0.05, epsilon: float = 0.5
) -> jax.Array:
    """Images whose least important pixels are moved.

    Args:
      network: `(params, images) -> outputs` with "logits" [N, K]; what it says of an image must not depend on the
        others.
      params: of the network.
      images: float [N, H, W, C], as the network takes them.
      share: o in (0, 1], of the HWC values.
      epsilon: ε, in units of `images`; the paper's 0.5 is for images divided by their standard deviation.

    Returns:
      float [N, H, W, C]. An image whose gradient is NaN becomes NaN.

    Raises:
      ValueError: share outside of its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share {share}: must lie in (0, 1]")

    def largest(images: jax.Array) -> jax.Array:
        return read(network(params, images)).max(-1).sum()

    slope = jax.grad(largest)(images).reshape(images.shape[0], -1)
    size = jnp.abs(slope)
    count = max(int(slope.shape[1] * share), 1)
    place = lax.top_k(-jnp.where(jnp.isnan(size), jnp.inf, size), count)[1]
    rows = jnp.arange(slope.shape[0])[:, None]
    step = jnp.zeros_like(slope).at[rows, place].set(jnp.sign(slope[rows, place]), unique_indices=True)
    step = jnp.where(jnp.isnan(slope).any(-1, keepdims=True), jnp.nan, step)
    return images + epsilon * step.reshape(images.shape)
