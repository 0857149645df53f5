"""A detector on disk: safetensors, JSON and a manifest of their SHA-256 sums. Nothing is unpickled.

    DIR/manifest.json             format, schema, and the SHA-256 of the two others
    DIR/arrays-SUM.safetensors    every leaf of the detector, by name; SUM is where its SHA-256 begins
    DIR/detector-SUM.json         the spec

The manifest is the detector: replacing it, in one atomic step, is what saving means. What it names has been
written by then under names of its own, so whenever a save dies, DIR holds the old detector or the new, whole.

`load` believes nothing. A file counts if its sum is right, a manifest if it is byte for byte what `save`
would have written; no path is read from a file; and arrays are taken if they are exactly those, by name,
shape and dtype, that the spec's own functions ask for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from adjax import scorers, thresholds
from adjax.augment import Normalise
from adjax.detector import Detector, Spec, parts
from adjax.types import PyTree

FORMAT, SCHEMA = "adjax detector", 1
_MANIFEST = "manifest.json"
_KINDS = {"arrays": ".safetensors", "detector": ".json"}
_OWN_FILE = re.compile(r"\.manifest\.json\.new|\.?(arrays|detector)-[0-9a-f]{16}\.(safetensors|json)(\.new)?")
_SUM = re.compile(r"[0-9a-f]{64}")


class ArtefactError(ValueError):
    """A detector directory that is damaged, incomplete, too new, or none at all."""


def save(detector: Detector, directory: str | os.PathLike) -> None:
    """Writes `detector` to `directory`, all or nothing; a detector that is there already is replaced.

    Args:
      detector: a single one, not a stack.
      directory: created if missing. Files beside the detector's own are left alone.

    Raises:
      ArtefactError: `directory` exists and is something else than a detector; `detector` is a stack.
    """
    target = Path(directory)
    _check_target(target)
    arrays = {name: np.asarray(x, order="C") for name, x in _named(jax.device_get(detector)).items()}
    held_out = int(detector.normal_levels.shape[-1])
    channels = int(jnp.shape(detector.normalise.mean)[-1])  # 3 for a grey image that a colour network sees
    _check_arrays(arrays, _template(detector.spec, held_out, channels), "this detector")
    facts = {"spec": dataclasses.asdict(detector.spec), "held_out": held_out, "channels": channels}
    contents = {"arrays": save_arrays(arrays), "detector": _json(facts)}
    sums = {kind: hashlib.sha256(content).hexdigest() for kind, content in contents.items()}

    target.mkdir(parents=True, exist_ok=True)
    for kind, content in contents.items():
        _write(target / _file_name(kind, sums[kind]), content)
    _write(target / _MANIFEST, _manifest(sums))
    current = {_file_name(kind, sums[kind]) for kind in contents}
    for file in target.iterdir():  # of the detector that was, or of a save that died
        if _OWN_FILE.fullmatch(file.name) and file.name not in current:
            with contextlib.suppress(OSError):
                file.unlink()


def load(directory: str | os.PathLike) -> Detector:
    """Reads a detector that `save` wrote.

    Raises:
      ArtefactError: no detector there; a file is missing or damaged; it was written by a newer adjax; its
        arrays aren't those that its spec asks for.
    """
    folder = Path(directory)
    sums = _read_manifest(folder)
    contents = {}
    for kind, expected in sums.items():
        file = folder / _file_name(kind, expected)
        contents[kind] = _read(file)
        found = hashlib.sha256(contents[kind]).hexdigest()
        if found != expected:
            raise ArtefactError(f"{file} is damaged: SHA-256 {found}, the manifest says {expected}")
    try:
        facts = json.loads(contents["detector"])
        template = _template(Spec(**facts["spec"]), facts["held_out"], facts["channels"])
        arrays = load_arrays(contents["arrays"])
    except Exception as error:  # a spec may name anything, and fail in any way
        raise ArtefactError(f"{folder} holds no detector that this adjax knows: {error}") from error
    _check_arrays(arrays, template, str(folder))
    leaves = [jnp.asarray(arrays[name]) for name in _named(template)]
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def _template(spec: Spec, held_out: int, channels: int | None = None) -> Detector:
    """The shapes and dtypes of a detector of that spec; nothing is computed.

    Args:
      spec: of the detector.
      held_out: how many images were held out.
      channels: of its normalisation; None: those of its images.
    """
    method, scorer = parts(spec)
    classes, own = len(spec.classes), spec.image_shape[-1]
    channels = own if channels is None else channels
    if channels not in (own, 3):
        raise ArtefactError(f"a normalisation of {channels} channels for images of {own}: must be as many, or 3")

    def build() -> Detector:
        hparams = {name: jnp.float32(value) for name, value in method.hparams.items()}
        params = method.init(jax.random.key(0), hparams)["params"]
        outputs = method.outputs(params, jnp.zeros((1, *spec.image_shape)))
        state = scorers.fit(scorer, outputs, jnp.zeros(1, jnp.int32), classes)
        calibration = thresholds.calibrate(scorer.distances(state, outputs), jnp.zeros(1, jnp.int32))
        normalise = Normalise(jnp.zeros(channels), jnp.zeros(channels))
        return Detector(normalise, params, state, calibration, jnp.zeros(held_out), jnp.float32(0), spec)

    return jax.eval_shape(build)


def _named(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, in the order of the tree."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in paths}


def _check_arrays(arrays: Mapping[str, np.ndarray], template: Detector, whose: str) -> None:
    expected = {name: f"{x.dtype}{list(x.shape)}" for name, x in _named(template).items()}
    given = {name: f"{x.dtype}{list(x.shape)}" for name, x in arrays.items()}
    wrong = sorted(name for name in {*expected, *given} if expected.get(name) != given.get(name))
    if wrong:
        each = (f"{n} is {given.get(n, 'missing')}, must be {expected.get(n, 'absent')}" for n in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ArtefactError(f"{whose} does not hold the arrays of its spec: {'; '.join(each)}{more}")


def _check_target(target: Path) -> None:
    """Refuses to write where something else is than a detector, nothing, or what a save that died left."""
    if not target.exists():
        return
    if not target.is_dir():
        raise ArtefactError(f"{target} is a file: name a directory")
    if (target / _MANIFEST).exists():
        try:
            _read_manifest(target)
        except ArtefactError as error:
            raise ArtefactError(f"{error}. Name another directory, or remove this one") from error
    elif any(not _OWN_FILE.fullmatch(file.name) for file in target.iterdir()):
        raise ArtefactError(f"{target} is a directory of something else: name another one")


def _manifest(sums: Mapping[str, str]) -> bytes:
    return _json({"format": FORMAT, "schema": SCHEMA, "sha256": dict(sums)})


def _read_manifest(folder: Path) -> dict[str, str]:
    """The sums by kind of file."""
    content = _read(folder / _MANIFEST)
    try:
        manifest = json.loads(content)
        known, schema = manifest["format"] == FORMAT, manifest["schema"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArtefactError(f"{folder / _MANIFEST} is damaged, or no detector's manifest") from error
    if known and isinstance(schema, int) and schema > SCHEMA:
        raise ArtefactError(f"{folder} has schema {schema}, this adjax reads up to {SCHEMA}: update adjax")
    try:
        sums = {kind: str(manifest["sha256"][kind]) for kind in _KINDS}
    except (TypeError, KeyError):
        sums = {}
    if content != _manifest(sums) or not all(map(_SUM.fullmatch, sums.values())):
        raise ArtefactError(f"{folder / _MANIFEST} is damaged, or no detector's manifest")
    return sums


def _file_name(kind: str, sha256: str) -> str:
    return f"{kind}-{sha256[:16]}{_KINDS[kind]}"


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ArtefactError(f"{file.parent} is no whole detector: no {file.name} ({error.strerror})") from error


def _write(file: Path, content: bytes) -> None:
    """Atomic, and on the disk when it returns."""
    fresh = file.with_name(f".{file.name}.new")
    with open(fresh, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, file)
    if os.name == "posix":  # the name, too; elsewhere a directory can't be opened
        directory = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
