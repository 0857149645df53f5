"""The scorer of methods that score by themselves: `outputs["score"]` as it is, a distance from one class.

There is nothing to fit: calibration (`adjax.thresholds`) learns from the scores of the training images.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from adjax.types import Outputs, Scorer


def score() -> Scorer:
    """Scorer on `outputs["score"]`, float [N], higher = more anomalous.

    Returns:
      A `Scorer`. `distances` has one column, whatever the classes; a NaN stays one. Its statistics and its state are
      one number, `counts` float32[1]: how many images with a finite score it was fitted to.
    """

    def init(dim: int, classes: int) -> dict[str, jax.Array]:
        return {"counts": jnp.zeros(1, jnp.float32)}

    def update(stats: dict, outputs: Outputs, labels: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        known = mask & jnp.isfinite(outputs["score"])
        return {"counts": stats["counts"] + known.sum(keepdims=True).astype(jnp.float32)}

    def merge(a: dict, b: dict) -> dict[str, jax.Array]:
        return {"counts": a["counts"] + b["counts"]}

    def finalize(stats: dict) -> dict[str, jax.Array]:
        return stats

    def own(state: dict, outputs: Outputs) -> jax.Array:
        return outputs["score"].astype(jnp.float32)

    def distances(state: dict, outputs: Outputs) -> jax.Array:
        return own(state, outputs)[:, None]

    return Scorer(init, update, merge, finalize, own, distances)
