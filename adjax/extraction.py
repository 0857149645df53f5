"""Extraction of network outputs, as far as a scorer reads them: extracted once, scored by many."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Set
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adjax import features, scorers
from adjax.augment import Normalise
from adjax.data.io.scratch import Images
from adjax.spec import FunctionSpec, Spec, resolve
from adjax.types import Outputs, PyTree, Scorer


def extract(
    spec: Spec | FunctionSpec,
    params: PyTree,
    normalise: Normalise | None,
    images: Images,
    also: Set[str] = frozenset(),
) -> Outputs:
    """Extracts a network's outputs of all images, to the host: extract once, score with many.

    Args:
      spec: names the network and its scorer.
      params: of the network.
      normalise: pixel values to network input; None: images as they are.
      images: [N, H, W, C] as `spec` takes them, uint8 or float.
      also: further outputs to keep.

    Returns:
      NumPy arrays of N rows by name: `features`, `logits`, `score` and what the scorer reads, as far as the network
      gives them.

    Raises:
      ValueError: images of another shape or dtype.
    """
    check(images, spec)
    size = features.batch_size_for(spec.seen_shape)
    return features.apply(extractor(spec, frozenset(also)), (params, normalise), images, size)


@functools.lru_cache
def extractor(spec: Spec | FunctionSpec, also: frozenset[str] = frozenset()) -> Callable:
    """Compiles the extraction of one batch: one program for all scorers of a network that read the same outputs.

    Args:
      spec: names the network and its scorer.
      also: further outputs to keep.

    Returns:
      `((params, normalise), images) -> outputs`, the outputs of `extract`.
    """
    if isinstance(spec, FunctionSpec):
        return _extractor(spec, also, True)
    read = read_by(resolve(spec).scorer, shapes(spec), len(spec.classes))
    return _extractor(_without_scorer(spec), also | read, False)


@functools.lru_cache
def _extractor(spec: Spec | FunctionSpec, also: frozenset[str], scored: bool) -> Callable:
    """`scored`: what the scorer reads is kept, too."""

    def function(state, images):
        params, normalise = state
        method, scorer = resolve(spec)
        outputs = method.outputs(params, seen(normalise, images))
        kept = {"features", "logits", "score"} | also
        kept = kept | read_by(scorer, outputs, len(spec.classes)) if scored else kept
        return {name: x for name, x in outputs.items() if name in kept}

    return jax.jit(function)


def shapes(spec: Spec) -> Outputs:
    """Traces the shapes of a network's outputs for a batch; nothing is computed."""
    return _shapes(_without_scorer(spec))


def with_layers(spec: Spec) -> Spec:
    """The spec with the names and widths of all of the network's layers, if its scorer is `layers` and none is named;
    by shapes alone."""
    if spec.scorer not in scorers.OF_LAYERS or "names" in dict(spec.scorer_options):
        return spec
    all_of_them = scorers.needed(spec.scorer, scorers.SCORERS[spec.scorer], shapes(spec)) or {}
    return dataclasses.replace(spec, scorer_options=tuple({**all_of_them, **dict(spec.scorer_options)}.items()))


def check_scorer(spec: Spec) -> None:
    """Refuses a scorer that the network can't feed, by shapes alone: before anything is trained.

    Raises:
      ValueError: which scorers it can feed.
    """
    said = shapes(spec)
    if not scorers.feeds(said, resolve(spec).scorer, len(spec.classes)):
        raise ValueError(
            f"scorer {spec.scorer!r} can't be fed by method {spec.method!r} with model {spec.model!r}, which gives "
            f"{', '.join(said)}; these can: {', '.join(_fed(_without_scorer(spec)))}"
        )


def _without_scorer(spec: Spec) -> Spec:
    """One spec for all scorers of a network, so that it is traced once."""
    return dataclasses.replace(spec, scorer="score", scorer_options=())


@functools.lru_cache
def _shapes(spec: Spec) -> Outputs:
    method = resolve(spec).method
    hparams = {name: jnp.float32(value) for name, value in method.hparams.items()}

    def said(key: jax.Array, images: jax.Array) -> Outputs:
        return method.outputs(method.init(key, hparams)["params"], images)

    size = features.batch_size_for(spec.seen_shape)  # that of the extraction, so that the network is traced once
    return jax.eval_shape(said, jax.random.key(0), jax.ShapeDtypeStruct((size, *spec.image_shape), jnp.float32))


@functools.lru_cache
def _fed(spec: Spec) -> tuple[str, ...]:
    return tuple(scorers.suite(scorers.SCORERS, shapes(spec), len(spec.classes)))


class _Asked(dict):
    """Outputs that tell `names` which of them were asked for."""

    def __init__(self, outputs: Outputs, names: set[str]) -> None:
        super().__init__(outputs)
        self.names = names

    def __getitem__(self, name: str) -> jax.Array:
        if name not in self:
            raise ValueError(
                f"the scorer reads {name!r}, and the network gives {', '.join(self)}: choose another scorer"
            )
        self.names.add(name)
        return super().__getitem__(name)


def read_by(scorer: Scorer, outputs: Outputs, classes: int) -> set[str]:
    """Finds the outputs that fitting and scoring read; nothing is computed.

    Args:
      scorer: the one to trace.
      outputs: arrays or shapes by name.
      classes: K ≥ 1.

    Returns:
      Their names.

    Raises:
      ValueError: an output that the network does not give.
    """
    names: set[str] = set()

    def ask(outputs: Outputs) -> None:
        asked, n = _Asked(outputs, names), len(next(iter(outputs.values())))
        stats = scorer.update(scorer.start(outputs, classes), asked, jnp.zeros(n, jnp.int32), jnp.ones(n, bool))
        scorer.distances(scorer.finalize(stats), asked)

    jax.eval_shape(ask, dict(outputs))
    return names


def seen(normalise: Normalise | None, images: jax.Array) -> jax.Array:
    """Applies a detector's normalisation.

    Args:
      normalise: pixel values to network input; None: images are returned as they are.
      images: [N, H, W, C].

    Returns:
      The network's input, [N, H, W, C].
    """
    return images if normalise is None else normalise(images)


def check(images: Any, spec: Spec | FunctionSpec) -> None:
    """Checks images against a detector's spec.

    Args:
      images: an array of N images.
      spec: gives the shape of an image and the dtype.

    Raises:
      ValueError: another shape or dtype; the message says which, and what the detector takes.
    """
    shape, dtype = np.shape(images), getattr(images, "dtype", None)
    if len(shape) != 1 + len(spec.image_shape) or shape[1:] != spec.image_shape:
        limit = ", ".join(map(str, spec.image_shape))
        raise ValueError(f"images of shape {shape}: this detector takes [N, {limit}]")
    floating = dtype is not None and jnp.issubdtype(dtype, jnp.floating)
    if spec.dtype == "float32" and not floating:
        raise ValueError(f"images of dtype {dtype}: must be float, in the range of those that it was fitted to")
    if not floating and dtype != np.uint8:
        raise ValueError(f"images of dtype {dtype}: must be uint8, or float with values 0..255")
