"""What an earlier release wrote, or another JAX, says the same here; what can't be run here says so before it is."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from training import compiled, small_method, table

import adjax
from adjax import export
from adjax.checkpoint import Checkpoints
from adjax.manifest import ArtefactError

HERE = Path(__file__).parent / "artefacts"
sys.path.append(str(HERE))

from make import FACTS, STEPS, features, queries  # noqa: E402

NEWER = HERE / "exported-0.12.0.1"


@pytest.fixture(scope="module")
def expected():
    with np.load(HERE / "expected.npz") as file:
        return dict(file)


@pytest.fixture
def read_only(tmp_path):
    """Copies, since reading a checkpoint may tidy its folder."""
    return lambda name: Path(shutil.copytree(HERE / name, tmp_path / name))


def test_a_detector_scores_as_it_did(expected):
    known = adjax.load(HERE / "detector")
    np.testing.assert_allclose(known.score(queries()), expected["score"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(known.p_value(queries()), expected["p_value"], rtol=1e-5)


def test_a_program_scores_as_it_did(expected):
    known = export.load(HERE / "exported")
    assert known.jax_version == "0.10.2"
    assert known.map_kind is None  # of a release whose programs gave no maps
    np.testing.assert_allclose(known.score(queries()), expected["score"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(known.p_value(queries()), expected["p_value"], rtol=1e-5)


def test_a_checkpoint_is_the_state_that_it_was(expected, read_only):
    program = compiled(table((48,)), method=small_method(optimizer="adamw"))
    with Checkpoints(read_only("checkpoints"), FACTS) as checkpoints:
        state = checkpoints.restore(program.init(program.table))
    assert int(state.step) == STEPS
    np.testing.assert_allclose(features(state), expected["features"], rtol=1e-5, atol=1e-5)


def test_a_newer_jaxs_program_runs_or_says_what_to_do(expected):
    """JAX 0.10.2 reads what 0.12.0.1 serialised, and can't compile it: StableHLO has got new operations since."""
    if jax.__version__.startswith("0.10."):
        told = r"exported by jax 0\.12\.0\.1, and jax 0\.10\S+ can't run it: update to jax 0\.12\.0\.1 or newer"
        with pytest.raises(ArtefactError, match=told):
            export.load(NEWER)
        return
    known = export.load(NEWER)
    assert known.jax_version == "0.12.0.1"
    np.testing.assert_allclose(known.score(queries()), expected["score"], rtol=1e-5, atol=1e-5)


def test_which_jax_made_a_program_stands_in_its_file(tmp_path):
    adjax.load(HERE / "detector").export(tmp_path)
    (about,) = tmp_path.glob("about-*.json")
    assert json.loads(about.read_text())["jax"] == jax.__version__ == export.load(tmp_path).jax_version
