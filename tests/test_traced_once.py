"""A network is constructed and traced once in a process, whatever asks for it."""

import jax
import numpy as np

from adjax import models
from adjax.extraction import extractor, shapes
from adjax.models.lenet import LeNet5
from adjax.spec import Spec, resolve


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
    assert calls.count("made") == 2  # for its graph, and for its parameters
    assert extractor(specs[0]) is extractor(specs[1])
    assert extractor(specs[0]) is not extractor(specs[0], frozenset({"hidden"}))


def test_another_module_by_the_name_or_another_option_is_another_network(monkeypatch):
    first = models.make("lenet5", (8, 8, 1), 2)
    assert models.make("lenet5", [8, 8, 1], 2) is first
    assert models.make("lenet5", (8, 8, 1), 3) is not first
    monkeypatch.setitem(models.MODELS, "lenet5", counted([]))
    assert models.make("lenet5", (8, 8, 1), 2) is not first
