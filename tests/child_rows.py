"""Run with four fake devices: rows that they share, scored by each and by one device. See test_blocks.py."""

from __future__ import annotations

import re

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from adjax import scorers
from adjax.scorers import _blocks
from adjax.sharding import make_mesh, on_own_rows

CASES = {"mahalanobis": {}, "knn": {"k": 3, "capacity": 50}, "gmm": {"components": 2}}
N = 4 * 75
"""Of these a device has nine tiles of 8 and three rows; blocks are smaller than that."""

if __name__ == "__main__":
    _blocks._LEAST = _blocks._MOST = 32
    rng = np.random.default_rng(0)
    x, mesh = rng.normal(size=(N, 5)).astype(np.float32), make_mesh(1)
    shared = jax.device_put(x, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    for name, options in CASES.items():
        scorer = scorers.make(name, **options)
        state = scorers.fit(scorer, {"features": x[:60]}, np.zeros(60, np.int32), 1)
        own = jax.jit(on_own_rows(scorer.score, mesh)).lower(state, {"features": shared}).compile()
        assert not re.search(r"all-gather|all-reduce|all-to-all|collective-permute", own.as_text()), name
        found = own(jax.device_put(state, NamedSharding(mesh, PartitionSpec())), {"features": shared})
        assert found.sharding.is_equivalent_to(shared.sharding, 1), found.sharding
        np.testing.assert_allclose(found, scorer.score(state, {"features": x}), rtol=1e-5, atol=1e-6, err_msg=name)
        print(f"{name} on four devices is that on one", flush=True)
    try:
        jax.eval_shape(on_own_rows(lambda _, rows: rows, mesh), 0, x[:6])
    except ValueError as error:
        print("refused:", *str(error).split(), flush=True)
