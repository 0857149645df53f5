"""A method's line in the registry: its factory, and what the method is, known without making a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adjax.types import Method


@dataclass(frozen=True)
class MethodEntry:
    """A factory of `Method`s with what they have in common; called, it is the factory.

    Attributes:
      factory: `(network, image_shape, classes, *, steps, **options) -> Method`.
      supervision: what it learns from, as `Method.supervision`; None: unknown until it is made.
      input_range: of its images, as `Method.input_range`; None: unknown until it is made.
      model: name in `adjax.models.MODELS` of the network that it takes if none is named; None: one must be named.
      scorer: name in `adjax.scorers.SCORERS` of the scorer that it takes if none is named.
      trains: whether it has a step; without one, options of training have no effect.
      reads: outputs that a network must give to be trained by it; (): not known, any network is taken.
    """

    factory: Callable[..., Method]
    supervision: str | None = None
    input_range: str | None = None
    model: str | None = None
    scorer: str = "score"
    trains: bool = True
    reads: tuple[str, ...] = ()

    def __call__(self, *args, **options) -> Method:
        """As the factory."""
        return self.factory(*args, **options)

    @property
    def __wrapped__(self) -> Callable[..., Method]:
        """For `inspect`: the signature is the factory's."""
        return self.factory
