"""Detectors that say in which precision their network's products are computed: emulated on a CPU, by what accelerators
do to the operands of every product that doesn't ask for float32."""

from __future__ import annotations

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.lax import convolution
from jax._src.lax import lax as internal

import adjax
from adjax import __main__, data, export, serialization
from adjax.detector import _score
from adjax.doctor import rounding
from adjax.pipeline import Recipe, train_one
from adjax.spec import Spec
from experiments import members
from experiments.config import Config

DIGITS = data.load("digits", "train")
NORMAL = DIGITS.labels < 5
BITS = {"bfloat16": 7, "tf32": 10}
"""Of the mantissa."""


@pytest.fixture
def rounds(monkeypatch):
    """Lets this machine round as an accelerator does, until the end of the test."""

    def to(kind):
        def rounding_of(function):
            def rounded(lhs, rhs, *args, precision=None, **kwargs):
                asked = precision if precision is not None else jax.config.jax_default_matmul_precision
                asked = asked if isinstance(asked, tuple) else (asked, asked)
                if not all(str(a).lower() in ("highest", "float32") for a in asked):
                    lhs, rhs = (internal.reduce_precision(x, 8, BITS[kind]) for x in (lhs, rhs))
                return function(lhs, rhs, *args, precision=precision, **kwargs)

            return rounded

        monkeypatch.setattr(internal, "dot_general", rounding_of(internal.dot_general))
        monkeypatch.setattr(jax.lax, "dot_general", internal.dot_general)
        wrapped = rounding_of(convolution.conv_general_dilated)
        monkeypatch.setattr(jax.lax, "conv_general_dilated", wrapped)
        jax.clear_caches()

    yield to
    monkeypatch.undo()
    jax.clear_caches()


@pytest.fixture(scope="module")
def trained():
    """Parameters and normalisation of a LeNet, and the images that it is fitted to."""
    rows = np.flatnonzero(NORMAL)
    one = train_one(
        Recipe("centerloss", scorer="mahalanobis"),
        DIGITS.images,
        DIGITS.labels,
        tuple("01234"),
        rows[100:],
        rows[:100],
        steps=60,
        batch_size=64,
    )
    return jax.device_get(one.detector)


def fitted(detector, precision):
    """The scorer and thresholds fitted again, in a precision."""
    spec = dataclasses.replace(detector.spec, precision=precision)
    rows = np.flatnonzero(NORMAL)
    known, held = DIGITS.images[rows[100:]], DIGITS.images[rows[:100]]
    return adjax.fit(spec, detector.params, detector.normalise, known, DIGITS.labels[rows[100:]], held)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BITS)
def test_highest_scores_the_same_wherever_it_is_fitted_and_used(kind, trained, rounds):
    test = DIGITS.images[:400]
    exact = fitted(trained, "highest")
    here = np.asarray(exact.score(test))
    plain = np.asarray(fitted(trained, "default").score(test))
    np.testing.assert_array_equal(here, plain)  # on a CPU there is no difference
    rounds(kind)
    np.testing.assert_array_equal(np.asarray(exact.score(test)), here)
    again = fitted(trained, "highest")
    np.testing.assert_array_equal(np.asarray(again.score(test)), here)
    moved = np.asarray(fitted(trained, "default").score(test)) - plain
    assert 0 < np.abs(moved).max() < 0.2  # of scores that are quantile levels


@pytest.mark.slow
def test_a_mismatch_is_measured(trained, rounds):
    detector = fitted(trained, "default")
    assert rounding.measure(detector, DIGITS.images[:64]) == (0.0, 0, 64)
    rounds("bfloat16")
    moved = rounding.measure(detector, DIGITS.images[:64])
    assert 0 < moved.largest < 0.2
    assert moved.decisions <= 3


def products(text):
    """(all, those in float32) of a program's matrix products and convolutions."""
    found = [line for line in text.splitlines() if re.search(r"stablehlo\.(dot_general|convolution)", line)]
    exact = re.compile(
        r"precision(?:_config)? = \[(?:#stablehlo<precision )?HIGHEST(?:>)?, (?:#stablehlo<precision )?HIGHEST"
    )
    return len(found), sum(bool(exact.search(line)) for line in found)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_every_product_of_the_program_is_what_it_says(platform):
    """From images to scores; the scorer's products are exact in any case."""
    images = jax.ShapeDtypeStruct((8, 8, 8, 1), jnp.uint8)
    for precision in ("default", "highest"):
        spec = Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), "01234", precision=precision)
        program = jax.jit(_score).trace(serialization._template(spec, 9), images)
        count, exact = products(program.lower(lowering_platforms=(platform,)).as_text())
        assert count >= 5
        assert (exact == count) == (precision == "highest")


@pytest.mark.slow
def test_an_exported_program_keeps_it(trained, tmp_path, symbolic, rounds):
    detector = fitted(trained, "highest")
    here = np.asarray(detector.score(DIGITS.images[:100]))
    rounds("bfloat16")
    detector.export(tmp_path / "exported")
    np.testing.assert_allclose(
        np.asarray(export.load(tmp_path / "exported").score(DIGITS.images[:100])), here, atol=1e-6
    )


@pytest.mark.slow
def test_it_is_saved_and_loaded(trained, tmp_path):
    detector = fitted(trained, "highest")
    detector.save(tmp_path / "detector")
    assert adjax.load(tmp_path / "detector").spec.precision == "highest"
    said = rounding.lines(tmp_path / "detector")
    assert "precision 'highest'" in said[0]
    assert "at most 0 and changes 0 decisions" in said[1]
    assert len(said) == 2
    default = dataclasses.replace(detector, spec=dataclasses.replace(detector.spec, precision="default"))
    default.save(tmp_path / "detector")
    (tmp_path / "detector" / "train.json").write_text(json.dumps({"fitted_on": "tpu"}))
    assert "WARNING: fitted on tpu and used on cpu" in rounding.lines(tmp_path / "detector")[-1]


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision='high': must be one of default, highest"):
        Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), "01", precision="high")


@pytest.mark.slow
def test_the_commands_say_it(tmp_path, capsys, monkeypatch):
    from PIL import Image

    from adjax import process

    monkeypatch.setattr(process, "prepare", lambda: None)
    for i, image in enumerate(DIGITS.images[DIGITS.labels == 0][:60]):
        (tmp_path / "zeros").mkdir(exist_ok=True)
        Image.fromarray(np.kron(image[..., 0], np.ones((2, 2), np.uint8))).save(tmp_path / "zeros" / f"{i}.png")
    out = tmp_path / "detector"
    command = ["train", str(tmp_path / "zeros"), "--method", "hog_ocsvm", "--precision", "highest", "--out", str(out)]
    assert __main__.main(command) == 0
    record = json.loads((out / "train.json").read_text())
    assert (record["precision"], record["fitted_on"]) == ("highest", "cpu")
    assert "float32 on every device (fitted on cpu)" in (out / "MODEL_CARD.md").read_text()
    capsys.readouterr()
    assert __main__.main(["doctor", "--detector", str(out)]) == 0
    assert "precision 'highest', fitted on cpu; here: cpu" in capsys.readouterr().out


def test_an_experiment_is_scored_in_the_precision_that_it_names():
    config = Config(method="centerloss", precision="highest")
    spec = members.recipe(config).build((28, 28, 1), "0123456789").spec
    assert spec.precision == "highest"
