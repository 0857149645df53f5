"""What is kept of a network's outputs: of maps that a scorer takes the mean of, the mean alone."""

import jax
import numpy as np
import pytest

from adjax import _fitting, augment, data, features
from adjax import detector as detectors
from adjax.data.io.scratch import Scratch, StoredImages
from adjax.data.protocols import Benchmark, Trial
from adjax.extraction import extract, pooled_by, read_by, traced, with_layers
from adjax.pipeline import Recipe
from adjax.spec import FunctionSpec, Spec, resolve
from experiments import evaluate

DIGITS = data.load("digits", "train")
IMAGES, LABELS = DIGITS.images[:700], DIGITS.labels[:700]
NORMALISE = augment.normalise_of(IMAGES)


def spec(scorer, **options):
    return Spec("centerloss", "lenet5", scorer, (8, 8, 1), "0123456789", scorer_options=tuple(options.items()))


LAYERS = spec("layers_partial", names=("features", "pool1"), dims=(84, 6))
PLACES = ("padim", (("dim", 6), ("feature", "pool1"), ("grid", (4, 4))))


@pytest.fixture(scope="module")
def params():
    method = resolve(LAYERS).method
    return jax.jit(method.init)(jax.random.key(0), dict(method.hparams))["params"]


@pytest.fixture
def kept(monkeypatch):
    """Shapes of a row of all that was extracted, by name."""
    found, real = {}, features.apply

    def apply(*given):
        outputs = real(*given)
        if isinstance(outputs, dict):
            found.update({name: x.shape[1:] for name, x in outputs.items()})
        return outputs

    monkeypatch.setattr(features, "apply", apply)
    return found


def test_a_mean_over_all_places_is_kept_in_place_of_a_map(params):
    whole = extract(LAYERS, params, NORMALISE, IMAGES)
    means = extract(LAYERS, params, NORMALISE, IMAGES, means={"features", "pool1"})
    assert whole.keys() == means.keys() == {"features", "logits", "pool1"}
    assert whole["pool1"].shape == (700, 4, 4, 6)
    np.testing.assert_allclose(means["pool1"], whole["pool1"].mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(means["features"], whole["features"])


def test_whose_means_will_do():
    assert pooled_by(LAYERS) == {"features", "pool1"}
    assert pooled_by(spec("mahalanobis")) == pooled_by(spec(PLACES[0], **dict(PLACES[1]))) == frozenset()
    assert pooled_by(FunctionSpec(None, "layers", (8,), ("0",))) == frozenset()


@pytest.mark.parametrize(
    ("given", "names", "dims"),
    [
        ({"names": "features,pool1"}, ("features", "pool1"), (84, 6)),
        ({"names": ("pool1",)}, ("pool1",), (6,)),
        ({"names": ("pool1",), "dims": (7,)}, ("pool1",), (7,)),
        ({}, ("features", "hidden", "logits", "pool1", "pool2"), (84, 120, 10, 6, 16)),
    ],
)
def test_layers_named_in_a_string_have_the_widths_that_they_have(given, names, dims):
    found = dict(with_layers(spec("layers", **given)).scorer_options)
    assert (found["names"], found["dims"]) == (names, dims)


def test_what_scoring_alone_reads_is_kept():
    """RankFeat is fitted to features and logits, and scores maps as well; scored in blocks it must be asked, too."""
    of = Recipe("gmm", "resnet18", "rankfeat", weights="random").build((64, 64, 3), ("normal",)).spec
    assert traced(of).reads == {"features", "logits", "patches"}
    said = {"features": (2, 4), "logits": (2, 1), "patches": (2, 2, 2, 4)}
    outputs = {name: jax.ShapeDtypeStruct((5000, *shape[1:]), np.float32) for name, shape in said.items()}
    assert read_by(resolve(of).scorer, {**outputs, "more": outputs["patches"]}, 1) == set(said)


def test_layers_are_fitted_to_means_as_to_maps(params, kept):
    whole = extract(LAYERS, params, NORMALISE, IMAGES)
    of_maps = detectors.fit(LAYERS, params, NORMALISE, IMAGES, LABELS, outputs=whole)
    assert kept["pool1"] == (4, 4, 6)
    of_means = detectors.fit(LAYERS, params, NORMALISE, IMAGES, LABELS)
    assert kept["pool1"] == (6,)
    np.testing.assert_allclose(of_means.calibration.knots, of_maps.calibration.knots, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(of_means.score(IMAGES[:50]), of_maps.score(IMAGES[:50]), rtol=1e-3, atol=1e-3)


def test_means_of_a_file_are_few_enough_to_be_kept(params, tmp_path, monkeypatch):
    """A row has 84 + 10 + 6 floats instead of 84 + 10 + 96, so the network sees the file once, not twice."""
    seen, real = [], StoredImages._read
    monkeypatch.setattr(StoredImages, "_read", lambda self, rows: seen.extend(rows) or real(self, rows))
    monkeypatch.setattr(_fitting, "KEPT_BYTES", 700 * 4 * 100)
    with Scratch(tmp_path, in_memory=0) as room:
        images = room.room(IMAGES.shape)
        for row, pixels in enumerate(IMAGES):
            images.write(row, pixels)
        detectors.fit(LAYERS, params, NORMALISE, images, LABELS)
    assert len(seen) == 700


@pytest.mark.parametrize(("others", "shape"), [({}, (6,)), ({"padim": PLACES}, (4, 4, 6))])
def test_maps_are_whole_where_another_scorer_reads_them_so(params, kept, others, shape):
    rows, few, truth = np.arange(300, dtype=np.int32), np.arange(300, 400, dtype=np.int32), np.arange(100) % 2
    trial = Trial({"seed": 0}, 0, rows, LABELS[:300], few, few, truth, few, truth)
    benchmark = Benchmark("digits", tuple("0123456789"), DIGITS, DIGITS, (trial,))
    rule = evaluate.Rule("quantile", 0.975)
    evaluate.judge(LAYERS, params, NORMALISE, benchmark, trial, rule, others=others)
    assert kept["pool1"] == shape
