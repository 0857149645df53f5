"""A detector as a program: what it says is what the detector says, wherever adjax's networks are not."""

import dataclasses
import doctest
import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import daily

import adjax
from adjax import __main__ as command_line
from adjax import data, distribution, export, manifest, scorers, serialization, thresholds
from adjax import detector as detectors
from adjax.augment import normalise_of
from adjax.detector import Spec
from adjax.manifest import ArtefactError

IMAGES = data.load("digits", "train").images
LABELS = data.load("digits", "train").labels
NAMES = ("mahalanobis",)
"""They say the same as their detector; all, with -m slow."""
FAMILIES = "gmm", "padim", "vim"
"""They stand for all that can be exported, the first every day; mahalanobis for what is then said."""
OPTIONS = {
    **{name: {"capacity": 120} for name in (*scorers.WITH_HEAD, "knn", "nnguide", "ocsvm")},
    "gmm": {"components": 1},
    "padim": {"feature": "pool2", "grid": (2, 2), "dim": 16},
    "weighted_energy": {"weights": (1.0, 2.0) * 5},
    "fused": {
        "names": ("gmm", "subspace"),
        "offsets": (1, 2),
        "scales": (1, 2),
        "options": ((), (("feature", "pool2"),)),
    },
    "mcm": {"temperature": 0.03},  # cosines of this network differ by little
    "patchwise": {"feature": "pool2"},
    "subspace": {"feature": "pool2"},
    "patchcore": {"feature": "pool2", "dim": 16, "coreset": 20, "capacity": 100},
}
"""Small ones: a lenet5 on 8×8 px has a `pool2` of 2×2×16."""


TOLD = ("temperature_scaling",)
"""Fitted to labels of which the network gives most: by labels at random its temperature is so great that what tells
images apart is rounding."""


def made(name: str, held_out: int = 40) -> detectors.Detector:
    """Of a network with arbitrary numbers, cheaper than training one; large ones, so that its logits differ."""
    alone = name == "score"
    parts = ("classifier", "cnn") if alone else ("centerloss", "lenet5")
    spec = Spec(*parts, name, (8, 8, 1), ["normal"] if alone else "0123456789", OPTIONS.get(name, {}))
    rng = np.random.default_rng(0)
    method = detectors.resolve(spec).method
    shapes = jax.eval_shape(method.init, jax.random.key(0), dict(method.hparams))["params"]
    params = jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(np.float32), shapes)
    labels = LABELS[:120] % len(spec.classes)
    if name in TOLD:
        said = detectors.extract(spec, params, normalise_of(IMAGES), IMAGES[:120])["logits"]
        labels = np.where(np.arange(120) % 5 > 0, said.argmax(1), labels)
    return detectors.fit(spec, params, normalise_of(IMAGES), IMAGES[:120], labels, IMAGES[120 : 120 + held_out])


@pytest.fixture(scope="module")
def detector():
    return made("mahalanobis")


