"""The boundary between Flax modules and pure functions.

Outside this file nobody splits or merges a module: the rest of adjax sees pure functions and a pytree of arrays.
(Dispatching `nnx.jit` costs milliseconds for deep modules; `jax.jit` over pure state does not.)

A module is called as `module(images)`; one that draws (dropout) as `module(images, rngs=...)`, and it makes its
`nnx.Dropout` without rngs, so that no key hides in the state. Running statistics of batch norm are leaves of the same
params as the weights: they are saved, stacked and moved with them, and `trainable` tells them apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from flax import nnx

from adjax.types import Outputs, PyTree


class Network(NamedTuple):
    """A model as pure functions.

    Attributes:
      init: `(key) -> params`, a nested dict of float32 arrays.
      apply: `(params, images float32[N, H, W, C]) -> outputs`, a dict of named intermediates; the inference pass.
      train: `(params, images, key, axis_name=None) -> (outputs, params)`, the pass of a training step: dropout drawn
        from the key, batch statistics taken over the batch (over the named axis of devices, if there is one) and the
        running ones moved. For a module with neither it is `apply`.
      sample: `(params, images, key) -> outputs`, the inference pass with dropout drawn from the key: running statistics
        count, and stay as they are. For a module without dropout it is `apply`.
      trainable: a tree of bools like `params`: False for running statistics, which no optimiser may touch.
      rowwise: whether `train` treats every image by itself: no batch statistics, nothing drawn.
      shapes: shapes and dtypes of what `init` gives, which need no trace of it.
    """

    init: Callable[[jax.Array], PyTree]
    apply: Callable[[PyTree, jax.Array], Outputs]
    train: Callable[..., tuple[Outputs, PyTree]]
    sample: Callable[[PyTree, jax.Array, jax.Array], Outputs]
    trainable: PyTree
    rowwise: bool
    shapes: PyTree


_KEPT = (nnx.Param, nnx.BatchStat)


class _Still(nnx.RngStream):
    """A stream of one key: shapes need no draws, and streams are most of what constructing a module costs."""

    def __call__(self) -> jax.Array:
        return self.key[...]


def _abstract(make: Callable[[nnx.Rngs], nnx.Module]) -> nnx.Module:
    """The module with shapes and dtypes where its arrays would be."""

    def made() -> nnx.Module:
        rngs = nnx.Rngs(0)
        rngs.default = _Still(0, tag="default")  # type: ignore[attr-defined]  # a stream is an attribute
        return make(rngs)

    return nnx.eval_shape(made)


def shapes(make: Callable[[nnx.Rngs], nnx.Module]) -> PyTree:
    """Shapes and dtypes of what `network(make).init` gives, for a single trace."""
    return nnx.to_pure_dict(nnx.state(_abstract(make), _KEPT))


def network(make: Callable[[nnx.Rngs], nnx.Module]) -> Network:
    """Turns a module constructor `rngs -> module` into a `Network`."""
    abstract = _abstract(make)
    abstract.eval()
    graph = nnx.graphdef(abstract)
    draws = "rngs" in inspect.signature(type(abstract).__call__).parameters
    variables = nnx.state(abstract, _KEPT)
    trainable = jax.tree.map(
        lambda v: isinstance(v, nnx.Param), variables, is_leaf=lambda v: isinstance(v, nnx.Variable)
    )

    @partial(jax.jit, inline=True)  # as of `train`: a module of many layers takes long to construct
    def init(key: jax.Array) -> PyTree:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), _KEPT))

    @partial(jax.jit, inline=True)
    def apply(params: PyTree, images: jax.Array) -> Outputs:
        return nnx.merge(graph, nnx.State(params))(images)

    @partial(jax.jit, static_argnames="axis_name", inline=True)  # traced once for each shape
    def train(params: PyTree, images: jax.Array, key: jax.Array, axis_name: str | None = None):
        module = nnx.merge(graph, nnx.State(params))
        module.train()
        if axis_name is not None:
            module.set_attributes(nnx.BatchNorm, axis_name=axis_name, raise_if_not_found=False)
        outputs = module(images, rngs=nnx.Rngs(key)) if draws else module(images)
        return outputs, nnx.to_pure_dict(nnx.state(module, _KEPT))

    def sample(params: PyTree, images: jax.Array, key: jax.Array) -> Outputs:
        module = nnx.merge(graph, nnx.State(params))
        module.set_attributes(nnx.Dropout, deterministic=False, raise_if_not_found=False)
        return module(images, rngs=nnx.Rngs(key)) if draws else module(images)

    rowwise = not draws and all(jax.tree.leaves(trainable))
    return Network(init, apply, train, sample, nnx.to_pure_dict(trainable), rowwise, nnx.to_pure_dict(variables))
