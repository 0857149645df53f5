"""The `apply` of a registered network, which knows its name: a file can hold that, where it holds no code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from adjax.types import Outputs, PyTree


@dataclass(frozen=True, eq=False)
class Registered:
    """A function like any other: `(params, images) -> outputs`.

    Attributes:
      model: a key of `adjax.models.MODELS`.
      image_shape: (height px, width px, channels) that it was made for.
      classes: that it was made for.
      options: keyword arguments of `adjax.models.make`.
      function: the pass itself.
    """

    model: str
    image_shape: tuple[int, ...]
    classes: int
    options: Mapping[str, Any]
    function: Callable[[PyTree, jax.Array], Outputs]

    @property
    def __name__(self) -> str:
        """The model, as a function has its name."""
        return self.model

    def __call__(self, params: PyTree, images: jax.Array) -> Outputs:
        """Computes the outputs."""
        return self.function(params, images)