@pytest.fixture(scope="module")
def directory(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "d"
    detector.export(folder)
    return folder


@pytest.fixture(scope="module")
def exported(directory):
    return export.load(directory)


def agree(exported, detector, images) -> None:
    one, other = exported.score(images), detector.score(images)
    within = other <= 1  # above, a score is extrapolated by a slope, which magnifies what rounding differs by
    close = np.isclose(one, other, rtol=1e-5, atol=1e-5 + last_digits(detector, images))
    assert close[within].all()
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(exported.predict(images), detector.predict(images))
    np.testing.assert_allclose(exported.p_value(images), detector.p_value(images), rtol=1e-6)


def last_digits(detector, images) -> np.ndarray:
    """How much a level moves with the last digits of its distances: much between two training distances that are close
    together."""

    @jax.jit
    def levels(images):
        outputs = detectors.outputs_of(detector, images)
        distances = detectors.resolve(detector.spec).scorer.distances(detector.scorer, outputs)
        return [thresholds.classwise_quantile(detector.calibration, distances * (1 + e)) for e in (-5e-7, 5e-7)]

    if len(images) == 0:
        return np.zeros(0)
    with np.errstate(invalid="ignore"):  # +inf both times
        return np.nan_to_num(np.abs(np.subtract(*levels(images))))


# It says the same


def serves_all(program) -> None:
    """Every platform, and any number of images."""
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert [str(n) for n in program.in_avals[0].shape] == ["n", "8", "8", "1"]
    assert {x.dtype.name for x in program.out_avals} == {"float32", "bool"}


@pytest.mark.parametrize("name", [*daily([name for name in scorers.SCORERS if name != "rankfeat"], *NAMES)])
def test_every_scorer_says_the_same(name, detector, tmp_path):
    known = detector if name == "mahalanobis" else made(name)
    known.export(tmp_path / "d")
    agree(export.load(tmp_path / "d"), known, IMAGES[200:233])
    (file,) = (tmp_path / "d").glob("*.stablehlo")
    serves_all(jax.export.deserialize(bytearray(file.read_bytes())))


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_scorer_can_be_exported(name):
    """Traced and lowered, nothing is fitted or run: of zeros for what it would have learnt."""
    spec = Spec("centerloss", "lenet5", name, (8, 8, 1), "0123456789", OPTIONS.get(name, {}))
    shapes = serialization._template(spec, 3)
    serves_all(export.program(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)))


@pytest.mark.slow
def test_what_can_not_be_traced_for_a_symbolic_number_goes_in_blocks(tmp_path):
    def rows(params, images):
        return images.mean((2, 3)) + np.zeros((int(images.shape[0]), 1), np.float32)

    known = adjax.detector_from(rows, {}, "mahalanobis", IMAGES[:120], held_out=IMAGES[120:160])
    known.export(tmp_path)
    for n in (1, 32, 33, 70):
        agree(export.load(tmp_path), known, IMAGES[200 : 200 + n])


@pytest.mark.parametrize("n", [*daily([0, 1, 5, 600], 0, 5)])
def test_any_number_of_images(exported, detector, n):
    images = np.resize(IMAGES[160:], (n, 8, 8, 1))
    agree(exported, detector, images)
    said = exported(images)
    assert {k: (v.dtype.name, v.shape) for k, v in said.items()} == {
        "score": ("float32", (n,)),
        "anomalous": ("bool", (n,)),
        "p_value": ("float32", (n,)),
    }


def test_the_threshold_is_inside(detector, tmp_path):
    strict = detector.with_quantile(0.05)
    strict.export(tmp_path)
    flagged = export.load(tmp_path).predict(IMAGES[:120])
    clear = np.abs(strict.score(IMAGES[:120]) - 0.05) > 1e-5  # those fitted to may lie on it, but for their last digit
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(flagged[clear], strict.predict(IMAGES[:120])[clear])
    assert flagged.mean() > detector.predict(IMAGES[:120]).mean() + 0.3


def test_without_held_out_images_there_are_no_p_values(detector, tmp_path):
    dataclasses.replace(detector, calibration_scores=jnp.zeros(0)).export(tmp_path)
    loaded = export.load(tmp_path)
    assert set(loaded(IMAGES[:2])) == {"score", "anomalous"}
    with pytest.raises(ValueError, match=r"no p-values: .* without held-out"):
        loaded.p_value(IMAGES[:2])


def test_a_network_that_says_nan_is_never_normal(detector, tmp_path):
    params = jax.tree.map(lambda x: jnp.full(x.shape, jnp.nan), detector.params)
    dataclasses.replace(detector, params=params).export(tmp_path)
    said = export.load(tmp_path)(IMAGES[:3])
    assert np.isnan(said["score"]).all()
    assert said["anomalous"].all()
    np.testing.assert_allclose(said["p_value"], 1 / 41)


