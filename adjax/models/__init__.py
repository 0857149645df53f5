"""Networks. A new model is one file here and one line in `MODELS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from flax import nnx

from adjax import factories
from adjax.models import weights
from adjax.models.autoencoder import ConvAutoencoder, DeepAutoencoder
from adjax.models.boundary import Network, network
from adjax.models.cnn import CNN
from adjax.models.efficientnet import EfficientNet
from adjax.models.hog import HOG
from adjax.models.lenet import LeNet5
from adjax.models.patches import aligned
from adjax.models.squeezenet import SqueezeNet
from adjax.models.svdd import SVDDLeNet
from adjax.models.unet import UNet
from adjax.models.vgg16 import VGG16
from adjax.models.weights import pretrained

MODELS: dict[str, Callable[..., nnx.Module]] = {
    "efficientnet_b0": EfficientNet,
    "efficientnet_lite0": partial(EfficientNet, lite=True),
    "cnn": CNN,
    "conv_autoencoder": ConvAutoencoder,
    "deep_autoencoder": DeepAutoencoder,
    "hog": HOG,
    "lenet5": LeNet5,
    "squeezenet": SqueezeNet,
    "unet": UNet,
    "vgg16": VGG16,
    "svdd_lenet": SVDDLeNet,
}
"""Name -> module class, constructed as `(image_shape, classes, *, rngs, **options)`."""

__all__ = ["MODELS", "Network", "make", "network", "pretrained", "weights"]


def make(
    name: str, image_shape: tuple[int, int, int], classes: int, /, *, patch_layers: Sequence[str] = (), **options
) -> Network:
    """The pure functions of a model by name.

    Args:
      name: a key of `MODELS`.
      image_shape: (height px, width px, channels).
      classes: how many, at least 1.
      patch_layers: outputs with places that make `patches`, side by side, see `adjax.models.patches`; none: the
        network's own.
      **options: keyword arguments of the module.

    Raises:
      ValueError: no such model, it has no such option, or it can't take such images.
    """
    made = network(
        lambda rngs: factories.make("model", MODELS, name, tuple(image_shape), classes, options=options, rngs=rngs)
    )
    return aligned(made, tuple(patch_layers)) if patch_layers else made
