"""SHE: Hopfield energy of the features against the pattern stored for the predicted class.

    score(f, z) = −f · S_k*        k* the predicted class

with S_k the mean features of the training images of class k that are classified rightly. Zhang et al.,
"Out-of-distribution detection based on in-distribution data patterns memorization with modern Hopfield energy" (ICLR
2023), in the simplified form: one stored pattern per class.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from adjax._numerics import place_of_highest
from adjax.scorers import _class_means
from adjax.scorers._class_means import Means
from adjax.scorers._logits import guarded, read
from adjax.scorers._vectors import within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      patterns: float32[K, D].
      present: bool[K], classes of which an image was classified rightly; no image resembles the others.
    """

    patterns: jax.Array
    present: jax.Array


def she(feature: str = "features") -> Scorer:
    """SHE on `outputs[feature]`, float [N, D], and `outputs["logits"]`, float [N, K], one for each class.

    Args:
      feature: name of the network output to score.

    Returns:
      A `Scorer`. `score` has either sign, and is +inf where the predicted class has no pattern; `distances` has one
      column. A NaN among features or logits is one; an infinite feature or a logit of +inf scores +inf. Rows with a
      feature that is not finite (or beyond 1e15), with a NaN among the logits or a label outside of 0 … K−1, are left
      out of the fit.

    Raises:
      ValueError: in fitting, not as many logits as classes.
    """

    def update(stats: Means, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Means:
        z = read(outputs)
        if z.shape[-1] != stats.counts.size:
            raise ValueError(f"{z.shape[-1]} logits for {stats.counts.size} classes: SHE needs one for each")
        right = (place_of_highest(z) == labels) & ~jnp.isnan(z).any(-1)
        return _class_means.update(stats, outputs[feature], labels, mask & right)

    def finalize(stats: Means) -> State:
        return State(stats.anchor[None] + stats.mean, stats.counts > 0)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        answer = place_of_highest(read(outputs))
        value = -(within(outputs, feature) * state.patterns[answer]).sum(-1)
        return guarded(jnp.where(state.present[answer], value, jnp.inf), outputs, feature, "logits")

    return Scorer.single(_class_means.init, update, _class_means.merge, finalize, score)
