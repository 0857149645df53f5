"""A detector on disk: safetensors, JSON and a manifest of their SHA-256 sums. Nothing is unpickled.

    DIR/manifest.json             format, schema, and the SHA-256 of the two others (see `adjax.manifest`)
    DIR/arrays-SUM.safetensors    every leaf of the detector, by name; SUM is where its SHA-256 begins
    DIR/detector-SUM.json         the spec, and how picture files become its images

`load` believes nothing: beyond the sums, arrays are taken if they are exactly those, by name, shape and dtype, that the
spec's own functions ask for.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from adjax import features, models, thresholds
from adjax._trees import by_path
from adjax.augment import Normalise
from adjax.data.io.preprocessing import from_record
from adjax.detector import Detector
from adjax.extraction import traced, traced_on
from adjax.manifest import ArtefactError as ArtefactError
from adjax.manifest import Manifest, to_json
from adjax.models import _patches
from adjax.models.registered import Registered
from adjax.spec import FunctionSpec, Spec, params_of, resolve
from adjax.types import PyTree

FORMAT = Manifest("detector", "adjax detector", 1, (("arrays", ".safetensors"), ("detector", ".json")))
_SAVED_AS = {"calibration_scores": "normal_levels"}
"""Attributes that have another name in files, for good."""
_FITTING = "/left_out/"
"""In the names of arrays that calibration alone has a use for: files don't have them, and a detector read has zeros."""


def save(detector: Detector, directory: str | os.PathLike) -> None:
    """Writes `detector` to `directory`, all or nothing; a detector that is there already is replaced.

    Args:
      detector: a single one, not a stack.
      directory: created if missing. Files beside the detector's own are left alone.

    Raises:
      ArtefactError: `directory` exists and is something else than a detector; `detector` is a stack, or made of
        someone's own functions. Of `adjax.detector_from`, networks of `adjax.models.make` and features can be saved.

    Example:
      >>> import tempfile
      >>> import adjax
      >>> digits = adjax.data.load("digits", "train")
      >>> detector = adjax.train_detector(digits.images[digits.labels == 0], method="hog_ocsvm")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     save(detector, folder)
      ...     sorted(name.partition("-")[0] for name in os.listdir(folder))
      ['arrays', 'detector', 'manifest.json']
    """
    arrays = {name: np.asarray(x, order="C") for name, x in _named(jax.device_get(detector)).items()}
    held_out = int(detector.calibration_scores.shape[-1])
    # 3 for a grey image that a colour network sees; 0: the function is given images as they come
    channels = 0 if detector.normalise is None else int((1, *jnp.shape(detector.normalise.mean))[-1])
    way = detector.preprocessing
    facts = {**_facts(detector), "held_out": held_out, "channels": channels, "preprocessing": way and way.record}
    facts |= {"patches": _patches.VERSION} if _has_patches(facts) else {}
    _check_arrays(arrays, _template(detector.spec, held_out, channels), "this detector")
    FORMAT.write(directory, {"arrays": save_arrays(arrays), "detector": to_json(facts)})


