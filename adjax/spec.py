"""The static part of a detector: names and options of its functions, hashable, a constant to `jit`.

A detector is arrays and such a spec. `Spec` names adjax's own functions, so it is all JSON and can be saved;
`FunctionSpec` holds someone's own, which no file can hold unless it has a name (`adjax.models.registered`), but which
can be exported as a program (`adjax.export`).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from adjax import methods, models, scorers
from adjax.data.io import reading
from adjax.data.io.pixels import Frame
from adjax.models._backbone import wanted
from adjax.types import Method, Outputs, PyTree, Scorer

Precision = Literal["default", "highest"]
"""Of the network's matrix products and convolutions. "default": what the device likes, bfloat16 operands on a TPU, TF32
on NVIDIA's GPUs, float32 on a CPU. "highest": float32 everywhere, so that scores are the same on every device."""


@dataclass(frozen=True)
class Spec:
    """Functions of adjax, by name. Hashable, and all JSON.

    Attributes:
      method, model, scorer: names in the registries.
      image_shape: (height px, width px, channels); any sequence will do.
      classes: names of the classes, in the order of the labels; any sequence.
      scorer_options, method_options, model_options: keyword arguments of the scorer, the method and the model, as
        sorted (name, value) pairs; a dict will do.
      frame: what of a picture file is brought to `image_shape`, see `adjax.data.io.pixels`: "middle", the largest
        part of these proportions; "whole", all of it, stretched; "letterbox", all of it between black bars; "tiles",
        overlapping tiles of a picture that keeps its size, see `adjax.tiles`.
      depth: bits that its 16-bit grey picture files use, 8 to 16, see `adjax.data.io.upload.read`.
      page: of its picture files of several, from 1; None: they have one.
      limits: values that are black and white in its TIFF files of floats, signed or 32-bit integers; any sequence of
        two. None: it takes no such files.
      precision: of the network's matrix products; scorers' are always exact.

    Example:
      >>> spec = Spec("centerloss", "lenet5", "mahalanobis", (8, 8, 1), "0123456789")
      >>> spec.names
      ('centerloss', 'lenet5', 'mahalanobis')
      >>> len(spec.classes), spec.dtype
      (10, 'uint8')
    """

    method: str
    model: str
    scorer: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    scorer_options: tuple[tuple[str, Any], ...] = ()
    method_options: tuple[tuple[str, Any], ...] = ()
    model_options: tuple[tuple[str, Any], ...] = ()
    frame: Frame = "middle"
    depth: int = 16
    page: int | None = None
    limits: tuple[float, float] | None = None
    precision: Precision = "default"

    def __post_init__(self) -> None:
        if self.frame not in get_args(Frame):
            raise ValueError(f"frame={self.frame!r}: must be one of {', '.join(get_args(Frame))}")
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision={self.precision!r}: must be one of {', '.join(get_args(Precision))}")
        height, width, channels = (operator.index(n) for n in self.image_shape)
        canonical = {
            "image_shape": (height, width, channels),
            "classes": tuple(self.classes),
            "scorer_options": _sorted(self.scorer_options),
            "method_options": _sorted(self.method_options),
            "model_options": _sorted(self.model_options),
            **reading.checked(self.depth, self.page, self.limits),
        }
        for name, value in canonical.items():
            object.__setattr__(self, name, value)

    @property
    def seen_shape(self) -> tuple[int, int, int]:
        """The larger of `image_shape` and what the network brings it to, (height px, width px, channels)."""
        height, width, channels = self.image_shape
        seen = wanted(height, width, dict(self.model_options).get("side_px"))
        return *max((height, width), seen, key=math.prod), channels

    @property
    def dtype(self) -> str:
        """Dtype of the images: "uint8"."""
        return "uint8"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its parts, for people to read; the scorer last."""
        return self.method, self.model, self.scorer


@dataclass(frozen=True)
class FunctionSpec:
    """Functions of someone else, themselves. Two are equal if they hold the same function objects.

    Attributes:
      apply: `(params, images) -> features [N, D]`, scores [N] or a dict of outputs; None: the images are features.
      scorer: a name in `adjax.scorers.SCORERS`, or the scorer.
      image_shape: of one image, or of one row of features; any sequence.
      classes: names of the classes, in the order of the labels; any sequence.
      scorer_options: keyword arguments of a scorer by name, as sorted (name, value) pairs; a dict will do.
      dtype: of the images, "uint8" or "float32".
    """

    apply: Callable[[PyTree, jax.Array], Any] | None
    scorer: str | Scorer
    image_shape: tuple[int, ...]
    classes: tuple[str, ...]
    scorer_options: tuple[tuple[str, Any], ...] = ()
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        canonical = {
            "image_shape": tuple(operator.index(n) for n in self.image_shape),
            "classes": tuple(self.classes),
            "scorer_options": _sorted(self.scorer_options),
        }
        for name, value in canonical.items():
            object.__setattr__(self, name, value)

    @property
    def seen_shape(self) -> tuple[int, ...]:
        """`image_shape`: what its function makes of it is not known."""
        return self.image_shape

    @property
    def frame(self) -> Frame:
        """What of a picture file it takes: "middle"."""
        return "middle"

    @property
    def depth(self) -> int:
        """Bits that 16-bit grey picture files use: all."""
        return 16

    @property
    def precision(self) -> Precision:
        """Of matrix products: as its function says, "default"."""
        return "default"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its parts, for people to read; the scorer last."""
        network = "features" if self.apply is None else getattr(self.apply, "__name__", type(self.apply).__name__)
        return network, self.scorer if isinstance(self.scorer, str) else "scorer"


