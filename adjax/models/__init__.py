"""Networks. A new model is one file here and one line in `MODELS`."""

from __future__ import annotations

from collections.abc import Callable

from flax import nnx

from adjax.models.boundary import Network, network
from adjax.models.lenet import LeNet5

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "lenet5": LeNet5,
}
"""Name -> module class, constructed as `(image_shape, classes, *, rngs)`."""

__all__ = ["MODELS", "Network", "make", "network"]


def make(name: str, image_shape: tuple[int, int, int], classes: int, **options) -> Network:
    """The pure functions of a model by name.

    Args:
      name: a key of `MODELS`.
      image_shape: (height px, width px, channels).
      classes: how many, at least 1.
      **options: keyword arguments of the module.

    Raises:
      ValueError: no such model, or it can't take such images.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; there are: {', '.join(sorted(MODELS))}")
    return network(lambda rngs: MODELS[name](tuple(image_shape), classes, **options, rngs=rngs))
