"""How published files name the weights of our networks, and how theirs become ours.

A file is known by one name in it. Layouts: PyTorch keeps convolutions as [O, I, kh, kw] and dense layers as [O, I],
Keras as [kh, kw, I, O] and [I, O]; ours are Keras' but for depthwise convolutions, [kh, kw, 1, C].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from adjax.models import efficientnet, squeezenet, vgg16
from adjax.models.torchfile import WeightsError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
LITE = ((127 / 255,) * 3, (128 / 255,) * 3)


class Layer(NamedTuple):
    """One layer: our path, their prefix, what it is ("conv", "depthwise", "dense", "pointwise", "norm").

    "pointwise" is a 1×1 convolution of theirs that is a dense layer of ours.
    """

    ours: str
    theirs: str
    kind: str


class Naming(NamedTuple):
    """How the files of one library name a model.

    Attributes:
      library: for messages.
      torch: PyTorch's layouts and variables; else Keras'.
      marker: a name that only these files have.
      layers: all layers; a head may be absent.
      mean, sd: the normalisation that the weights were trained with, of pixels in 0..1, RGB.
      options: of the model, so that it computes what the weights were trained for.
      ignored: beginnings of names that these files have beyond our layers.
      bgr: the first layer sees blue, green, red.
    """

    library: str
    torch: bool
    marker: str
    layers: tuple[Layer, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    options: Mapping[str, Any] = {}
    ignored: tuple[str, ...] = ()
    bgr: bool = False


_TORCH = {
    "conv": {"weight": "kernel", "bias": "bias"},
    "norm": {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"},
}
_KERAS = {
    "conv": {"kernel": "kernel", "depthwise_kernel": "kernel", "bias": "bias"},
    "norm": {"gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var"},
}


def translate(model: str, arrays: Mapping[str, np.ndarray], file_name: str) -> tuple[dict[str, np.ndarray], Naming]:
    """Their arrays as ours, float32, by path such as "stem/conv/kernel"; shapes are checked elsewhere.

    Raises:
      WeightsError: no naming of this model is known that fits; names left over.
    """
    known = tuple(MODELS[model][1](file_name))
    naming = next((n for n in known if n.marker in arrays), None)
    if naming is None:
        markers = "; ".join(f"{n.library}: {n.marker}" for n in known) or "none is known"
        raise WeightsError(
            f"these are no weights of {model}: of the names by which its files are told ({markers}) there is none, "
            f"but {', '.join(sorted(arrays)[:3])}, …"
        )
    separator, variables = (".", _TORCH) if naming.torch else ("/", _KERAS)
    ours, used = {}, set()
    for layer in naming.layers:
        for theirs, name in variables["norm" if layer.kind == "norm" else "conv"].items():
            key = f"{layer.theirs}{separator}{theirs}"
            if key in arrays:
                used.add(key)
                ours[f"{layer.ours}/{name}"] = _relaid(np.asarray(arrays[key], np.float32), layer, name, naming)
    extra = [k for k in sorted(arrays) if k not in used and not k.startswith(naming.ignored)]
    extra = [k for k in extra if not k.endswith("num_batches_tracked")]
    if extra:
        raise WeightsError(
            f"{len(extra)} arrays that {model} in {naming.library}'s names doesn't have: {', '.join(extra[:3])}"
        )
    return ours, naming


def _relaid(array: np.ndarray, layer: Layer, name: str, naming: Naming) -> np.ndarray:
    if layer.kind == "norm" or name == "bias":
        return array
    if array.ndim not in (2, 4):
        raise WeightsError(f"{layer.theirs}: a kernel of shape {array.shape} must have 2 or 4 axes")
    if naming.torch:
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    elif layer.kind == "depthwise":
        array = array.transpose(0, 1, 3, 2) if array.ndim == 4 else array
    if layer.kind == "pointwise" and array.shape[:2] == (1, 1):
        array = array[0, 0]
    if naming.bgr and layer == naming.layers[0] and array.ndim == 4:
        array = array[:, :, ::-1]
    return np.ascontiguousarray(array)


def _efficientnet(lite: bool, file_name: str) -> Iterator[Naming]:
    blocks = [
        (f"block{number}{letter}", number, place, stage)
        for number, stage in enumerate(efficientnet.STAGES, 1)
        for place, letter in enumerate("abcdefgh"[: stage.blocks])
    ]

    def layers(stem, top, head, parts) -> tuple[Layer, ...]:
        """`parts(block, our part)` -> (their convolution, their norm), or (their layer,) for the se."""
        found = [Layer("stem/conv", stem[0], "conv"), Layer("stem/norm", stem[1], "norm")]
        for block in blocks:
            name, stage = block[0], block[3]
            for part in ["expand"] * (stage.expand > 1) + ["depthwise", "project"]:
                convolution, norm = parts(block, part)
                found.append(Layer(f"{name}/{part}/conv", convolution, "depthwise" if part == "depthwise" else "conv"))
                found.append(Layer(f"{name}/{part}/norm", norm, "norm"))
            for part in () if lite else ("reduce", "expand"):
                (theirs,) = parts(block, f"se_{part}")
                found.append(Layer(f"{name}/se/{part}", theirs, "pointwise"))
        found += [Layer("top/conv", top[0], "conv"), Layer("top/norm", top[1], "norm"), Layer("head", head, "dense")]
        return tuple(found)

    order = [block[0] for block in blocks]

    def lukemelas(block, part):
        prefix = f"_blocks.{order.index(block[0])}._"
        return {
            "expand": (prefix + "expand_conv", prefix + "bn0"),
            "depthwise": (prefix + "depthwise_conv", prefix + "bn1"),
            "project": (prefix + "project_conv", prefix + "bn2"),
        }.get(part) or (prefix + part,)

    def torchvision(block, part):
        _, number, place, stage = block
        parts = ["expand"] * (stage.expand > 1) + ["depthwise"] + ["se"] * (not lite) + ["project"]
        prefix = f"features.{number}.{place}.block.{parts.index(part if part in parts else 'se')}"
        if part.startswith("se_"):
            return (prefix + (".fc1" if part == "se_reduce" else ".fc2"),)
        return prefix + ".0", prefix + ".1"

    def timm(block, part):
        _, number, place, stage = block
        prefix = f"blocks.{number - 1}.{place}."
        if part.startswith("se_"):
            return (f"{prefix}se.conv_{part[3:]}",)
        if stage.expand == 1:
            return {"depthwise": (prefix + "conv_dw", prefix + "bn1"), "project": (prefix + "conv_pw", prefix + "bn2")}[
                part
            ]
        names = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
        return tuple(prefix + name for name in names[part])

    def keras(block, part):
        prefix = f"{block[0]}_"
        if part.startswith("se_"):
            return (prefix + part,)
        names = {"expand": ("expand_conv", "expand_bn"), "depthwise": ("dwconv", "bn")}
        return tuple(prefix + name for name in names.get(part, ("project_conv", "project_bn")))

    google = LITE if lite else IMAGENET
    trained_in_torch = {"symmetric": True, "epsilon": 1e-5}
    yield Naming(
        "efficientnet_pytorch",
        True,
        "_conv_stem.weight",
        layers(("_conv_stem", "_bn0"), ("_conv_head", "_bn1"), "_fc", lukemelas),
        *google,
    )
    yield Naming(
        "torchvision",
        True,
        "features.0.0.weight",
        layers(("features.0.0", "features.0.1"), ("features.8.0", "features.8.1"), "classifier.1", torchvision),
        *IMAGENET,
        trained_in_torch,
    )
    ported = file_name.startswith("tf_")  # timm's mark of what TensorFlow trained; the names within are the same
    yield Naming(
        "timm",
        True,
        "conv_stem.weight",
        layers(("conv_stem", "bn1"), ("conv_head", "bn2"), "classifier", timm),
        *(google if ported else IMAGENET),
        {} if ported else trained_in_torch,
    )
    yield Naming(
        "Keras",
        False,
        "stem_conv/kernel",
        layers(("stem_conv", "stem_bn"), ("top_conv", "top_bn"), "predictions", keras),
        *google,
        ignored=("normalization",),
    )


def _vgg16(_: str) -> Iterator[Naming]:
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


def _squeezenet(_: str) -> Iterator[Naming]:
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


MODELS: dict[str, tuple[Callable[..., nnx.Module], Callable[[str], Iterator[Naming]]]] = {
    "efficientnet_b0": (efficientnet.EfficientNet, partial(_efficientnet, False)),
    "efficientnet_lite0": (partial(efficientnet.EfficientNet, lite=True), partial(_efficientnet, True)),
    "vgg16": (vgg16.VGG16, _vgg16),
    "squeezenet": (squeezenet.SqueezeNet, _squeezenet),
}
"""The models for which published weights exist -> (module class, the namings of their files)."""