def _sorted(options: Any) -> tuple[tuple[str, Any], ...]:
    """Options as sorted pairs; a list, as JSON has it, is a tuple again, so that the spec can be hashed."""

    def plain(value: Any) -> Any:
        return tuple(map(plain, value)) if isinstance(value, list | tuple) else value

    return tuple(sorted((str(k), plain(v)) for k, v in dict(options).items()))


class Resolved(NamedTuple):
    """The functions of a spec."""

    method: Method
    scorer: Scorer


@functools.lru_cache
def resolve(spec: Spec | FunctionSpec) -> Resolved:
    """The functions of a spec. Training settings don't matter: it is `outputs` that is used."""
    scorer = spec.scorer
    if isinstance(scorer, str):
        with jax.ensure_compile_time_eval():  # first asked for in a trace, a factory's arrays must not belong to it
            scorer = scorers.make(scorer, **dict(spec.scorer_options))
    if isinstance(spec, FunctionSpec):
        return Resolved(_untrained(functools.partial(_outputs, spec.apply)), scorer)
    method = _method(spec, _network(spec))
    if spec.precision != "default":
        method = method._replace(outputs=_precise(method.outputs, spec.precision))
    return Resolved(method, scorer)


@functools.lru_cache
def params_of(spec: Spec) -> PyTree:
    """Shapes of the parameters; those of the network are known, and its draws, most of the time, are not traced."""
    network = _network(spec)
    still = network._replace(init=lambda key: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), network.shapes))
    method = _method(spec, still)
    hparams = {name: jnp.float32(value) for name, value in method.hparams.items()}
    return jax.eval_shape(lambda key: method.init(key, hparams)["params"], jax.random.key(0))


def _network(spec: Spec) -> models.Network:
    return models.make(spec.model, spec.image_shape, len(spec.classes), **dict(spec.model_options))


def _method(spec: Spec, network: models.Network) -> Method:
    options = dict(spec.method_options)
    return methods.make(spec.method, network, spec.image_shape, len(spec.classes), steps=1, **options)


def _precise(outputs: Callable[[PyTree, jax.Array], Outputs], precision: Precision) -> Callable:
    def run(params: PyTree, images: jax.Array) -> Outputs:
        with jax.default_matmul_precision(precision):
            return outputs(params, images)

    return run


def _untrained(outputs: Callable[[PyTree, jax.Array], Outputs]) -> Method:
    def init(key: jax.Array, hparams: Mapping[str, jax.Array]) -> PyTree:
        raise NotImplementedError("parameters that were trained elsewhere are not drawn here")

    return Method(init, None, outputs, {}, scorer="mahalanobis")


def _outputs(apply: Callable | None, params: PyTree, images: jax.Array) -> Outputs:
    """What someone's function says, by name."""
    said = images if apply is None else apply(params, images)
    if not isinstance(said, Mapping):
        rank = np.ndim(said)
        if rank not in (1, 2):
            raise ValueError(
                f"the function gives an array of shape {np.shape(said)}: must be features [N, D], scores [N], or a "
                "dict of named outputs; flatten or pool what has places"
            )
        said = {"score" if rank == 1 else "features": said}
    outputs = {str(name): jnp.asarray(x) for name, x in said.items()}
    for name, x in outputs.items():
        if x.ndim < 1 or x.shape[0] != images.shape[0]:
            raise ValueError(f"output {name!r} of {images.shape[0]} images has shape {x.shape}: must be [N, ...]")
    return {name: x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32) for name, x in outputs.items()}
