"""beartype as tests want it: NumPy's numbers and arrays will do for Python's and JAX's, and an int for a float."""

from __future__ import annotations

import jax
import numpy as np
from beartype import BeartypeConf, FrozenDict, beartype

_ALIKE = {int: int | np.integer, float: float | int | np.number, jax.Array: jax.Array | np.ndarray}
check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict(_ALIKE)))
