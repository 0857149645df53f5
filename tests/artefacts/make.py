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
from adjax import methods, models
from adjax.augment import normalise_of
from adjax.checkpoint import Checkpoints
from adjax.detector import Spec, fit

HERE = Path(__file__).parent
STEPS, FACTS = 12, {"batch_size": 16}
SHAPE, CLASSES = (8, 8, 1), "0123456789"


def queries() -> np.ndarray:
    return digits()[0][1000:1100]


def detector() -> adjax.Detector:
    images, labels = digits()
    method = methods.make("centerloss", models.make("lenet5", SHAPE, 10), SHAPE, 10, steps=100)
    members = table((600,), lam=[0.1])
    members = members._replace(hparams={name: np.full(1, value, np.float32) for name, value in method.hparams.items()})
    params = jax.tree.map(lambda x: x[0], trained(compiled(members, method=method), 100).members["params"])
    spec = Spec("centerloss", "lenet5", "mahalanobis", SHAPE, CLASSES)
    return fit(spec, params, normalise_of(images), images[:600], labels[:600], images[600:700])


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
