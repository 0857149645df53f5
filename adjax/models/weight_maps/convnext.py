"""ConvNeXt in the names of torchvision and timm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from adjax.models import convnext
from adjax.models.weight_maps.naming import IMAGENET, Layer, Naming

_PARTS = {"depthwise": "depthwise", "norm": "norm", "widen": "dense", "narrow": "dense", "scale": "value"}
"""Parts of a block: our name, its kind; their names follow in the same order."""
_TORCHVISION = "block.0", "block.2", "block.3", "block.5", "layer_scale"
_TIMM = "conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"


def namings(_: str) -> Iterator[Naming]:
    """Those of ConvNeXt-T."""

    def torchvision(stage: int) -> tuple[str, str, str]:
        down, norm = (0, 1) if stage == 0 else (1, 0)
        return f"features.{2 * stage}.{down}", f"features.{2 * stage}.{norm}", f"features.{2 * stage + 1}."

    def timm(stage: int) -> tuple[str, str, str]:
        down, norm = ("stem.0", "stem.1") if stage == 0 else (f"stages.{stage}.downsample.{i}" for i in (1, 0))
        return down, norm, f"stages.{stage}.blocks."

    layers = _layers(torchvision, _TORCHVISION, "classifier.0", "classifier.2")
    yield Naming("torchvision", True, "features.1.0.layer_scale", layers, *IMAGENET, rewrite=_flat_scales)
    layers = _layers(timm, _TIMM, "head.norm", "head.fc")
    yield Naming("timm", True, "stages.0.blocks.0.gamma", layers, *IMAGENET)


def _layers(
    places: Callable[[int], tuple[str, str, str]], parts: tuple[str, ...], norm: str, head: str
) -> tuple[Layer, ...]:
    """`places`: stage, the first of which is 0 -> their downsampling convolution, its norm, what stands before a
    block's number; `parts`: their names of a block's layers."""
    found = []
    for stage, (depth, _) in enumerate(convnext.STAGES):
        down, before, blocks = places(stage)
        found += [Layer(f"down{stage + 1}", down, "conv"), Layer(f"norm{stage + 1}", before, "norm")]
        for block in range(depth):
            for (part, kind), theirs in zip(_PARTS.items(), parts, strict=True):
                found.append(Layer(f"layer{stage + 1}_{block}/{part}", f"{blocks}{block}.{theirs}", kind))
    return *found, Layer("norm", norm, "norm"), Layer("head", head, "dense")


def _flat_scales(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """[C, 1, 1] -> [C]."""
    return {name: x.reshape(-1) if name.endswith("layer_scale") else x for name, x in arrays.items()}
