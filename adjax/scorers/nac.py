"""NAC-UE: share of the neurons whose state is one that training images had often enough.

    score(f, z) = −1/D Σ_d min(n_d(s_d) / r, 1)        s = σ(α f ∘ ∂KL(u ‖ p)/∂f),  p = softmax(z)

n_d(s) is how many training images have a state of neuron d in the same of M equal bins of (0, 1). Liu, Tian, Li & Yu,
"Neuron activation coverage: Rethinking out-of-distribution detection and generalization" (ICLR 2024). By the
features before the last layer the gradient has a closed form, W (p − u), so there is no backward pass; W is recovered
from features and logits (`adjax.scorers._head`). The paper adds the scores of several layers; this is the last one's.

States are counted among a bounded sample of the training images, since they are known only once W is: r is a number
of images of that sample.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT
from adjax.scorers import _head
from adjax.scorers._logits import guarded, read
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      kernel: float32[D, L], W.
      coverage: float32[D, M], min(n / r, 1); NaN if there is no head to be found, −inf if there was no image.
    """

    kernel: jax.Array
    coverage: jax.Array


def nac(
    bins: int = 50,
    steepness: float = 100.0,
    enough: int = 50,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """NAC-UE on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], L ≥ 2, linear in them.

    Args:
      bins: M ≥ 2.
      steepness: α > 0.
      enough: r ≥ 1, images in a bin that cover it.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer`. `score` lies between −1 and 0, in steps of 1 / (D r); `distances` has one column. Numbers that are not
      finite, and fits to no image, score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    if bins < 2 or enough < 1:
        raise ValueError(f"bins={bins}, enough={enough}: must be at least 2 and 1")
    if not 0 < steepness < float("inf"):
        raise ValueError(f"steepness {steepness}: must be a positive number")
    init, update = _head.sampling(capacity, logits, feature)

    def places(weights: jax.Array, x: jax.Array, z: jax.Array) -> jax.Array:
        """int32[N, D], the bin of each neuron's state."""
        slope = jnp.matmul(jax.nn.softmax(z, -1) - 1 / z.shape[-1], weights.T, precision=EXACT)
        return jnp.clip(jnp.floor(bins * jax.nn.sigmoid(steepness * x * slope)), 0, bins - 1).astype(jnp.int32)

    def finalize(stats: Sample) -> State:
        x, z, known = _head.rows(stats, logits)
        layer = _head.solve(x, z, known, kernel)
        place, neuron = places(layer.kernel, x, z), jnp.arange(x.shape[1])[None]
        count = jnp.zeros((x.shape[1], bins), jnp.float32).at[neuron, place].add(known[:, None].astype(jnp.float32))
        coverage = jnp.where(jnp.isnan(layer.bias).any(), jnp.nan, jnp.minimum(count / enough, 1))
        return State(layer.kernel, jnp.where(known.any(), coverage, -jnp.inf))

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        x = within(outputs, feature)
        place = places(state.kernel, x, read(outputs, least=2))
        covered = state.coverage[jnp.arange(x.shape[1])[None], place]
        return guarded(-covered.mean(-1), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
