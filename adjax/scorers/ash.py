"""ASH: the energy of activations pruned to the largest and rescaled.

    score(f) = −T log Σ_k exp(z_k / T)        z = W g(f) + b

g keeps the largest features of each image, 10 % of them, and sets the others to 0. With s₁ the sum of all features and
s₂ that of those kept, g multiplies these by exp(s₁ / s₂) ("s"), leaves them as they are ("p"), or makes them all equal,
their sum s₁ ("b"). Djurisic et al., "Extremely simple activation shaping for out-of-distribution detection" (ICLR
2023). W and b are recovered from features and logits (`adjax.scorers._head`).

It is made for features ≥ 0, for which s₁ / s₂ lies between 1 and D / kept; others are held to that.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax.scorers import _head, _shaping
from adjax.scorers._head import Head
from adjax.scorers._logits import energy, guarded, positive
from adjax.scorers._order import largest
from adjax.scorers._reservoir import Sample, merge
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


def ash(
    shaping: Literal["s", "p", "b"] = "s",
    pruned: float = 0.9,
    temperature: float = 1.0,
    capacity: int = 6000,
    logits: int | None = None,
    feature: str = "features",
    kernel: ArrayLike | None = None,
) -> Scorer:
    """ASH on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, L], linear in them.

    Args:
      shaping: "s", "p" or "b", as above.
      pruned: share of the features that is removed, in [0, 1); one is always kept. The paper takes 0.9 for "s", 0.6 for
        "p" and 0.65 for "b" (ImageNet).
      temperature: T > 0.
      capacity: images that the fit may keep, > D.
      logits: L; None: as many as there are classes.
      feature: name of the network output that the logits are linear in.
      kernel: float[D, L], the weights of the last layer, if at hand; None: recovered from features and logits, which
        takes those of features that are 0 on all training images for 0.

    Returns:
      A `Scorer` whose state is a `Head`; `distances` has one column. A NaN among features or logits is one; an infinite
      feature or a logit of +inf scores +inf. Images with a number that is not finite (or beyond 1e15), or with a label
      outside of 0 … K−1, are left out of the fit; fitted to no image at all, every score is +inf, and to logits that
      are not linear in the features, NaN.

    Raises:
      ValueError: an option outside of its range; `init` for as many features as capacity; in fitting, another number of
        logits or a kernel of another shape.
    """
    if shaping not in ("s", "p", "b"):
        raise ValueError(f"shaping {shaping!r}: must be 's', 'p' or 'b'")
    _shaping.share(pruned)
    positive(temperature)

    init, update = _head.sampling(capacity, logits, feature)

    def finalize(stats: Sample) -> Head:
        return _head.solve(*_head.rows(stats, logits), kernel)

    def shaped(x: jax.Array) -> jax.Array:
        count = _shaping.count(x.shape[1], pruned)
        kept = largest(x, count)
        if shaping == "b":
            return jnp.where(kept, x.sum(-1, keepdims=True) / count, 0)
        some = jnp.where(kept, x, 0)
        if shaping == "p":
            return some
        return some * jnp.exp(_shaping.ratio(x, some, count))

    def score(state: Head, outputs: Outputs) -> Float[Array, " N"]:
        z = _head.apply(state, shaped(within(outputs, feature)))
        return guarded(energy(z, temperature), outputs, feature, "logits")

    return Scorer.single(init, update, merge, finalize, score)
