"""Writes what a release leaves with its users, for every later one to read: see tests/test_versions.py.

    export JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX=".*/"    no paths of this machine in programs
    PYTHONPATH=tests python tests/artefacts/make.py            detector/, checkpoints/, exported/ and expected.npz
    PYTHONPATH=tests python tests/artefacts/make.py exported   exported-JAX/ alone, of that detector, by a newer JAX

Made on the oldest JAX that is supported; made again only where a new schema asks for it, and then the old ones stay.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from training import compiled, digits, small_method, table, trained

import adjax
from adjax.augment import Augment, normalise_of
from adjax.checkpoint import Checkpoints
from adjax.pipeline import Recipe, train_one

HERE = Path(__file__).parent
STEPS, FACTS = 12, {"batch_size": 16}


def queries() -> np.ndarray:
    return digits()[0][1000:1100]


def detector() -> adjax.Detector:
    images, labels = digits()
    options = {"steps": 100, "batch_size": 16, "steps_per_dispatch": 4, "augment": Augment(shift_px=1)}
    rows, held_out = np.arange(600), np.arange(600, 700)
    return train_one(
        Recipe("centerloss", scorer="mahalanobis"), images, labels, tuple("0123456789"), rows, held_out, **options
    ).detector


def features(state) -> jax.Array:
    """Of the queries, by the network of a checkpoint's only member."""
    params = jax.tree.map(lambda x: x[0], state.members["params"])
    return small_method().outputs(params, normalise_of(digits()[0])(queries()))["features"]


if __name__ == "__main__":
    if sys.argv[1:] == ["exported"]:
        adjax.load(HERE / "detector").export(HERE / f"exported-{jax.__version__}")
        sys.exit()
    known, program = detector(), compiled(table((48,)))
    state = trained(program, STEPS)
    known.save(HERE / "detector")
    known.export(HERE / "exported")
    with Checkpoints(HERE / "checkpoints", FACTS) as checkpoints:
        checkpoints.save(STEPS, state)
    expected = {"score": known.score(queries()), "p_value": known.p_value(queries()), "features": features(state)}
    np.savez_compressed(HERE / "expected.npz", **expected)
