"""The one door between Flax modules and pure functions.

Outside this file nobody splits or merges a module: the rest of adjax sees two pure functions and a pytree of arrays.
(Dispatching `nnx.jit` costs milliseconds for deep modules; `jax.jit` over pure state does not.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import nnx

from adjax.types import Outputs, PyTree


class Network(NamedTuple):
    """A model as two pure functions.

    Attributes:
      init: `(key) -> params`, a nested dict of float32 arrays.
      apply: `(params, images float32[N, H, W, C]) -> outputs`, a dict of named intermediates.
    """

    init: Callable[[jax.Array], PyTree]
    apply: Callable[[PyTree, jax.Array], Outputs]


def network(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Turns a module constructor `rngs -> module` into a `Network`."""
    graph = nnx.graphdef(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def init(key: jax.Array) -> PyTree:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def apply(params: PyTree, images: jax.Array) -> Outputs:
        return nnx.merge(graph, nnx.State(params))(images)

    return Network(init, apply)