def load(directory: str | os.PathLike) -> Detector:
    """Reads a detector that `save` wrote.

    Raises:
      ArtefactError: no detector there; a file is missing or damaged; it was written by a newer adjax; its
        arrays aren't those that its spec asks for.

    Example:
      >>> import tempfile
      >>> import adjax
      >>> digits = adjax.data.load("digits", "train")
      >>> detector = adjax.train_detector(digits.images[digits.labels == 0], method="hog_ocsvm")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     detector.save(folder)
      ...     float(load(folder).threshold) == float(detector.threshold)
      True
    """
    contents = FORMAT.read(directory)
    try:
        facts = json.loads(contents["detector"])
        _check_patches(facts)
        template = _template(_spec(facts), facts["held_out"], facts["channels"])
        _check_reading(template, facts.get("preprocessing"))  # earlier versions don't tell
        arrays = load_arrays(contents["arrays"])
    except Exception as error:  # a spec may name anything, and fail in any way
        raise ArtefactError(f"{directory} holds no detector that this adjax knows: {error}") from error
    _check_arrays(arrays, template, str(directory))
    leaves = [
        jnp.asarray(arrays[name]) if name in arrays else jnp.zeros(x.shape, x.dtype)
        for name, x in _named(template, whole=True).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def calibration_scores(directory: str | os.PathLike) -> np.ndarray:
    """Reads the scores that thresholds and p-values of a detector are taken from, and builds no network.

    Args:
      directory: that `save` wrote.

    Returns:
      float32[n], ascending, see `Detector.calibration_scores`.

    Raises:
      ArtefactError: as of `load`, but for arrays that aren't those of the spec.
    """
    contents = FORMAT.read(directory)
    try:
        return load_arrays(contents["arrays"])[_SAVED_AS["calibration_scores"]]
    except Exception as error:  # whatever a reader of safetensors fails with
        raise ArtefactError(f"{directory} holds no detector that this adjax knows: {error}") from error


def _check_reading(template: Detector, record: Mapping[str, Any] | None) -> None:
    """Refuses a detector whose pictures were read otherwise than `read_images` reads them for it."""
    if record is not None and from_record(record) != template.preprocessing:
        raise ValueError(f"its preprocessing {record} is not that of its images")


def _has_patches(facts: Mapping[str, Any]) -> bool:
    options = facts["spec"]["model_options"] if "spec" in facts else (facts["function"]["apply"] or {}).get("options")
    return "patch_layers" in dict(options or ())


def _check_patches(facts: Mapping[str, Any]) -> None:
    """Refuses a detector of patches that were made otherwise: with them it would flag almost everything."""
    if _has_patches(facts) and (version := facts.get("patches", 1)) != _patches.VERSION:
        raise ValueError(
            f"its patches were averaged by rules {version}, and this adjax has rules {_patches.VERSION}, which say "
            "other numbers of the same picture: train it again"
        )


def _facts(detector: Detector) -> dict[str, Any]:
    """The spec as files have it: names alone.

    Raises:
      ArtefactError: a function or a scorer that has none.
    """
    spec = detector.spec
    if isinstance(spec, Spec):
        return {"spec": {name: value for name, value in dataclasses.asdict(spec).items() if value is not None}}
    if not isinstance(spec.scorer, str) or not isinstance(spec.apply, Registered | None):
        raise ArtefactError(
            f"{detector} is made of your own functions, and files hold no code: write the program with "
            "detector.export(directory), or keep arrays and code apart. Names are enough for a network of "
            "adjax.models.make and a scorer by name"
        )
    apply = None
    if spec.apply is not None:
        apply = {name: getattr(spec.apply, name) for name in ("model", "image_shape", "classes", "options")}
    named = ("scorer", "image_shape", "classes", "scorer_options", "dtype")
    return {"function": {"apply": apply, **{name: getattr(spec, name) for name in named}}}


def _spec(facts: Mapping[str, Any]) -> Spec | FunctionSpec:
    """The spec that `_facts` wrote down."""
    if "function" not in facts:
        return Spec(**facts["spec"])
    function = dict(facts["function"])
    apply = function.pop("apply")
    if apply is not None:
        apply = models.make(apply["model"], tuple(apply["image_shape"]), apply["classes"], **apply["options"]).apply
    return FunctionSpec(apply=apply, **function)


def _params(spec: FunctionSpec) -> PyTree:
    """Parameters of a function that files name, of arbitrary values."""
    if spec.apply is None:
        return {}
    made: Any = spec.apply
    return models.make(made.model, made.image_shape, made.classes, **made.options).init(jax.random.key(0))


def _template(spec: Spec | FunctionSpec, held_out: int, channels: int | None = None) -> Detector:
    """The shapes and dtypes of a detector of that spec; nothing is computed.

    Args:
      spec: of the detector.
      held_out: how many images were held out.
      channels: of its normalisation; 0: it has none; None: those of its images.
    """
    method, scorer = resolve(spec)
    classes, own = len(spec.classes), spec.image_shape[-1]
    channels = own if channels is None else channels
    if channels not in (0, own, 3):
        raise ArtefactError(f"a normalisation of {channels} channels for images of {own}: must be as many, or 3")

    if isinstance(spec, FunctionSpec):
        params, count = jax.eval_shape(lambda: _params(spec)), features.batch_size_for(spec.seen_shape)
        seen = _shape(count, *spec.image_shape[:-1], channels or own, dtype=jnp.float32 if channels else spec.dtype)
        made = traced_on(scorer, jax.eval_shape(method.outputs, params, seen), classes)  # as the network sees them
    else:
        params, made = params_of(spec), traced(spec, channels)
    labels = _shape(len(made.distances), dtype=jnp.int32)
    calibration = jax.eval_shape(thresholds.calibrate, made.distances, labels)
    normalise = Normalise(_shape(channels), _shape(channels)) if channels else None
    return Detector(normalise, params, made.state, calibration, _shape(held_out), _shape(), spec)


def _shape(*dims: int, dtype: DTypeLike = jnp.float32) -> Any:
    """What stands in an array's place."""
    return jax.ShapeDtypeStruct(dims, jnp.dtype(dtype))


def _named(tree: PyTree, whole: bool = False) -> dict[str, Any]:
    """Leaves by path as files have it, in the order of the tree; those that no file has are there if `whole`."""
    leaves = {_SAVED_AS.get(name, name): leaf for name, leaf in by_path(tree).items()}
    return {name: leaf for name, leaf in leaves.items() if whole or _FITTING not in name}


def _check_arrays(arrays: Mapping[str, np.ndarray], template: Detector, whose: str) -> None:
    expected = {name: f"{x.dtype}{list(x.shape)}" for name, x in _named(template).items()}
    given = {name: f"{x.dtype}{list(x.shape)}" for name, x in arrays.items()}
    wrong = sorted(name for name in {*expected, *given} if expected.get(name) != given.get(name))
    if wrong:
        each = (f"{n} is {given.get(n, 'missing')}, must be {expected.get(n, 'absent')}" for n in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ArtefactError(f"{whose} does not hold the arrays of its spec: {'; '.join(each)}{more}")
