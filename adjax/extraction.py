"""Extraction of network outputs, as far as a scorer reads them: extracted once, scored by many."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from adjax import features, scorers
from adjax._numerics import over_places
from adjax.augment import Normalise
from adjax.data.io.scratch import Images
from adjax.models._backbone import CHANNELS
from adjax.models.weight_maps import MODELS as WEIGHTED
from adjax.scorers.layers import listed
from adjax.spec import FunctionSpec, Spec, params_of, resolve
from adjax.types import Outputs, PyTree, Scorer


def extract(
    spec: Spec | FunctionSpec,
    params: PyTree,
    normalise: Normalise | None,
    images: Images,
    also: Set[str] = frozenset(),
    means: Set[str] = frozenset(),
) -> Outputs:
    """Extracts a network's outputs of all images, to the host: extract once, score with many.

    Args:
      spec: names the network and its scorer.
      params: of the network.
      normalise: pixel values to network input; None: images as they are.
      images: [N, H, W, C] as `spec` takes them, uint8 or float.
      also: further outputs to keep.
      means: of those kept, the maps [N, h, w, D] to keep the means over all places of alone, float32[N, D].

    Returns:
      NumPy arrays of N rows by name: `features`, `logits`, `score` and what the scorer reads, as far as the network
      gives them.

    Raises:
      ValueError: images of another shape or dtype.
    """
    check(images, spec)
    size = features.batch_size_for(spec.seen_shape)
    return features.apply(extractor(spec, frozenset(also), frozenset(means)), (params, normalise), images, size)


@functools.lru_cache
def extractor(
    spec: Spec | FunctionSpec, also: frozenset[str] = frozenset(), means: frozenset[str] = frozenset()
) -> Callable:
    """Compiles the extraction of one batch: one program for all scorers of a network that read the same outputs.

    Args:
      spec: names the network and its scorer.
      also, means: as of `extract`.

    Returns:
      `((params, normalise), images) -> outputs`, the outputs of `extract`.
    """
    if isinstance(spec, FunctionSpec):
        return _extractor(spec, also, means, True)
    return _extractor(_without_scorer(spec), also | traced(spec).reads, means, False)


@functools.lru_cache
def _extractor(spec: Spec | FunctionSpec, also: frozenset[str], means: frozenset[str], scored: bool) -> Callable:
    """`scored`: what the scorer reads is kept, too."""

    def function(state, images):
        params, normalise = state
        method, scorer = resolve(spec)
        outputs = method.outputs(params, seen(normalise, images))
        kept = {"features", "logits", "score"} | also
        kept = kept | read_by(scorer, outputs, len(spec.classes)) if scored else kept
        found = {name: x for name, x in outputs.items() if name in kept}
        return {name: over_places(x.astype(jnp.float32)) if name in means else x for name, x in found.items()}

    return jax.jit(function)


def pooled_by(spec: Spec | FunctionSpec) -> frozenset[str]:
    """The outputs of which the spec's scorer takes the mean over all places: `means` of an extraction for it alone."""
    if isinstance(spec, FunctionSpec) or not resolve(spec).scorer.pools:
        return frozenset()
    return traced(spec).reads


def shapes(spec: Spec, channels: int | None = None) -> Outputs:
    """Traces the shapes of a network's outputs for a batch; nothing is computed.

    Args:
      spec: names the network.
      channels: of the images as it sees them; None: those of the spec, or 3 for a network that has published weights,
        whose normalisation makes grey images so.

    Returns:
      Shapes by name.
    """
    return _shapes(_without_scorer(spec), _channels(spec, channels))


def known(spec: Spec, head_drawn: bool = False) -> Outputs:
    """Shapes of the outputs that a scorer may be chosen by.

    Args:
      spec: names the network.
      head_drawn: whether the network's head is as it was drawn: its logits know nothing, and are left out.

    Returns:
      Shapes by name, as of `shapes`.
    """
    return {name: x for name, x in shapes(spec).items() if not (head_drawn and name == "logits")}


def with_layers(spec: Spec, head_drawn: bool = False) -> Spec:
    """The spec with the names and widths of the network's layers, if its scorer is `layers`: of those named, or of all;
    by shapes alone.

    Args:
      spec: names the network and its scorer.
      head_drawn: as of `known`.

    Returns:
      The spec.

    Raises:
      ValueError: a name that the network has not.
    """
    if spec.scorer not in scorers.OF_LAYERS:
        return spec
    given, said = dict(spec.scorer_options), known(spec, head_drawn)
    if "names" in given:
        names = listed(given["names"])
        if unknown := [name for name in names if name not in said]:
            raise ValueError(f"scorer {spec.scorer!r}, names {', '.join(unknown)}: the network gives {', '.join(said)}")
        given = {"dims": tuple(said[name].shape[-1] for name in names), **given, "names": names}
    else:
        given = {**(scorers.needed(spec.scorer, scorers.SCORERS[spec.scorer], said) or {}), **given}
    return dataclasses.replace(spec, scorer_options=tuple(given.items()))


