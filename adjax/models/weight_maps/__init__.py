"""Names of published weights for our networks: one file here and one line in `MODELS` for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from flax import nnx

from adjax.models.convnext import ConvNeXt
from adjax.models.efficientnet import LITE2, EfficientNet
from adjax.models.resnet import RESNET18, RESNET50, WIDE_RESNET50_2, ResNet
from adjax.models.squeezenet import SqueezeNet
from adjax.models.vgg16 import VGG16
from adjax.models.vit import DINOv2
from adjax.models.weight_maps import convnext, efficientnet, resnet, squeezenet, vgg16, vit
from adjax.models.weight_maps.naming import IMAGENET, Layer, Naming, translate

MODELS: dict[str, tuple[Callable[..., nnx.Module], Callable[[str], Iterator[Naming]]]] = {
    "convnext_tiny": (ConvNeXt, convnext.namings),
    "dinov2_vits14": (DINOv2, vit.namings),
    "dinov2_vitb14": (partial(DINOv2, dim=768), vit.namings),
    "efficientnet_b0": (EfficientNet, partial(efficientnet.namings, False, None)),
    "efficientnet_lite0": (partial(EfficientNet, lite=True), partial(efficientnet.namings, True, None)),
    "efficientnet_lite2": (partial(EfficientNet, lite=True, stages=LITE2), partial(efficientnet.namings, True, LITE2)),
    "resnet18": (partial(ResNet, plan=RESNET18), partial(resnet.namings, RESNET18)),
    "resnet50": (partial(ResNet, plan=RESNET50), partial(resnet.namings, RESNET50)),
    "wide_resnet50_2": (partial(ResNet, plan=WIDE_RESNET50_2), partial(resnet.namings, WIDE_RESNET50_2)),
    "squeezenet": (SqueezeNet, squeezenet.namings),
    "vgg16": (VGG16, vgg16.namings),
}
"""The models for which published weights exist -> (module class, `file name -> namings of their files`)."""

__all__ = ["IMAGENET", "MODELS", "Layer", "Naming", "translate"]
