"""A network is constructed and traced once in a process, whatever asks for it, and a scorer's fit."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax import localise, methods, models, scorers
from adjax.extraction import extractor, shapes
from adjax.features import batch_size_for
from adjax.models.lenet import LeNet5
from adjax.pipeline import Recipe, train_one
from adjax.spec import Spec, params_of, resolve


def counted(calls):
    """LeNet-5 that counts its passes."""

    class Counted(LeNet5):
        def __call__(self, images):
            calls.append("pass")
            return super().__call__(images)

    def made(*args, **options):
        calls.append("made")
        return Counted(*args, **options)

    return made


def test_scorers_of_a_network_share_its_trace_and_its_extraction(monkeypatch):
    calls = []
    monkeypatch.setitem(models.MODELS, "counted", counted(calls))
    specs = [Spec("gmm", "counted", name, (8, 8, 1), "ab") for name in ("gmm", "mahalanobis", "energy")]
    params = {"network": jax.eval_shape(models.make("counted", (8, 8, 1), 2).init, jax.random.key(0))}
    batch = jax.ShapeDtypeStruct((512, 8, 8, 1), np.float32)
    for spec in specs:
        shapes(spec)
        jax.eval_shape(extractor(spec), (params, None), batch)
        jax.eval_shape(lambda p, x, s=spec: resolve(s).method.outputs(p, x), params, batch)
    assert calls.count("pass") == 1
    assert calls.count("made") == 2  # for its graph; and for `params`, above
    assert extractor(specs[0]) is extractor(specs[1])
    assert extractor(specs[0]) is not extractor(specs[0], frozenset({"hidden"}))


def test_to_check_to_fit_and_to_save_trace_a_network_once(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setitem(models.MODELS, "counted", counted(calls))
    images = np.random.default_rng(0).integers(0, 256, (batch_size_for((8, 8, 1)), 8, 8, 1), np.uint8)
    rows, none = np.arange(len(images)), np.zeros(0, np.int32)
    recipe = Recipe("gmm", "counted", "mahalanobis")
    detector, _ = train_one(recipe, images, 0 * rows, ["a"], rows, none, steps=0, batch_size=8)
    assert calls.count("pass") == 1
    detector.save(tmp_path / "d")
    assert localise.kind(detector) is None
    assert calls.count("pass") == 1


@pytest.mark.parametrize("method", methods.METHODS)
def test_shapes_of_parameters_are_those_of_their_draws(method):
    spec = Recipe(method, model=None if methods.entry(method).model else "lenet5").build((28, 28, 1), "ab").spec
    drawn, hparams = resolve(spec).method, {name: np.float32(x) for name, x in resolve(spec).method.hparams.items()}
    expected = jax.eval_shape(lambda: drawn.init(jax.random.key(0), hparams)["params"])
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params_of(spec)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), expected
    )


@pytest.mark.parametrize("batch_size", [None, 7])
def test_fits_of_one_scorer_to_the_same_shapes_are_traced_once_and_keep_no_data(batch_size):
    scorer, calls = scorers.make("center"), []

    def update(stats, *rows):
        calls.append("update")
        return scorer.update(stats, *rows)

    def finalize(stats):
        calls.append("finalize")
        return scorer.finalize(stats)

    counting, rows = scorer._replace(update=update, finalize=finalize), np.ones((20, 3), np.float32)

    def fit(labels, x):
        return scorers.fit(counting, {"features": x}, labels, 1, batch_size)

    for form, labels in (fit, np.zeros(20, np.int32)), (jax.vmap(fit, (0, None)), np.zeros((2, 20), np.int32)):
        form(labels, rows)
        calls.clear()
        alive = weakref.ref(given := jnp.asarray(rows))
        form(labels, given)
        assert not calls
        del given
        gc.collect()
        assert alive() is None


def test_another_module_by_the_name_or_another_option_is_another_network(monkeypatch):
    first = models.make("lenet5", (8, 8, 1), 2)
    assert models.make("lenet5", [8, 8, 1], 2) is first
    assert models.make("lenet5", (8, 8, 1), 3) is not first
    monkeypatch.setitem(models.MODELS, "lenet5", counted([]))
    assert models.make("lenet5", (8, 8, 1), 2) is not first
