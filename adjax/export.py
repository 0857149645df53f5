"""A detector as a program: images in, score, p-value, decision and map out; to run it takes JAX alone.

    DIR/manifest.json             format, schema, and the SHA-256 of the two others (see `adjax.manifest`)
    DIR/program-SUM.stablehlo     what `jax.export` serialised: network, scorer, calibration and threshold as constants,
                                  for CPU, CUDA and TPU, for batches of any size
    DIR/about-SUM.json            what it is made of, and how picture files become its images (`adjax.read_images`)

`load` needs neither the networks nor the scorers that the program is made of, nor imports them. Without adjax:
`jax.export.deserialize(bytearray(open(file, "rb").read())).call(images)`, from one image on. JAX promises to read such
a program for six months, and an older JAX may not read it at all (0.10 reads none of 0.12's): export where the oldest
JAX is that has to run it. It is for shipping, and `Detector.save` for keeping.

A detector with maps (`Detector.maps`) gives them as the output `map`, at the size of the images. A caller who compiles
the program with others of its outputs alone computes no map.

ONNX is `adjax.onnx`.

Example:
  >>> import tempfile
  >>> import adjax
  >>> rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
  >>> detector = adjax.detector_from(None, {}, "mahalanobis", rows)
  >>> with tempfile.TemporaryDirectory() as folder:
  ...     detector.export(folder)
  ...     load(folder).predict(rows[:1] + 10).tolist()
  [True]
"""

from __future__ import annotations

import functools
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from adjax import features
from adjax.data.io.preprocessing import Preprocessing, from_record
from adjax.manifest import ArtefactError, Manifest, to_json

if TYPE_CHECKING:
    from adjax.detector import Detector

PLATFORMS = ("cpu", "cuda", "tpu")
FORMAT = Manifest("exported detector", "adjax exported detector", 1, (("program", ".stablehlo"), ("about", ".json")))
_BLOCK = 32
"""Images at a time, where a function can't be traced without knowing how many there are."""


class Exported(NamedTuple):
    """An exported detector, called like a `Detector`; made by `load`.

    Called with plain arrays it runs compiled, in batches of a few sizes, and gives NumPy arrays. Inside someone's `jit`
    it is a pure JAX function of the images; `vmap` and `grad` can't look into it.

    Attributes:
      call: the program, jitted: `(images) -> {"score", "anomalous", "p_value", "map"}`, from one image on.
      image_shape: of one image.
      dtype: of the images, "uint8"; "float32" for a detector of feature rows or of float images.
      classes: names of the classes that count as normal.
      about: what it is made of.
      jax_version: of the JAX that exported it; that or a newer one runs it.
      map_kind: of its maps, "score" or "reconstruction", as `adjax.localise.kind` has it; None: it has none.
      preprocessing: how picture files become its images, for `adjax.read_images`; None: it takes no pictures, or was
        exported before programs told.
    """

    call: Any
    image_shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...]
    about: str
    jax_version: str
    map_kind: str | None = None
    preprocessing: Preprocessing | None = None

    def __call__(self, images: ArrayLike) -> dict[str, Any]:
        """`score` float32[N], `anomalous` bool[N] and, if there were held-out images, `p_value` float32[N].

        Args:
          images: uint8 (or what `dtype` says) [N, ...], N ≥ 0.

        Raises:
          ValueError: images of another shape or dtype.
        """
        return self._run(_scores(self.call), images)

    def _run(self, function: Any, images: ArrayLike) -> Any:
        shape, dtype = np.shape(images), getattr(images, "dtype", None)
        limit = ", ".join(map(str, self.image_shape))
        if len(shape) != 1 + len(self.image_shape) or shape[1:] != self.image_shape:
            raise ValueError(f"images of shape {shape}: this detector takes [N, {limit}]")
        if dtype != self.dtype:
            raise ValueError(f"images of dtype {dtype}: this detector was exported for {self.dtype}")
        if isinstance(images, jax.core.Tracer):
            return function(None, images)
        fitting = 1 << max(shape[0] - 1, 0).bit_length()  # the least power of two that holds them all
        return features.apply(function, None, np.asarray(images), min(fitting, features.batch_size_for(shape[1:])))

    def score(self, images: ArrayLike) -> Any:
        """float32[N], higher = more anomalous; as `Detector.score`."""
        return self(images)["score"]

    def predict(self, images: ArrayLike) -> Any:
        """bool[N], True = anomalous; as `Detector.predict`."""
        return self(images)["anomalous"]

    def p_value(self, images: ArrayLike) -> Any:
        """float32[N] in (0, 1]; as `Detector.p_value`.

        Raises:
          ValueError: the detector was fitted without held-out images.
        """
        said = self(images)
        if "p_value" not in said:
            raise ValueError("no p-values: this detector was fitted without held-out normal images; give `fit` some")
        return said["p_value"]

    def maps(self, images: ArrayLike) -> Any:
        """Where each image is anomalous, float32[N, H, W]; as `Detector.maps`. Scores and maps in one pass: `call`.

        Raises:
          ValueError: the program gives no maps; images of another shape or dtype.
        """
        if self.map_kind is None:
            raise ValueError(
                f"no maps: {self.about} has no places and does not reconstruct, or was exported before programs gave "
                "maps; export it again, or train with a scorer such as padim, patchcore or subspace"
            )
        return self._run(_maps(self.call), images)


@functools.lru_cache
def _scores(call: Any) -> Any:
    """The program without its map, which XLA then leaves out."""
    return jax.jit(lambda _, images: {name: x for name, x in call(images).items() if name != "map"})


@functools.lru_cache
def _maps(call: Any) -> Any:
    return jax.jit(lambda _, images: call(images)["map"])


