"""Networks. A new model is one file here and one line in `MODELS`.

Example:
  >>> import jax
  >>> network = make("lenet5", (28, 28, 1), 10)
  >>> images = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
  >>> outputs = jax.eval_shape(network.apply, jax.eval_shape(network.init, jax.random.key(0)), images)
  >>> outputs["features"].shape, outputs["logits"].shape
  ((2, 84), (2, 10))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from flax import nnx

from adjax import factories
from adjax.models import weights
from adjax.models._patches import aligned
from adjax.models.autoencoder import ConvAutoencoder, DeepAutoencoder
from adjax.models.cnn import CNN
from adjax.models.convnext import ConvNeXt
from adjax.models.efficientnet import LITE2, EfficientNet
from adjax.models.functional import Network, network
from adjax.models.hog import HOG
from adjax.models.lenet import LeNet5
from adjax.models.registered import Registered
from adjax.models.resnet import RESNET18, RESNET50, WIDE_RESNET50_2, ResNet
from adjax.models.squeezenet import SqueezeNet
from adjax.models.svdd import SVDDLeNet
from adjax.models.unet import UNet
from adjax.models.vgg16 import VGG16
from adjax.models.vit import DINOv2
from adjax.models.weights import pretrained

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "efficientnet_b0": EfficientNet,
    "efficientnet_lite0": partial(EfficientNet, lite=True),
    "efficientnet_lite2": partial(EfficientNet, lite=True, stages=LITE2),
    "cnn": CNN,
    "convnext_tiny": ConvNeXt,
    "conv_autoencoder": ConvAutoencoder,
    "deep_autoencoder": DeepAutoencoder,
    "dinov2_vitb14": partial(DINOv2, dim=768),
    "dinov2_vits14": DINOv2,
    "hog": HOG,
    "lenet5": LeNet5,
    "resnet18": partial(ResNet, plan=RESNET18),
    "resnet50": partial(ResNet, plan=RESNET50),
    "squeezenet": SqueezeNet,
    "unet": UNet,
    "vgg16": VGG16,
    "svdd_lenet": SVDDLeNet,
    "wide_resnet50_2": partial(ResNet, plan=WIDE_RESNET50_2),
}
"""Name -> module class, constructed as `(image_shape, classes, *, rngs, **options)`."""
OWN = frozenset(MODELS)
"""Those of this package, without what is registered later."""

__all__ = ["MODELS", "OWN", "Network", "make", "network", "pretrained", "weights"]


def make(
    name: str, image_shape: tuple[int, int, int], classes: int, /, *, patch_layers: Sequence[str] = (), **options
) -> Network:
    """The pure functions of a model by name.

    Args:
      name: a key of `MODELS`.
      image_shape: (height px, width px, channels).
      classes: how many, at least 1.
      patch_layers: outputs with places that make `patches`, side by side, see `adjax.models._patches`; none: the
        network's own.
      **options: keyword arguments of the module.

    Returns:
      The `Network`; its `apply` is `Registered`, so that a detector of it can be saved. The same one if it was made
      before, so that it is traced once in a process for each shape of images.

    Raises:
      ValueError: no such model, it has no such option, or it can't take such images.
    """
    of: tuple[Any, ...] = (name, tuple(image_shape), classes, tuple(patch_layers))
    pairs = tuple(sorted(options.items()))
    try:
        hash(pairs)
    except TypeError:  # a list, say
        return _make(of, options)
    return _made(MODELS.get(name), of, pairs)


@lru_cache(maxsize=16)
def _made(factory: Any, of: tuple[Any, ...], options: tuple[tuple[str, Any], ...]) -> Network:
    del factory  # that the name stands for now: another is another network
    return _make(of, dict(options))


def _make(of: tuple[Any, ...], options: Mapping[str, Any]) -> Network:
    name, image_shape, classes, layers = of
    made = network(lambda rngs: factories.make("model", MODELS, name, image_shape, classes, options=options, rngs=rngs))
    chosen = dict(options)
    if layers:
        chosen, made = {**options, "patch_layers": layers}, aligned(made, layers)
    return made._replace(apply=Registered(name, image_shape, classes, chosen, made.apply))
