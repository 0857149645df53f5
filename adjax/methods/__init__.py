"""What training optimises. A new method is one file here and one line in `METHODS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adjax.methods.autoencoder import autoencoder
from adjax.methods.centerloss import centerloss
from adjax.methods.classifier import classifier
from adjax.methods.deep_svdd import deep_svdd
from adjax.methods.frozen import frozen
from adjax.methods.gan import gan
from adjax.methods.ood_head import ood_head
from adjax.methods.random import random
from adjax.methods.regressor import regressor
from adjax.types import Method

METHODS: dict[str, Callable[..., Method]] = {
    "autoencoder": autoencoder,
    "centerloss": centerloss,
    "classifier": classifier,
    "deep_svdd": deep_svdd,
    "gan": gan,
    "ood_head": ood_head,
    "random": random,
    "regressor": regressor,
    "gmm": partial(frozen, scorer="gmm"),
    "hog_ocsvm": partial(frozen, scorer="ocsvm"),
}
"""Name -> factory, called as `(network, image_shape, classes, *, steps, **options)`."""

__all__ = ["METHODS", "make"]


def make(name: str, *args, **options) -> Method:
    """The method of that name; arguments are those of its factory.

    Raises:
      ValueError: no such method.
    """
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; there are: {', '.join(sorted(METHODS))}")
    return METHODS[name](*args, **options)
