"""One of two processes over loopback, which fits a scorer to every other batch; together they have the fit to all.

Arguments: process number, port.
"""

from __future__ import annotations

import sys

import jax
import numpy as np

PROCESS, PORT = int(sys.argv[1]), sys.argv[2]

if __name__ == "__main__":
    address = f"127.0.0.1:{PORT}"
    jax.distributed.initialize(address, 2, PROCESS, coordinator_bind_address=address, shutdown_timeout_seconds=30)
    from adjax import scorers

    rng = np.random.default_rng(0)
    batches = [
        ({"features": rng.normal(50, 1, (100, 8)).astype(np.float32)}, rng.integers(0, 3, 100)) for _ in range(6)
    ]
    rows = {"features": batches[0][0]["features"][:20]}
    for name in ("mahalanobis", "knn"):
        scorer = scorers.make(name)
        own = scorers.statistics(scorer, batches[PROCESS::2], 8, 3, batch_size=100)
        state = jax.jit(scorer.finalize)(scorers.merge_processes(scorer, own))
        alone = scorers.fit_stream(scorer, batches, 8, 3, batch_size=100)
        found, expected = (np.asarray(scorer.score(of, rows)) for of in (state, alone))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        half = jax.jit(scorer.finalize)(own)
        assert np.abs(np.asarray(scorer.score(half, rows)) - expected).max() > 1e-3
        print(f"{name} of two processes is that of one")
    jax.distributed.shutdown()
