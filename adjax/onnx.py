"""A detector as an ONNX file, by jax2onnx: images in; score, p-value, decision and map out; runs without JAX.

The same function as `adjax.export`, but for one thing: a distance's place among the training distances is found by
comparison with all of the table, since jax2onnx has no batched search. Needs the extra `onnx`.

Not every scorer can be converted, and some are converted wrongly: so nothing is written before ONNX Runtime has given
the detector's own scores for images of noise.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import atomic, distribution, localise
from adjax.export import decide

if TYPE_CHECKING:
    from adjax.detector import Detector


def save(detector: Detector, file: str | os.PathLike) -> None:
    """Writes a detector to an ONNX file, atomically; input `images`, outputs `score`, `anomalous`, `p_value`, `map`.

    Args:
      detector: a single one, not a stack. Its number of images is left open; there are no p-values if there were no
        held-out images, and no map if it has none.
      file: with or without the ending .onnx; replaced if there.

    Raises:
      ValueError: the extra `onnx` is not installed; something in the detector that jax2onnx has no ONNX for, or a wrong
        one; it is a stack.
    """
    try:
        import jax2onnx
    except ImportError as error:
        raise ValueError(f"ONNX needs the extra: {distribution.install('onnx')} ({error})") from error

    function, held_out = decide(detector, compare=True), detector.calibration_scores.shape[0]
    mapped = localise.kind(detector) is not None
    names = ["score", "anomalous", *(["p_value"] if held_out else []), *(["map"] if mapped else [])]
    shape: tuple = ("N", *detector.spec.image_shape)
    mend = "StableHLO has it: detector.export(directory)"
    try:
        model = jax2onnx.to_onnx(
            lambda images: tuple(function(images)[name] for name in names),
            [jax.ShapeDtypeStruct(shape, jnp.dtype(detector.spec.dtype))],
            model_name="adjax_detector",
            input_names=["images"],
            output_names=names,
        )
    except Exception as error:  # of whatever kind
        raise ValueError(f"jax2onnx can't convert {detector}: {error}. {mend}") from error
    about = {"detector": repr(detector), "classes": ",".join(detector.spec.classes)}
    if (way := detector.preprocessing) is not None:
        about["preprocessing"] = json.dumps(way.record)
    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    try:
        _verify(model.SerializeToString(), function, detector)
    except Exception as error:
        raise ValueError(f"jax2onnx converts {detector} wrongly: {error}. {mend}") from error
    atomic.write(file, model.SerializeToString())


def _verify(model: bytes, function: Any, detector: Detector) -> None:
    """Runs the model beside the detector, on noise: whatever differs is an error."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(33, *detector.spec.image_shape)).astype(np.float32)
    if detector.spec.dtype == "uint8":
        noise = rng.integers(0, 256, noise.shape, np.uint8)
    for images in (noise, noise[:1]):
        expected, names = jax.jit(function)(images), [output.name for output in session.get_outputs()]
        for name, found in zip(names, session.run(None, {"images": images}), strict=True):
            np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)
