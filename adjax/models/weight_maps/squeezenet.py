"""SqueezeNet 1.1 in the names of torchvision and Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from adjax.models import squeezenet
from adjax.models.weight_maps.naming import CAFFE, IMAGENET, Layer, Naming


def namings(_: str) -> Iterator[Naming]:
    def layers(stem: str, fires: Mapping[str, str], squeeze: str, head: str) -> tuple[Layer, ...]:
        """`fires`: our fire -> what stands before "expand1x1" in their names; `squeeze`: their name of that part."""
        parts = {"squeeze": squeeze, "expand1x1": "expand1x1", "expand3x3": "expand3x3"}
        inner = [Layer(f"{a}/{ours}", b + theirs, "conv") for a, b in fires.items() for ours, theirs in parts.items()]
        return Layer("stem", stem, "conv"), *inner, Layer("head", head, "pointwise")

    places = dict(zip(squeezenet.FIRES, (3, 4, 6, 7, 9, 10, 11, 12), strict=True))  # poolings between
    torch = layers("features.0", {f: f"features.{n}." for f, n in places.items()}, "squeeze", "classifier.1")
    yield Naming("torchvision", True, "features.3.squeeze.weight", torch, *IMAGENET, {"ceil": True})
    keras = layers("conv1", {f: f + "/" for f in places}, "squeeze1x1", "conv10")
    yield Naming("Keras", False, "conv1/kernel", keras, *CAFFE, bgr=True)
