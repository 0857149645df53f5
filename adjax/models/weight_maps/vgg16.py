"""VGG16 in the names of torchvision and Keras."""

from __future__ import annotations

from collections.abc import Iterator

from adjax.models import vgg16
from adjax.models.weight_maps.naming import CAFFE, IMAGENET, Layer, Naming


def namings(_: str) -> Iterator[Naming]:
    torch, at, block = [], 0, "block1"
    for name in vgg16.LAYERS:
        if name[:6] != block:
            at, block = at + 1, name[:6]  # the pooling between
        torch.append(Layer(name, f"features.{at}", "conv"))
        at += 2  # the convolution and its rectifier
    yield Naming("torchvision", True, "features.28.weight", tuple(torch), *IMAGENET, ignored=("classifier.",))
    keras = tuple(Layer(name, name, "conv") for name in vgg16.LAYERS)
    yield Naming(
        "Keras", False, "block1_conv1/kernel", keras, *CAFFE, ignored=("fc1/", "fc2/", "predictions/"), bgr=True
    )
