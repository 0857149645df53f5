"""ViM: the residual of the features as a virtual logit, against the energy.

    score(f, z) = α ‖(I − V Vᵀ)(f − u)‖ − log Σ_k exp z_k        α = mean max_k z_k / mean ‖(I − V Vᵀ)(f − u)‖

Wang et al., "ViM: Out-of-distribution with virtual-logit matching" (CVPR 2022). V spans the leading directions of the
training features about u = −W⁺ b, the smallest features whose logits are all 0; α brings the residual to the size of a
logit over the training images. W and b are recovered from features and logits (`adjax.scorers._head`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT
from adjax.scorers import _head
from adjax.scorers._logits import energy, guarded, read
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import LIMIT, length, within
from adjax.types import Outputs, Scorer

_EPS = 2.0**-23
_LARGEST = 1e38


class State(NamedTuple):
    """Fitted state.

    Attributes:
      origin: float32[D], u above.
      outside: float32[D, D − components], the directions that V leaves out.
      alpha: float32[], ≥ 0; +inf if there was no image, NaN if there is no head to be found.
    """

    origin: jax.Array
    outside: jax.Array
    alpha: jax.Array


def vim(
    components: int | None = None,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """ViM on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      components: directions in V, 0 to D − 1; None: as in the paper, 1000 for D ≥ 1500, 512 for D ≥ 768, and D / 2.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`; `distances` has one column. Numbers that are not finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: components < 0, or in `init` not fewer than features; `init` for as many features as capacity; in
        fitting, another number of logits or a kernel of another shape.
    """
    if components is not None and components < 0:
        raise ValueError(f"components {components}: must be at least 0")

    def leading(dim: int) -> int:
        if components is not None:
            return components
        return 1000 if dim >= 1500 else 512 if dim >= 768 else dim // 2

    start, update = _head.sampling(capacity, logits, feature)

    def init(dim: int, classes: int) -> Sample:
        if leading(dim) >= dim:
            raise ValueError(f"{components} components of {dim} features leave no residual: must be fewer")
        return start(dim, classes)

    def finalize(stats: Sample) -> State:
        x, z, known = _head.rows(stats, logits)
        layer = _head.solve(x, z, known, kernel)
        bias = jnp.where(known.any(), _head.intercept(layer), 0)
        u = jnp.clip(-jnp.linalg.lstsq(layer.kernel.T, bias)[0], -LIMIT, LIMIT)
        rest = jnp.where(known[:, None], x - u[None], 0)
        _, _, directions = jnp.linalg.svd(rest, full_matrices=False)
        outside = directions[leading(len(u)) :].T
        residual = length(jnp.matmul(rest, outside, precision=EXACT)).sum()
        # Where training images leave no residual, rounding is all there is to match.
        residual = jnp.maximum(residual, 8 * _EPS * length(rest).sum())
        # The paper's α has the sign of the mean: negative, it would make outliers normal.
        logit = jnp.abs(jnp.where(known, z.max(-1), 0).sum())
        alpha = jnp.where(residual > 0, logit / jnp.where(residual > 0, residual, 1), 0)
        return State(u, outside, jnp.where(known.any(), alpha, jnp.inf))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, feature) - state.origin[None]
        virtual = state.alpha * length(jnp.matmul(x, state.outside, precision=EXACT))
        value = jnp.minimum(virtual, _LARGEST) + energy(read(outputs))
        value = jnp.where(jnp.isposinf(state.alpha), jnp.inf, value)  # not the NaN that inf · 0 is
        return guarded(value, outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
