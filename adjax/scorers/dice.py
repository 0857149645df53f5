"""DICE: the energy of logits to which only the weights that contribute most are left.

    score(f) = −T log Σ_k exp(z_k / T)        z = (M ⊙ W) f + b

M keeps the weights w_kd whose mean contribution w_kd · mean f_d over the training images is among the largest 10 % of
all. Sun & Li, "DICE: Leveraging sparsification for out-of-distribution detection" (ECCV 2022): the others add noise
alone. W and b are recovered from features and logits (`adjax.scorers._head`), and the mean is that of the same sample.
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _head
from adjax.scorers._head import Head
from adjax.scorers._logits import energy, guarded, positive
from adjax.scorers._order import quantile
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._shaping import share
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


def dice(
    pruned: float = 0.9,
    temperature: float = 1.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """DICE on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      pruned: share of the weights that is removed, in [0, 1). The paper takes 0.9 for CIFAR and 0.7 for ImageNet.
      temperature: T > 0.
      capacity, logits, feature, kernel: as of `ash`.

    Returns:
      A `Scorer` whose state is a `Head`; `distances` has one column. Numbers that are not finite, and fits to no image,
      score as in `ash`.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    share(pruned)
    positive(temperature)

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> Head:
        layer = _head.solve(*_head.rows(stats, logits), kernel)
        contribution = layer.origin[:, None] * layer.kernel
        kept = contribution > quantile(contribution, jnp.ones(len(contribution), bool), pruned, (0, 1))
        return Head(jnp.zeros_like(layer.origin), jnp.where(kept, layer.kernel, 0), _head.intercept(layer))

    def score(state: Head, outputs: Outputs) -> Float[Array, " N"]:
        z = _head.apply(state, within(outputs, feature))
        return guarded(energy(z, temperature), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
