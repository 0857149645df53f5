"""A detector on disk: arrays as safetensors, the rest as JSON, and a manifest of SHA-256 sums. Nothing is unpickled.

    DIR/arrays.safetensors   every leaf of the detector
    DIR/detector.json        the spec, and the shapes that the arrays must have
    DIR/manifest.json        SHA-256 of both files

`load` reads nothing before its sum is right, and builds nothing that the spec's own functions don't ask for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from adjax import scorers, thresholds
from adjax.augment import Normalise
from adjax.detector import Detector, Spec, parts

SCHEMA = 1
_ARRAYS, _SPEC, _MANIFEST = "arrays.safetensors", "detector.json", "manifest.json"


class ArtefactError(ValueError):
    """A detector directory that is damaged, incomplete, too new, or none at all."""


def save(detector: Detector, directory: str | os.PathLike) -> None:
    """Writes `detector` to `directory`, all or nothing; a detector that is there already is replaced.

    Raises:
      ArtefactError: `directory` exists and is something else than a detector.
    """
    target = Path(directory)
    if target.exists() and not (target / _MANIFEST).is_file() and (not target.is_dir() or any(target.iterdir())):
        raise ArtefactError(f"{target} exists and is no detector: name another directory, or remove it")
    named = {name: np.asarray(x, order="C") for name, x in _named(jax.device_get(detector)).items()}
    spec = {
        "schema": SCHEMA,
        "spec": dataclasses.asdict(detector.spec),
        "held_out": int(detector.normal_levels.shape[0]),
    }
    files = {_ARRAYS: save_arrays(named), _SPEC: _json(spec)}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[_MANIFEST] = _json({"schema": SCHEMA, "sha256": sums})

    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, content in files.items():
            with open(fresh / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        fresh.chmod(0o755)
        if target.exists():
            old = fresh.with_name(fresh.name + "-old")
            target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old)
        else:
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def load(directory: str | os.PathLike) -> Detector:
    """Reads a detector that `save` wrote.

    Raises:
      ArtefactError: no detector there; a file is missing or its SHA-256 differs; it was written by a newer adjax; its
        arrays aren't those that its spec asks for.
    """
    folder = Path(directory)
    manifest = _parse(_read(folder, _MANIFEST), _MANIFEST)
    schema = manifest.get("schema")
    if schema != SCHEMA:
        raise ArtefactError(f"{folder} has schema {schema}, this adjax reads {SCHEMA}: update adjax, or fit again")
    content = {}
    for name in (_ARRAYS, _SPEC):
        content[name] = _read(folder, name)
        found, expected = hashlib.sha256(content[name]).hexdigest(), manifest.get("sha256", {}).get(name)
        if found != expected:
            raise ArtefactError(f"{folder / name} is damaged: SHA-256 {found}, the manifest says {expected}")
    facts = _parse(content[_SPEC], _SPEC)
    try:
        spec = _spec(facts["spec"])
        template = _template(spec, int(facts["held_out"]))
        arrays = load_arrays(content[_ARRAYS])
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ArtefactError(f"{folder} does not describe a detector that this adjax knows: {error}") from error
    expected = {name: (x.shape, x.dtype) for name, x in _named(template).items()}
    given = {name: (x.shape, x.dtype) for name, x in arrays.items()}
    if expected != given:
        wrong = sorted(n for n in {*expected, *given} if expected.get(n) != given.get(n))
        detail = "; ".join(f"{n}: {given.get(n)}, expected {expected.get(n)}" for n in wrong[:3])
        raise ArtefactError(f"{folder / _ARRAYS} does not hold this detector's arrays ({detail})")
    leaves = [jnp.asarray(arrays[name]) for name in _named(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _named(tree) -> dict:
    """Leaves by path, in the order of the tree."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def _template(spec: Spec, held_out: int) -> Detector:
    """The shapes and dtypes of a detector of that spec."""

    def build():
        method, scorer = parts(spec)
        classes, channels = len(spec.classes), spec.image_shape[-1]
        params = method.init(jax.random.key(0), {k: jnp.float32(v) for k, v in method.hparams.items()})["params"]
        outputs = method.outputs(params, jnp.zeros((1, *spec.image_shape)))
        state = scorers.fit(scorer, outputs, jnp.zeros(1, jnp.int32), classes)
        calibration = thresholds.calibrate(scorer.distances(state, outputs), jnp.zeros(1, jnp.int32))
        normalise = Normalise(jnp.zeros(channels), jnp.zeros(channels))
        return Detector(
            normalise, params, state, calibration, jnp.zeros(held_out), jnp.float32(0), spec
        )

    return jax.eval_shape(build)


def _spec(facts: dict) -> Spec:
    return Spec(
        method=facts["method"],
        model=facts["model"],
        scorer=facts["scorer"],
        image_shape=tuple(facts["image_shape"]),
        classes=tuple(facts["classes"]),
        scorer_options=tuple((name, value) for name, value in facts["scorer_options"]),
    )


def _json(value) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _parse(content: bytes, name: str) -> dict:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ArtefactError(f"{name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ArtefactError(f"{name} holds no object")
    return value


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise ArtefactError(f"{folder} is no whole detector: {name} can't be read ({error.strerror})") from error