def test_inside_jit(exported, detector):
    images = IMAGES[200:207]
    score = jax.jit(lambda x: exported.score(x) * 2)(images)
    np.testing.assert_allclose(score, 2 * np.asarray(detector.score(images)), rtol=1e-5, atol=1e-5)


def test_jax_alone_can_run_it(directory, detector):
    """As the docstring says, in a process that has neither adjax's networks nor its methods; and without adjax."""
    np.save(directory.parent / "images.npy", IMAGES[200:207])
    code = f"""
import sys, numpy, jax
from adjax import export
images = numpy.load({str(directory.parent / "images.npy")!r})
score = export.load({str(directory)!r}).score(images)
adjaxs = sorted(m for m in sys.modules if m.startswith("adjax"))
heavy = {{"adjax.models", "adjax.methods", "adjax.scorers", "adjax.detector", "flax", "sklearn"}}
assert not heavy & set(sys.modules), adjaxs
(file,) = __import__("pathlib").Path({str(directory)!r}).glob("*.stablehlo")
alone = jax.export.deserialize(bytearray(file.read_bytes())).call(images)["score"]
print(*score, *alone)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = np.tile(detector.score(IMAGES[200:207]), 2)
    np.testing.assert_allclose(np.array(done.stdout.split(), float), expected, rtol=1e-5, atol=1e-5)


# What it refuses


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((8, 8, 1), np.uint8), r"\(8, 8, 1\).*takes \[N, 8, 8, 1\]"),
        (np.zeros((2, 1, 8, 8), np.uint8), r"\(2, 1, 8, 8\).*takes \[N, 8, 8, 1\]"),
        (np.zeros((2, 8, 8, 1), np.float32), "dtype float32: .* for uint8"),
        ([[[[0]] * 8] * 8], "dtype None: .* for uint8"),
    ],
)
def test_images_of_another_shape_or_type_are_refused(exported, images, told):
    for method in (exported, exported.score, exported.predict, exported.p_value):
        with pytest.raises(ValueError, match=told):
            method(images)


def test_damage_is_refused(detector, directory, tmp_path):
    contents = {file.name: file.read_bytes() for file in directory.iterdir()}
    assert len(contents) == 3
    rng = np.random.default_rng(0)
    for name, content in contents.items():
        for other, whole in contents.items():
            (tmp_path / other).write_bytes(whole)
        for place in [0, len(content) - 1, *rng.integers(0, len(content), 20)]:
            broken = bytearray(content)
            broken[place] ^= 1 << rng.integers(8)
            (tmp_path / name).write_bytes(broken)
            with pytest.raises(ArtefactError, match=r"damaged|not a complete"):
                export.load(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(ArtefactError, match=f"not a complete exported detector: no {name}"):
            export.load(tmp_path)


def test_a_newer_format_says_what_to_do(detector, directory, tmp_path):
    contents = export.FORMAT.read(directory)
    dataclasses.replace(export.FORMAT, schema=7).write(tmp_path / "a", contents)
    with pytest.raises(ArtefactError, match="schema 7, this adjax reads up to 1: update adjax"):
        export.load(tmp_path / "a")
    for kind, content in {"program": b"of another time", "about": b"[]"}.items():
        export.FORMAT.write(tmp_path / kind, {**contents, kind: content})
        with pytest.raises(ArtefactError, match=r"no program that jax .* can read: .* update jax"):
            export.load(tmp_path / kind)


def test_one_is_not_taken_for_the_other(detector, directory, tmp_path):
    detector.save(tmp_path / "saved")
    with pytest.raises(ArtefactError, match="no exported detector's manifest"):
        export.load(tmp_path / "saved")
    with pytest.raises(ArtefactError, match="no detector's manifest"):
        adjax.load(directory)
    with pytest.raises(ArtefactError, match="Name another directory"):
        detector.export(tmp_path / "saved")


def test_a_program_for_other_machines_is_refused(detector, directory, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "PLATFORMS", ("tpu",))
    detector.export(tmp_path)
    with pytest.raises(ArtefactError, match="is for tpu, and this machine computes on cpu"):
        export.load(tmp_path)


def test_a_stack_of_detectors_is_refused(detector, tmp_path):
    stack = jax.tree.map(lambda x: jnp.stack([x, x]), detector)
    with pytest.raises(ValueError, match="a stack of 2 detectors: export them one by one"):
        stack.export(tmp_path / "d")
    assert not (tmp_path / "d").exists()


# The command, ONNX, and how it reads


@pytest.mark.slow
def test_the_command(detector, tmp_path, capsys):
    detector.save(tmp_path / "run" / "detector")
    for argument in ("run", "run/detector"):
        assert command_line.main(["export", str(tmp_path / argument)]) == 0
        assert f"written to {tmp_path / 'run' / 'exported'}" in capsys.readouterr().out
    loaded = export.load(tmp_path / "run" / "exported")
    assert loaded.about == repr(detector)
    assert loaded.classes == tuple("0123456789")
    assert command_line.main(["export", str(tmp_path / "run"), "--out", str(tmp_path / "here")]) == 0
    detector.save(tmp_path / "parts")  # as `adjax train` leaves it
    assert command_line.main(["export", str(tmp_path / "parts")]) == 0
    assert f"written to {tmp_path / 'parts_exported'}" in capsys.readouterr().out
    assert (tmp_path / "parts_exported" / "manifest.json").exists()
    assert (tmp_path / "here" / "manifest.json").exists()
    detector.save(tmp_path / "many" / "detectors" / "7")
    for folder, told in (("many", r"1 detectors: name one, .*detectors.7"), ("none", "no detector/")):
        assert command_line.main(["export", str(tmp_path / folder)]) == 1
        assert __import__("re").search(told, capsys.readouterr().err)


def test_without_the_extra_onnx_says_what_to_install(detector, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    detector.save(tmp_path / "detector")
    assert command_line.main(["export", str(tmp_path), "--to", "onnx"]) == 1
    assert distribution.install("onnx") in capsys.readouterr().err
    assert not (tmp_path / "detector.onnx").exists()


@pytest.mark.usefixtures("symbolic")
@pytest.mark.filterwarnings("ignore")
def test_onnx_says_the_same(detector, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("jax2onnx")
    from adjax import onnx

    onnx.save(detector, tmp_path / "d.onnx")
    session = runtime.InferenceSession(tmp_path / "d.onnx")
    for n in (1, 33):
        images = IMAGES[200 : 200 + n]
        score, anomalous, p_value = session.run(["score", "anomalous", "p_value"], {"images": images})
        np.testing.assert_allclose(score, detector.score(images), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(anomalous, detector.predict(images))
        np.testing.assert_allclose(p_value, detector.p_value(images), rtol=1e-6)


@pytest.mark.usefixtures("symbolic")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrong", ["convert", "run"])
def test_what_onnx_can_not_say_is_not_written(wrong, detector, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    jax2onnx = pytest.importorskip("jax2onnx")
    from adjax import onnx

    def converted(function, *args, convert=jax2onnx.to_onnx, **kwargs):
        if wrong == "convert":
            raise NotImplementedError("no such operation")
        return convert(lambda images: (function(images)[0] + 1e-3, *function(images)[1:]), *args, **kwargs)

    monkeypatch.setattr(jax2onnx, "to_onnx", converted)
    told = {"convert": "can't convert Detector.*no such operation", "run": "wrongly: .*score"}[wrong]
    with pytest.raises(ValueError, match=rf"(?s){told}.*StableHLO has it"):
        onnx.save(detector, tmp_path / "d.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_example_runs():
    result = doctest.testmod(export)
    assert result.attempted > 4
    assert result.failed == 0


def test_the_manifest_is_readable(directory):
    content = json.loads((directory / manifest.MANIFEST).read_text())
    assert content["format"] == "adjax exported detector"
    assert set(content["sha256"]) == {"program", "about"}
