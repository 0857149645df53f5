"""Fits a scorer to parts on a Ray cluster, one of whose workers is killed, and compares. Arguments: folder, workers."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from adjax import cluster, scorers

FOLDER, WORKERS = Path(sys.argv[1]), int(sys.argv[2])
PARTS, ROWS, DIM, CLASSES = 6, 5000, 32, 3


def rows(part):
    """Far from 0, with classes apart: float32 sums would show."""
    rng = np.random.default_rng(part)
    labels = rng.integers(0, CLASSES, ROWS)
    return (rng.normal(100 + 3 * labels[:, None], 1 + np.arange(DIM) / DIM)).astype(np.float32), labels


def read(part):
    killed = FOLDER / f"killed-{WORKERS}"
    if part == 2 and not killed.exists():
        killed.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    features, labels = rows(part)
    for start in range(0, ROWS, 700):
        yield {"features": features[start : start + 700]}, labels[start : start + 700]


if __name__ == "__main__":
    scorer = scorers.make("mahalanobis", shrinkage=0.0)
    own = cluster.Cluster(workers=WORKERS, cpus=1)
    state = cluster.fit_stream(scorer, read, range(PARTS), DIM, CLASSES, 512, cluster=own)
    features, labels = (np.concatenate(x) for x in zip(*map(rows, range(PARTS)), strict=True))
    features = features.astype(np.float64)
    means = np.stack([features[labels == k].mean(0) for k in range(CLASSES)])
    centred = features - means[labels]
    inverse = np.linalg.inv(centred.T @ centred / len(features))
    away = features[:200, None] - means
    expected = np.sqrt(np.einsum("nkd,de,nke->nk", away, inverse, away))
    found = np.asarray(scorer.distances(state, {"features": features[:200].astype(np.float32)}), np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    alone = scorers.fit_stream(scorer, (batch for part in range(PARTS) for batch in read(part)), DIM, CLASSES, 512)
    several, one = (
        np.asarray(scorer.distances(of, {"features": features[:200].astype(np.float32)})) for of in (state, alone)
    )
    print("largest relative difference", np.abs(several / one - 1).max(), np.abs(found / expected - 1).max())
    np.testing.assert_allclose(several, one, rtol=2e-6)
    np.savez(FOLDER / f"{WORKERS}.npz", *map(np.asarray, jax.tree.leaves(state)))
    assert (FOLDER / f"killed-{WORKERS}").exists()
