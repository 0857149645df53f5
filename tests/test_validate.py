"""The images that stand in for anomalies when defaults are chosen: of the right kind, and nobody's test set."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import replace

import numpy as np
import pytest

from adjax import methods, pipeline
from adjax.data.split import Split
from adjax.methods.centerloss import HPARAMS
from adjax.models.lenet import LeNet5
from adjax.pipeline import Recipe
from experiments import config, readme, validate, validate_gan, validate_steps


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), np.uint8)


@pytest.fixture(scope="module")
def made(images) -> dict[str, np.ndarray]:
    return validate.outliers(images, 0)


def test_outliers_look_like_input(images, made):
    assert len(made) == 5
    for name, outliers in made.items():
        assert outliers.shape == images.shape, name
        assert outliers.dtype == np.uint8, name
        assert (outliers != images).any(), name


def test_outliers_are_a_function_of_the_seed(images, made):
    again, other = validate.outliers(images, 0), validate.outliers(images, 1)
    for name in made:
        np.testing.assert_array_equal(made[name], again[name])
    assert any((made[name] != other[name]).any() for name in made)


def test_shuffled_tiles_are_the_tiles_of_their_image(images, made):
    def tiles(image):
        return sorted(image[i : i + 7, j : j + 7].tobytes() for i in range(0, 28, 7) for j in range(0, 28, 7))

    for image, shuffled in zip(images, made["7 px tiles shuffled"], strict=True):
        assert tiles(image) == tiles(shuffled)


@pytest.mark.parametrize(("seed", "left_out"), [(0, 1), (1, 3), (4, 9), (5, 1)])
def test_a_digit_is_left_out_and_never_the_zero(seed, left_out):
    digits = np.random.default_rng(0).permutation(np.arange(10).repeat(30))
    part = validate.shown(digits, seed)
    both = np.concatenate([part.train, part.held])
    np.testing.assert_array_equal(np.sort(both), np.flatnonzero(digits != left_out))
    assert len(part.held) == 27
    np.testing.assert_array_equal(part.labels < 0, digits == left_out)
    assert [int(part.labels[digits == d][0]) for d in range(10) if d != left_out] == list(range(9))


@pytest.mark.parametrize(
    ("module", "name"), [(validate, "'mnist'"), (validate_steps, "dataset"), (validate_gan, "'fashion_mnist'")]
)
def test_validation_loads_no_test_split(module, name):
    loads = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "data.load"
    ]
    assert [ast.unparse(argument) for argument in loads[0].args] == [name, "'train'"]
    assert len(loads) == 1


def test_defaults_are_those_that_validation_chose():
    result = json.loads((readme.RESULTS / "centerloss_validation.json").read_text())
    chosen, defaults = result["chosen"], config.Config()
    assert chosen == validate.choose(result["settings"])
    assert (chosen["lam"],) == defaults.lam
    assert {name: chosen[name] for name in HPARAMS} == HPARAMS
    assert chosen["gain"] == inspect.signature(LeNet5.__init__).parameters["gain"].default
    assert chosen["schedule"] == f"{config.EPOCHS}x{config.of_method('centerloss').batch_size}"
    scorer, options = validate.CANDIDATES[chosen["scorer"]]
    assert (defaults.scorer, methods.entry("centerloss").scorer) == (None, scorer)
    spec = Recipe("centerloss").build((28, 28, 1), validate.CLASSES).spec
    wide = dict(zip(options["names"], options["dims"], strict=True))
    assert dict(zip(*(dict(spec.scorer_options)[name] for name in ("names", "dims")), strict=True)) == wide
    assert chosen["shrinkage"] == config.SHRINKAGE["layers"]
    assert replace(defaults, scorer="layers").options("scorer") == {"shrinkage": 0.0}
    assert replace(defaults, scorer="mahalanobis").options("scorer") == {"shrinkage": 0.3}
    assert (chosen["scale"], chosen["seeds"]) == (defaults.scale, 5)


def lines_of(before, *figures):
    """Settings to choose from, the first of which is the one before."""
    names = "f1", "mean_auroc", "schedule"
    others = [{**validate.BEFORE, "gain": 2.0, **dict(zip(names, each, strict=True))} for each in figures]
    return [{**validate.BEFORE, "f1": before[0], "mean_auroc": before[1]}, *others]


def test_a_setting_without_a_number_is_never_chosen():
    nan = float("nan")
    lines = lines_of((0.9, 0.8), (nan, 0.9, "1x128"), (0.9, nan, "1x128"), (0.91, 0.8, "4x128"))
    assert all(validate.choose(order) is lines[3] for order in (lines, lines[::-1]))


def test_the_shortest_training_that_is_no_worse_than_before_is_chosen():
    worse = (0.9939, 0.99, "1x128"), (0.995, 0.979, "1x128")
    lines = lines_of((0.994, 0.98), *worse, (0.994, 0.981, "4x128"), (0.994, 0.982, "4x128"), (1.0, 1.0, "6x128"))
    assert validate.choose(lines) is lines[4]
    assert validate.choose(lines[:3]) is lines[0]  # nothing better: it stays


def test_the_least_steps_are_those_that_validation_chose():
    result = json.loads((readme.RESULTS / "centerloss_steps.json").read_text())
    assert result["chosen"] == validate_steps.choose(result["cells"])
    assert result["chosen"] == config.MIN_STEPS == pipeline.FEWER["centerloss"][1]


def test_steps_are_chosen_by_the_mean_over_the_sets():
    figures = ("a", 250, 0.9), ("b", 250, 0.7), ("a", 500, 0.8), ("b", 500, 0.85)
    assert validate_steps.choose([{"set": s, "steps": n, "auroc": {"mean": x}} for s, n, x in figures]) == 500


def test_the_gans_settings_are_those_that_validation_chose():
    result = json.loads((readme.RESULTS / "gan_validation.json").read_text())
    chosen = result["chosen"]
    assert chosen == validate_gan.choose(result["cells"])
    for name in ("gan_fashion_mnist", "gan_mnist"):
        preset = config.of_preset(name)
        assert (preset.epochs, preset.batch_size) == (
            chosen["epochs"],
            config.of_preset("gan_fashion_mnist").batch_size,
        )
        assert preset.options("model")["width"] == preset.options("method")["width"] == chosen["width"]
        assert preset.options("method").get("optimizer", "muon") == chosen["optimizer"]
        assert f"learning_rate={validate_gan.RATES[chosen['optimizer']]:g}" in preset.hparams


def test_the_cheapest_gan_that_is_about_the_best_is_chosen():
    figures = (16, 8, 0.9699), (32, 4, 0.9710), (16, 16, 0.97), (64, 2, 0.972), (32, 8, 0.9729)
    cells = [{"width": w, "epochs": e, "auroc": {"mean": x}} for w, e, x in figures]
    assert validate_gan.choose(cells) is cells[1]
    assert validate_gan.choose(cells[:1] + cells[2:]) is cells[4]  # as much arithmetic as the one before, and better


@pytest.mark.parametrize("seed", [0, 1])
def test_the_gan_is_validated_on_images_that_it_was_not_trained_on(seed):
    labels = np.random.default_rng(0).permutation(np.arange(10).repeat(100))
    part = validate_gan.parts(labels, seed)
    assert not set(part.train) & set(part.held)
    assert (len(part.train), len(part.held)) == (180, 10 + 900 - 90)
    for rows, odd in ((part.train, part.labels), (part.held, part.truth)):
        np.testing.assert_array_equal(labels[rows] != validate_gan.CLASS, odd == 1)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_each_optimizer_of_the_gan_is_validated_at_its_rate(optimizer, monkeypatch):
    class Seen(Exception):
        pass

    def train_members(built, images, table, *rest, **options):
        raise Seen(built, table)

    monkeypatch.setattr(validate_gan.pipeline, "train_members", train_members)
    rng = np.random.default_rng(0)
    whole = Split(rng.integers(0, 256, (600, 28, 28, 1), np.uint8), np.arange(600) % 10)
    with pytest.raises(Seen) as seen:
        validate_gan.aurocs(whole, optimizer, 8, 1, 2)
    built, table = seen.value.args
    np.testing.assert_allclose(table.hparams["learning_rate"], validate_gan.RATES[optimizer])
    assert dict(built.spec.method_options)["optimizer"] == optimizer
    assert dict(built.spec.model_options)["width"] == 8
    assert table.seed.tolist() == [0, 1]