def check_scorer(spec: Spec, head_drawn: bool = False) -> None:
    """Refuses a scorer that the network can't feed, by shapes alone: before anything is trained.

    Args:
      spec: names the network and its scorer.
      head_drawn: as of `known`; whatever reads the logits is refused then.

    Raises:
      ValueError: which scorers it can feed.
    """
    try:
        fed = not ("logits" in traced(spec).reads and head_drawn)
    except (KeyError, ValueError):
        fed = False
    if not fed:
        said = known(spec, head_drawn)
        drawn = " (its logits are of a head that is drawn at random and never trained)" if said != shapes(spec) else ""
        raise ValueError(
            f"scorer {spec.scorer!r} can't be fed by method {spec.method!r} with model {spec.model!r}, which gives "
            f"{', '.join(said)}{drawn}; these can: {', '.join(_fed(_without_scorer(spec), head_drawn))}"
        )


def _without_scorer(spec: Spec) -> Spec:
    """One spec for all scorers of a network, so that it is traced once."""
    return dataclasses.replace(spec, scorer="score", scorer_options=())


@functools.lru_cache
def _shapes(spec: Spec, channels: int) -> Outputs:
    size = features.batch_size_for(spec.seen_shape)  # that of the extraction, so that the network is traced once
    images = jax.ShapeDtypeStruct((size, *spec.image_shape[:-1], channels), jnp.float32)
    return jax.eval_shape(resolve(spec).method.outputs, params_of(spec), images)


@functools.lru_cache
def _fed(spec: Spec, head_drawn: bool) -> tuple[str, ...]:
    return tuple(scorers.suite(scorers.SCORERS, known(spec, head_drawn), len(spec.classes)))


class _Names:
    """Names so far; equal to itself alone, so that it can be static data of a pytree."""

    def __init__(self) -> None:
        self.asked = set[str]()


@jax.tree_util.register_pytree_node_class
class _Asked(dict):
    """Outputs that tell `names` which of them were asked for; a pytree, so that blocks of them tell it, too."""

    def __init__(self, outputs: Outputs, names: _Names) -> None:
        super().__init__(outputs)
        self.names = names

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[tuple[str, ...], _Names]]:
        return tuple(self.values()), (tuple(self), self.names)

    @classmethod
    def tree_unflatten(cls, static: tuple[tuple[str, ...], _Names], arrays: tuple[Any, ...]) -> _Asked:
        return cls(dict(zip(static[0], arrays, strict=True)), static[1])

    def __getitem__(self, name: str) -> jax.Array:
        if name not in self:
            raise ValueError(
                f"the scorer reads {name!r}, and the network gives {', '.join(self)}: choose another scorer"
            )
        self.names.asked.add(name)
        return super().__getitem__(name)


class Traced(NamedTuple):
    """What a scorer does with outputs, by shapes alone.

    Attributes:
      reads: names of the outputs that fitting and scoring read.
      state: shapes of its fitted state.
      distances: that of the distances of a batch, [N, K].
    """

    reads: frozenset[str]
    state: PyTree
    distances: jax.ShapeDtypeStruct


def traced(spec: Spec, channels: int | None = None) -> Traced:
    """What the scorer of a spec does with its network's outputs, traced once.

    Args:
      spec: names both.
      channels: as of `shapes`.

    Returns:
      The `Traced`.

    Raises:
      ValueError: the network can't feed it; see `check_scorer`.
    """
    return _traced(spec, _channels(spec, channels))


@functools.lru_cache
def _traced(spec: Spec, channels: int) -> Traced:
    return traced_on(resolve(spec).scorer, shapes(spec, channels), len(spec.classes))


def _channels(spec: Spec, channels: int | None) -> int:
    return channels or (CHANNELS if spec.model in WEIGHTED else spec.image_shape[-1])


def traced_on(scorer: Scorer, outputs: Outputs, classes: int) -> Traced:
    """Traces fit and scores; nothing is computed.

    Args:
      scorer: the one to trace.
      outputs: arrays or shapes by name.
      classes: K ≥ 1.

    Returns:
      The `Traced`.

    Raises:
      ValueError: an output that the network does not give.
    """
    names = _Names()

    def ask(outputs: Outputs) -> tuple[PyTree, jax.Array]:
        asked, n = _Asked(outputs, names), len(next(iter(outputs.values())))
        stats = scorer.update(scorer.start(outputs, classes), asked, jnp.zeros(n, jnp.int32), jnp.ones(n, bool))
        state = scorer.finalize(stats)
        return state, scorer.distances(state, asked)

    state, distances = jax.eval_shape(ask, dict(outputs))
    return Traced(frozenset(names.asked), state, distances)


def read_by(scorer: Scorer, outputs: Outputs, classes: int) -> set[str]:
    """Finds the outputs that fitting and scoring read.

    Args:
      scorer, outputs, classes: as of `traced_on`.

    Returns:
      Their names.

    Raises:
      ValueError: an output that the network does not give.
    """
    return set(traced_on(scorer, outputs, classes).reads)


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