def save(detector: Detector, directory: str | os.PathLike) -> None:
    """Writes a detector to `directory` as a program, all or nothing; a program that is there already is replaced.

    Args:
      detector: a single one, not a stack; of adjax's functions or of your own.
      directory: created if missing.

    Raises:
      ArtefactError: `directory` exists and is something else.
      ValueError: `detector` is a stack.
    """
    from adjax import localise

    exported, way = program(detector), detector.preprocessing
    about = {
        "detector": repr(detector),
        "classes": list(detector.spec.classes),
        "jax": jax.__version__,
        "map": localise.kind(detector),
        "preprocessing": way and way.record,
    }
    FORMAT.write(directory, {"program": bytes(exported.serialize()), "about": to_json(about)})


def program(detector: Detector) -> jax.export.Exported:
    """The detector as `jax.export` has it, for all `PLATFORMS` and a symbolic number of images ≥ 1.

    Where the scorer can't be traced for a symbolic number, the program goes over the images in blocks.

    Raises:
      ValueError: `detector` is a stack.
    """
    from jax import export

    function = decide(detector)
    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *detector.spec.image_shape), jnp.dtype(detector.spec.dtype))
    exporting = export.export(jax.jit(function), platforms=PLATFORMS)
    try:
        return exporting(images)
    except Exception:  # of whatever kind a scorer's arithmetic with a symbol raises
        return export.export(jax.jit(_in_blocks(function)), platforms=PLATFORMS)(images)


def decide(detector: Detector, compare: bool = False) -> Any:
    """Builds the exported program: one pure function from images to score, decision and p-value.

    Args:
      detector: a single one.
      compare: as in `adjax.thresholds.class_quantiles`.

    Returns:
      `images -> {"score": float32[N], "anomalous": bool[N], "p_value": float32[N], "map": float32[N, H, W]}`, p-values
      if there are held-out images, and a map if the detector has one, see `adjax.localise`.

    Raises:
      ValueError: `detector` is a stack.
    """
    from adjax import detector as detectors
    from adjax import localise, thresholds

    if jnp.ndim(detector.threshold) != 0:
        raise ValueError(f"a stack of {len(detector.threshold)} detectors: export them one by one")
    detector = jax.tree.map(jnp.asarray, detector)

    def function(images: jax.Array) -> dict[str, jax.Array]:
        outputs = detectors.outputs_of(detector, images)
        score = detectors.score_outputs(detector, outputs, compare)
        said = {"score": score, "anomalous": thresholds.is_anomalous(score, detector.threshold)}
        if detector.calibration_scores.shape[0] > 0:
            said["p_value"] = thresholds.p_value(detector.calibration_scores, score)
        if (places := localise.places(detector, images, outputs, compare)) is not None:
            said["map"] = localise.enlarged(places, images.shape[1:3])
        return said

    return function


def load(directory: str | os.PathLike) -> Exported:
    """Reads a detector that `save` wrote, or `Detector.export`.

    Raises:
      ArtefactError: none there; a file is missing or damaged; it was written by a newer adjax, or by a newer JAX whose
        programs this one can't run; it has no program for this machine's devices.

    Example:
      >>> import tempfile, adjax
      >>> from adjax import data
      >>> rows = data.load("digits", "train").images.reshape(-1, 64).astype("float32")
      >>> detector = adjax.detector_from(None, {}, "mahalanobis", rows)
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     detector.export(directory)
      ...     exported = load(directory)
      >>> bool(np.allclose(exported.score(rows[:3]), detector.score(rows[:3])))
      True
    """
    from jax import export

    contents = FORMAT.read(directory)
    try:
        about = json.loads(contents["about"])
        exported = export.deserialize(bytearray(contents["program"]))
        (images,) = exported.in_avals
        classes, text, version = tuple(map(str, about["classes"])), str(about["detector"]), str(about["jax"])
        map_kind = about.get("map")  # programs of earlier releases have none, and don't tell
        way = about.get("preprocessing")
        reading = None if way is None else from_record(way)
        newer = _release(version) > _release(jax.__version__)
    except Exception as error:  # of whatever kind
        raise ArtefactError(
            f"{directory} holds no program that jax {jax.__version__} can read: {error}. "
            "If a newer JAX wrote it, update jax"
        ) from error
    here = jax.devices()[0].platform
    if here not in exported.platforms and not (here == "gpu" and "cuda" in exported.platforms):
        raise ArtefactError(f"{directory} is for {', '.join(exported.platforms)}, and this machine computes on {here}")
    call = jax.jit(exported.call)
    if newer:  # its calling convention may be known and its operations not, which only compiling brings to light
        try:
            call.lower(jax.ShapeDtypeStruct((1, *images.shape[1:]), images.dtype)).compile()
        except Exception as error:
            raise ArtefactError(
                f"{directory} was exported by jax {version}, and jax {jax.__version__} can't run it: update to jax "
                f"{version} or newer, or export the detector again with jax {jax.__version__}"
            ) from error
    return Exported(call, images.shape[1:], str(images.dtype), classes, text, version, map_kind, reading)


def _release(version: str) -> tuple[int, ...]:
    """(0, 12) of "0.12.0.1": what JAX changes its formats by."""
    return tuple(int(part) for part in version.split(".")[:2])


def _in_blocks(function: Any) -> Any:
    """The same function, `_BLOCK` images at a time, so that only their number is symbolic."""

    def blocked(images: jax.Array) -> Any:
        n = images.shape[0]
        blocks = (n + _BLOCK - 1) // _BLOCK
        padding = jnp.zeros((_BLOCK - 1, *images.shape[1:]), images.dtype)
        padded = jnp.concatenate([images, padding])[: blocks * _BLOCK]
        said = lax.map(function, padded.reshape(blocks, _BLOCK, *images.shape[1:]))
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n], said)

    return blocked
