"""Training methods. A new method is one file here and one line in `METHODS`.

Example:
  >>> entry("centerloss").model, entry("centerloss").scorer
  ('lenet5', 'layers_partial')
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from adjax import factories
from adjax.methods._entry import MethodEntry
from adjax.methods.autoencoder import autoencoder
from adjax.methods.centerloss import centerloss
from adjax.methods.classifier import classifier
from adjax.methods.deep_svdd import deep_svdd
from adjax.methods.feature_extractor import feature_extractor
from adjax.methods.gan import gan
from adjax.methods.ood_head import ood_head
from adjax.methods.random import random
from adjax.methods.regressor import regressor
from adjax.types import Method

METHODS: dict[str, Callable[..., Method]] = {
    "autoencoder": MethodEntry(autoencoder, "normal", "unit", "conv_autoencoder", reads=("reconstruction",)),
    "centerloss": MethodEntry(
        centerloss, "classes", "standard", "lenet5", scorer="layers_partial", reads=("features", "logits")
    ),
    "classifier": MethodEntry(classifier, "anomalies", "standard", "cnn", reads=("logits",)),
    "deep_svdd": MethodEntry(deep_svdd, "normal", "unit", "svdd_lenet", reads=("features",)),
    "gan": MethodEntry(gan, "anomalies", "signed", "unet", reads=("features", "reconstruction", "latent")),
    "ood_head": MethodEntry(ood_head, "classes and anomalies", "standard", "lenet5", reads=("features", "logits")),
    "random": MethodEntry(random, "normal", "unit", "lenet5", trains=False),
    "regressor": MethodEntry(regressor, "anomalies", "standard", "cnn", reads=("logits",)),
    "gmm": MethodEntry(partial(feature_extractor, scorer="gmm"), "normal", "unit", "hog", scorer="gmm", trains=False),
    "hog_ocsvm": MethodEntry(
        partial(feature_extractor, scorer="ocsvm"), "normal", "unit", "hog", scorer="ocsvm", trains=False
    ),
}
"""Name -> factory, called as `(network, image_shape, classes, *, steps, **options)`; what it makes stands beside it."""

__all__ = ["METHODS", "MethodEntry", "entry", "make"]


def entry(name: str) -> MethodEntry:
    """Looks up a method's entry, known before it is built.

    Args:
      name: a key of `METHODS`. A plain function there is known by its name alone: `supervision`, `input_range` and
        `model` are None.

    Raises:
      ValueError: no such method.
    """
    found = factories.look_up("method", METHODS, name)
    return found if isinstance(found, MethodEntry) else MethodEntry(found)


def make(name: str, *args, **options) -> Method:
    """Builds a method by its name in `METHODS`.

    Args:
      name: a key of `METHODS`.
      *args: positional arguments of its factory: network, image shape, classes.
      **options: keyword arguments of its factory, `steps` among them.

    Returns:
      The `Method`.

    Raises:
      ValueError: unknown name, or an option that the factory does not have.
    """
    steps = {"steps": options.pop("steps")} if "steps" in options else {}
    return factories.make("method", METHODS, name, *args, options=options, supplied=("steps",), **steps)
