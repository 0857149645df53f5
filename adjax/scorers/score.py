"""Identity scorer for methods that score by themselves: `outputs["score"]` as it is.

There is nothing to fit: calibration (`adjax.thresholds`) learns from the scores of the training images.
"""

from __future__ import annotations

import jax.numpy as jnp

from adjax.scorers._logits import unfitted
from adjax.types import Scorer


def score() -> Scorer:
    """Scorer on `outputs["score"]`, float [N], higher = more anomalous.

    Returns:
      A `Scorer` with nothing to fit. `distances` has one column, whatever the classes; a NaN stays one.
    """
    return unfitted(lambda outputs: outputs["score"].astype(jnp.float32))
