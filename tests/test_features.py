"""All images through a function of a batch."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from adjax import extraction, features, thresholds
from adjax.detector import Detector
from adjax.spec import FunctionSpec, Spec


def images(n, side=5):
    return np.random.default_rng(n).integers(0, 256, (n, side, side, 1)).astype(np.uint8)


def network():
    """Two outputs, and how often it was traced."""
    traces = []

    def function(weights, images):
        traces.append(images.shape)
        x = images.astype(jnp.float32).reshape(len(images), -1) / 255
        hidden = jnp.tanh(x @ weights)
        return {"hidden": hidden, "dark": images.mean((1, 2, 3)) < 128}

    return jax.jit(function), traces


WEIGHTS = np.random.default_rng(0).normal(size=(25, 7)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "on_cpu", "elsewhere"),
    [
        ((28, 28, 1), 128, 512),
        ((128, 128, 3), 8, 64),
        ((256, 256, 3), 2, 16),
        ((4096, 4096, 3), 1, 1),
        ((64,), 512, 512),
    ],
)
def test_a_batch_is_about_a_million_pixels_and_on_cpu_an_eighth(shape, on_cpu, elsewhere, monkeypatch):
    assert features.batch_size_for(shape) == on_cpu
    if on_cpu == 2:
        batches = []
        features.apply(lambda _, x: batches.append(x.shape) or x[:, 0, 0, 0], (), np.zeros((3, *shape), np.uint8))
        assert batches == [(2, *shape)] * 2
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert features.batch_size_for(shape) == elsewhere


@pytest.mark.parametrize(
    ("side_px", "seen"), [(None, (24, 32)), (128, (128, 128)), ((96, 160), (96, 160)), (8, (24, 32))]
)
def test_images_that_a_network_enlarges_are_as_large_as_it_sees_them(side_px, seen):
    options = {} if side_px is None else {"side_px": side_px}
    spec = Spec("gmm", "efficientnet_lite0", "knn", (24, 32, 1), ("normal",), model_options=options)
    assert spec.seen_shape == (*seen, 1)
    assert FunctionSpec(None, "knn", (64,), ("normal",)).seen_shape == (64,)


def test_a_batch_of_enlarged_images_is_of_few(monkeypatch):
    """128 images of 24×32 px would be 128 of 128 px within the network."""
    sizes = []
    monkeypatch.setattr(features, "apply", lambda f, state, x, size=None: sizes.append(size))
    spec = Spec("gmm", "efficientnet_lite0", "knn", (24, 32, 1), ("normal",), model_options={"side_px": 128})
    extraction.extract(spec, {}, None, np.zeros((200, 24, 32, 1), np.uint8))
    nothing = np.zeros(0, np.float32)
    detector = Detector(None, {}, (), thresholds.Calibration(nothing, nothing, nothing), nothing, np.float32(0), spec)
    detector.score(np.zeros((200, 24, 32, 1), np.uint8))
    assert sizes == [8, 8]


@pytest.mark.parametrize(
    ("count", "shape", "size"),
    [
        *(
            (count, (28, 28, 1), size)
            for count, size in ((0, 1), (1, 1), (2, 8), (8, 8), (9, 64), (65, 128), (999, 128))
        ),
        *((count, (96, 96, 3), size) for count, size in ((1, 1), (8, 8), (9, 8), (99, 8))),
        *((count, (4096, 4096, 3), 1) for count in (1, 3)),
    ],
)
def test_few_images_are_a_small_batch(count, shape, size):
    assert features.batch_size_of_few(count, shape) == size


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 16, 45])
def test_any_number_of_images(n):
    x = images(n)
    function, _ = network()
    result = features.apply(function, WEIGHTS, x, batch_size=8)
    assert result["hidden"].shape == (n, 7)
    assert result["hidden"].dtype == np.float32
    assert result["dark"].shape == (n,)
    assert result["dark"].dtype == np.bool_
    np.testing.assert_allclose(result["hidden"], np.tanh(x.reshape(n, 25) / 255 @ WEIGHTS), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(result["dark"], x.mean((1, 2, 3)) < 128)
    assert all(isinstance(leaf, np.ndarray) for leaf in result.values())


def test_one_compilation_for_any_number_of_images():
    function, traces = network()
    for n in (1, 8, 3, 17, 0, 64):
        features.apply(function, WEIGHTS, images(n), batch_size=8)
    assert traces == [(8, 5, 5, 1)]
    assert function._cache_size() == 1


def test_the_batch_size_does_not_matter():
    x = images(45)
    function, _ = network()
    whole = features.apply(function, WEIGHTS, x, batch_size=45)["hidden"]
    for batch_size in (1, 7, 45, 64, 512):
        part = features.apply(function, WEIGHTS, x, batch_size=batch_size)["hidden"]
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)


def test_host_and_device_images_and_states_are_alike():
    x = images(20)
    function, _ = network()
    here = features.apply(function, WEIGHTS, x, 8)["hidden"]
    np.testing.assert_array_equal(here, features.apply(function, jnp.asarray(WEIGHTS), jnp.asarray(x), 8)["hidden"])


def test_outputs_are_cut_as_images_are():
    whole = {"a": np.arange(10).reshape(5, 2), "b": np.arange(5.0)}
    (first, two), (_, again), (last, one) = features.outputs_in_batches(whole, 2)
    assert (two, again, one) == (2, 2, 1)
    np.testing.assert_array_equal(first["a"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(last["a"], [[8, 9], [0, 0]])
    np.testing.assert_array_equal(last["b"], [4, 0])


def test_no_batch_is_refused():
    with pytest.raises(ValueError, match="batch size 0"):
        features.apply(network()[0], WEIGHTS, images(3), batch_size=0)


def test_memory_is_that_of_a_few_batches():
    """The images are a view that is never copied as a whole."""
    n = 4096
    x = np.broadcast_to(images(1, 64), (n, 64, 64, 1))  # 16 MB if copied
    function = jax.jit(lambda state, x: x.astype(jnp.float32).mean((1, 2, 3)))
    features.apply(function, (), x[:64], 64)
    tracemalloc.start()
    features.apply(function, (), x, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
    assert len(features.apply(function, (), x, 64)) == n


def test_the_state_goes_to_the_device_once(monkeypatch):
    seen = []
    features.apply(lambda state, x: seen.append(state) or x, WEIGHTS, images(40), batch_size=8)
    assert len(seen) == 5
    assert all(state is seen[0] for state in seen)
    assert isinstance(seen[0], jax.Array)
