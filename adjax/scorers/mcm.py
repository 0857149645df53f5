"""MCM: maximum concept matching, the softmax of the cosines to one concept vector per class.

    score(f) = 1 − max_k p_k        p = softmax_k(cos(f, c_k) / τ)

Ming et al., "Delving into out-of-distribution detection with vision-language representations" (NeurIPS 2022). There c_k
is what a text encoder says of "a photo of a {class}": give it as `concepts`. Where there is no text encoder, c_k is the
mean feature of the training images of class k, which is ours and not the paper's.

1 − p is taken as the sum of the other probabilities, which keeps its digits where p is near 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from adjax._numerics import EXACT, place_of_highest
from adjax.scorers import _class_means
from adjax.scorers._class_means import Means
from adjax.scorers._logits import guarded, positive
from adjax.scorers._vectors import direction, within
from adjax.types import Outputs, Scorer


class State(NamedTuple):
    """Fitted state.

    Attributes:
      concepts: float32[K, D], directions.
      present: bool[K], classes that have one; no image matches the others.
    """

    concepts: jax.Array
    present: jax.Array


def mcm(temperature: float = 1.0, feature: str = "features", concepts: ArrayLike | None = None) -> Scorer:
    """MCM on `outputs[feature]`, float [N, D], of at least 2 classes.

    Args:
      temperature: τ > 0; the paper finds that 1 does.
      feature: name of the network output to score.
      concepts: float[K, D], vectors of any length in the space of the features; None: class means.

    Returns:
      A `Scorer`. `score` lies between 0 and 1 − 1/K; `distances` has one column. A NaN among the features is one, an
      infinite one scores +inf. Rows with a feature that is not finite (or beyond 1e15), or with a label outside of
      0 … K−1, are left out of the class means; fitted to no row at all, every score is +inf.

    Raises:
      ValueError: τ not positive; `init` for one class, or for other numbers of classes or features than `concepts` has.
    """
    positive(temperature)

    def init(dim: int, classes: int) -> Means:
        if classes < 2:
            raise ValueError(f"{classes} class can't be compared: MCM needs at least 2")
        if concepts is not None and np.shape(concepts) != (classes, dim):
            raise ValueError(f"concepts of shape {np.shape(concepts)}: must be {(classes, dim)}, one per class")
        return _class_means.init(dim, classes)

    def update(stats: Means, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> Means:
        return _class_means.update(stats, outputs[feature], labels, mask)

    def finalize(stats: Means) -> State:
        if concepts is not None:
            given = jnp.asarray(concepts, jnp.float32)
            return State(direction(given), jnp.full(len(given), True) & (stats.counts.sum() > 0))
        return State(direction(stats.anchor[None] + stats.mean), stats.counts > 0)

    def score(state: State, outputs: Outputs) -> Float[Array, " N"]:
        cosine = jnp.matmul(direction(within(outputs, feature)), state.concepts.T, precision=EXACT)
        z = jnp.where(state.present[None], cosine / temperature, -jnp.inf)
        likeliest = jnp.arange(z.shape[-1])[None] == place_of_highest(z)[:, None]
        others = jnp.where(likeliest, 0, jax.nn.softmax(z, -1)).sum(-1)
        return guarded(jnp.where(state.present.any(), others, jnp.inf), outputs, feature)

    return Scorer.single(init, update, _class_means.merge, finalize, score)
