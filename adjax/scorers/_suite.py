"""The scorers that a network's outputs can feed, with the options that their shapes need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from adjax.types import Outputs, Scorer

_TAKEN = {"reconstruction", "score"}
"""Outputs other than layers, which no scorer is fitted to."""
_BY_NAME = {"statistics", "overall", *(f"layer{i}" for i in range(1, 5))}
"""Maps of the ImageNet networks at four depths, and of the picture itself, for scorers that name them; large for
photographs."""

OF_LAYERS = "layers", "layers_partial", "layers_perclass"
"""Scorers of several outputs, given all layers unless told otherwise."""


def suite(factories: Mapping[str, Callable[..., Scorer]], outputs: Outputs, classes: int) -> dict[str, dict[str, Any]]:
    """Every scorer that these outputs can feed.

    Those of several layers get all, logits too, but not `patches`, whose mean `features` is; scorers of patches the one
    with the most channels of those that have more than one place. Maps named `layer1` … `layer4` and `statistics` go to
    none.

    Args:
      factories: name -> factory, such as `adjax.scorers.SCORERS`.
      outputs: named arrays of N rows, or their shapes (`jax.eval_shape`); nothing is computed.
      classes: K ≥ 1.

    Returns:
      Name -> options for the factory, in the order given.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, factory in factories.items():
        try:
            options = needed(name, factory, outputs)
        except TypeError:  # what is made of options alone, such as `fused`
            continue
        if options is not None and feeds(outputs, factory(**options), classes):
            found[name] = options
    return found


def needed(name: str, factory: Callable[..., Scorer], outputs: Outputs) -> dict[str, Any] | None:
    """Options that the shapes of a network's outputs decide.

    Args:
      name, factory: of the scorer.
      outputs: named arrays of N rows, or their shapes; nothing is computed.

    Returns:
      Keyword arguments of the factory; None: no output is of the kind that it scores.

    Raises:
      TypeError: a factory that can't do without options of its own.
    """
    shapes = {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in outputs.items()}
    every = {key: x for key, x in sorted(shapes.items()) if key not in _TAKEN | _BY_NAME and len(x.shape) in (2, 4)}
    layers = {key: x for key, x in every.items() if key != "logits"}
    if name in OF_LAYERS:
        several = {key: x for key, x in every.items() if key != "patches"} or every
        return {"names": tuple(several), "dims": tuple(x.shape[-1] for x in several.values())} if several else None
    if factory().sized_by == "patches":
        maps = [key for key, x in layers.items() if len(x.shape) == 4 and x.shape[1] * x.shape[2] > 1]
        return {"feature": max(maps, key=lambda key: layers[key].shape[-1])} if maps else None
    return {}


def feeds(outputs: Outputs, scorer: Scorer, classes: int) -> bool:
    """Tells whether outputs can feed a scorer.

    Args:
      outputs: named arrays of N rows, or their shapes; nothing is computed.
      scorer: any.
      classes: K ≥ 1.
    """

    def run(outputs: Outputs) -> jax.Array:
        rows = len(next(iter(outputs.values())))
        stats = scorer.update(scorer.start(outputs, classes), outputs, jnp.zeros(rows, jnp.int32), jnp.ones(rows, bool))
        return scorer.distances(scorer.finalize(stats), outputs)

    try:
        jax.eval_shape(run, {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in outputs.items()})
    except (KeyError, ValueError):  # an output that is not there; or too few classes, or no layer
        return False
    return True
